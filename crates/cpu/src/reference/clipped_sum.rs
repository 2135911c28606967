use gristmill_core::Result;
use gristmill_core::ops::ClippedSum;

use crate::access::Access;

pub(super) fn run(op: &ClippedSum, access: &Access) -> Result<()> {
    let (_, n) = op.rows.shape().rows_cols();
    let rows = access.input::<f32>(&op.rows)?;
    let factors = access.input::<f32>(&op.factors)?;
    for (j, out) in access.output::<f32>(&op.out)?.iter_mut().enumerate() {
        let used = factors.iter().enumerate().filter(|(_, factor)| **factor != 0.0);
        let terms = used.map(|(s, &factor)| f64::from(factor) * f64::from(rows[s * n + j]));
        *out = (f64::from(*out) + terms.sum::<f64>()) as f32;
    }
    Ok(())
}
