use gristmill_core::Result;
use gristmill_core::ops::Rope;

use super::fail_at;
use crate::access::Access;
use crate::number::{Number, with};

pub(super) fn run(op: &Rope, access: &Access) -> Result<()> {
    let (_, columns) = op.x.shape().rows_cols();
    let (rows, pairs) = op.cos.shape().rows_cols();
    let positions = access.indices(&op.positions)?;
    fail_at(op, positions.first_outside(rows))?;
    let (cos, sin) = (access.input::<f32>(&op.cos)?, access.input::<f32>(&op.sin)?);
    with!(op.x.dtype(), common T => {
        for (i, head) in access.output::<T>(&op.x)?.chunks_mut(op.head_dim).enumerate() {
            let angles = positions.at(i / (columns / op.head_dim)) as usize * pairs;
            for pair in 0..pairs {
                let [a, b] = if op.interleaved { [2 * pair, 2 * pair + 1] } else { [pair, pair + pairs] };
                let (cos, sin) = (f64::from(cos[angles + pair]), f64::from(sin[angles + pair]));
                let (x, y) = (head[a].as_f64(), head[b].as_f64());
                head[a] = T::nearest(x * cos - y * sin);
                head[b] = T::nearest(y * cos + x * sin);
            }
        }
        Ok(())
    })
}
