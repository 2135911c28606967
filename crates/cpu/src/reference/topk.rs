use gristmill_core::Result;
use gristmill_core::ops::Topk;

use crate::access::Access;

pub(super) fn run(op: &Topk, access: &Access) -> Result<()> {
    let chunks = access.input::<f32>(&op.x)?.chunks(op.chunk);
    let values = access.output::<f32>(&op.values)?.chunks_mut(op.k);
    let indices = access.output::<u32>(&op.indices)?.chunks_mut(op.k);
    for ((chunk, values), indices) in chunks.zip(values).zip(indices) {
        let mut order: Vec<usize> = (0..chunk.len()).collect();
        // Stable, so equal magnitudes stay in ascending order of position.
        order.sort_by_key(|&i| std::cmp::Reverse(chunk[i].abs().to_bits()));
        let entries = order.iter().map(|&i| (chunk[i], i as u32)).chain(std::iter::repeat((0.0, u32::MAX)));
        for ((value, index), entry) in values.iter_mut().zip(indices).zip(entries) {
            (*value, *index) = entry;
        }
    }
    Ok(())
}
