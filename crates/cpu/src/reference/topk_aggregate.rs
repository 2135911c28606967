use gristmill_core::Result;
use gristmill_core::ops::TopkAggregate;
use gristmill_core::payload::settle;

use super::topk_encode::places;
use crate::access::Access;
use crate::reference::fail_at;

pub(super) fn run(op: &TopkAggregate, access: &Access) -> Result<()> {
    let (weights, steps) = (access.input::<f32>(&op.weights)?, access.input::<f32>(&op.steps)?);
    let payloads = access.input::<u32>(&op.payloads)?;
    let theta = access.output::<f32>(&op.theta)?;
    let (words, chunks) = (op.layout.words(&op.chunking), op.chunking.chunks());
    let mut sums = vec![0.0f32; theta.len()];
    let mut counts = vec![0usize; theta.len()];
    let mut fault = None;
    for (peer, &weight) in weights.iter().enumerate() {
        let payload = &payloads[peer * words..][..words];
        let levels = op.layout.check_levels(&|i| payload[i]);
        for i in 0..chunks {
            let chunk = op.chunking.chunk(i);
            let places: Vec<usize> = places(&chunk, op.chunking.columns()).collect();
            let at = op.layout.tensor_words() + i * op.layout.words_per_chunk();
            let decoded = levels.and_then(|levels| {
                op.layout.decode_chunk(&|i| payload[at + i], places.len(), &levels, |position, v| {
                    sums[places[position]] += settle(weight * v);
                    counts[places[position]] += 1;
                })
            });
            if decoded.is_err() {
                fault = fault.or(Some((peer * chunks + i) as u64));
            }
        }
    }
    fail_at(op, fault)?;
    for ((theta, sum), count) in theta.iter_mut().zip(sums).zip(counts) {
        let step = settle(steps[count] * sum);
        if count > 0 && step != 0.0 {
            *theta -= step;
        }
    }
    Ok(())
}
