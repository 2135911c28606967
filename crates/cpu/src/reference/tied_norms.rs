use gristmill_core::Result;
use gristmill_core::ops::TiedNorms;

use super::embedding_norms::check;
use crate::access::Access;
use crate::number::{Number, with};

pub(super) fn run(op: &TiedNorms, access: &Access) -> Result<()> {
    let (_, vocabulary) = op.dlogits.shape().rows_cols();
    let (ids, offsets) = (access.indices(&op.ids)?, access.indices(&op.offsets)?);
    check(op, ids, vocabulary, offsets)?;
    let (_, d) = op.e.shape().rows_cols();
    with!(op.e.dtype(), common T => {
        let (e, h) = (access.input::<T>(&op.e)?, access.input::<T>(&op.h)?);
        let dlogits = access.input::<T>(&op.dlogits)?;
        for (sample, out) in access.output::<f32>(&op.out)?.iter_mut().enumerate() {
            let rows = offsets.at(sample) as usize..offsets.at(sample + 1) as usize;
            let terms = rows.clone().flat_map(|t| rows.clone().map(move |s| (t, s))).map(|(t, s)| {
                let dot: f64 =
                    h[s * d..][..d].iter().zip(&e[t * d..]).map(|(h, e)| h.as_f64() * e.as_f64()).sum();
                dlogits[s * vocabulary + ids.at(t) as usize].as_f64() * dot
            });
            *out = terms.sum::<f64>() as f32;
        }
        Ok(())
    })
}
