//! The fast operations held against their definitions.

mod batches;
mod conformance;
mod noise;
mod threads;

use proptest::prelude::*;

use gristmill_core::Code;
use gristmill_cpu::{Offset, Real, ops, reference};

/// Segments of these lengths behind `lead` values that belong to none.
fn offsets(lead: usize, lengths: &[usize]) -> Vec<i32> {
    let mut at = lead as i32;
    let mut offsets = vec![at];
    offsets.extend(lengths.iter().map(|&n| {
        at += n as i32;
        at
    }));
    offsets
}

/// Whether `got` is `want` up to the rounding of `n` additions of values of this total magnitude.
fn close(got: f64, want: f64, n: usize, magnitude: f64) -> bool {
    let bound = n as f64 * 0.5 * f64::EPSILON * magnitude;
    got == want || (got.is_nan() && want.is_nan()) || (got - want).abs() <= bound
}

fn hold_against_reference<T: Real, O: Offset>(
    prior: &[T],
    conditional: &[T],
    offsets: &[O],
) -> Result<(), TestCaseError> {
    let segments = offsets.len() - 1;
    let mut fast = [vec![0.0; segments], vec![0.0; segments], vec![0.0; segments], vec![7.0; segments]];
    let mut slow = fast.clone();
    ops::segment_sum(prior, offsets, &mut fast[3]).unwrap();
    reference::segment_sum(prior, offsets, &mut slow[3]).unwrap();
    let [p, c, s, _] = &mut fast;
    ops::loss_reduction(
        prior,
        conditional,
        offsets,
        ops::LossReduction { prior: p, conditional: c, score: s },
    )
    .unwrap();
    let [p, c, s, _] = &mut slow;
    let out = ops::LossReduction { prior: p, conditional: c, score: s };
    reference::loss_reduction(prior, conditional, offsets, out).unwrap();
    for segment in 0..segments {
        let at = |i: usize| offsets[i].position().unwrap();
        let range = at(segment)..at(segment + 1);
        let n = range.len();
        let magnitude = |v: &[T]| v[range.clone()].iter().map(|&x| x.into().abs()).sum::<f64>();
        let (mp, mc) = (magnitude(prior), magnitude(conditional));
        for (column, magnitude) in [(0, mp), (1, mc), (2, mp + mc), (3, mp)] {
            let (got, want) = (fast[column][segment], slow[column][segment]);
            prop_assert!(
                close(got, want, n + 2, magnitude),
                "column {column}, segment {segment}: {got} {want}"
            );
        }
        prop_assert_eq!(fast[0][segment].to_bits(), fast[3][segment].to_bits());
    }
    Ok(())
}

fn awkward() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => -20.0..20.0f64,
        1 => prop::sample::select(vec![0.0, -0.0, 5e-324, 1e-45, 1e16, -1e16, 1e300, -1e300]),
        1 => prop::sample::select(vec![f64::INFINITY, f64::NEG_INFINITY, f64::NAN]),
    ]
}

proptest! {
    #[test]
    fn fast_equals_reference(
        lead in 0usize..3,
        lengths in prop::collection::vec(0usize..40, 0..20),
        values in prop::collection::vec((awkward(), awkward()), 900),
    ) {
        let offsets = offsets(lead, &lengths);
        let (prior, conditional): (Vec<f64>, Vec<f64>) = values.into_iter().unzip();
        hold_against_reference(&prior, &conditional, &offsets)?;
        let wide: Vec<u64> = offsets.iter().map(|&o| o as u64).collect();
        let narrow = |v: &[f64]| v.iter().map(|&x| x as f32).collect::<Vec<_>>();
        hold_against_reference(&narrow(&prior), &narrow(&conditional), &wide)?;
    }
}

/// Long enough for several threads, with one segment longer than a task and many empty ones.
#[test]
fn threads_change_no_bit() {
    let mut lengths = vec![0; 50];
    lengths.push(100_000);
    lengths.extend((0..3000).map(|i| i % 200));
    let offsets = offsets(0, &lengths);
    let n = *offsets.last().unwrap() as usize;
    let values: Vec<f32> = (0..n).map(|i| ((i * 7919) % 10_007) as f32 / 997.0).collect();
    let other: Vec<f32> = values.iter().rev().copied().collect();
    hold_against_reference(&values, &other, &offsets).unwrap();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut out = [vec![0.0; lengths.len()], vec![0.0; lengths.len()], vec![0.0; lengths.len()]];
        let [p, c, s] = &mut out;
        let to = ops::LossReduction { prior: p, conditional: c, score: s };
        pool.install(|| ops::loss_reduction(&values, &other, &offsets, to)).unwrap();
        out.map(|column| column.iter().map(|x| x.to_bits()).collect::<Vec<_>>())
    };
    assert_eq!(run(1), run(2));
    assert_eq!(run(1), run(8));
}

/// The order of additions is part of the definition, so these bits hold on every machine. Worked out in
/// Python: eight lanes by position, then ((0+4)+(2+6)) + ((1+5)+(3+7)).
#[test]
fn the_order_of_additions_is_fixed() {
    let values: Vec<f64> = (0..29).map(|i| 1.0 / f64::from(i + 1)).collect();
    let mut out = [0.0];
    ops::segment_sum(&values, &[0, 29], &mut out).unwrap();
    assert_eq!(out[0].to_bits(), 0x400F_B177_8BD5_AF58);
    let mut one_by_one = [0.0];
    reference::segment_sum(&values, &[0, 29], &mut one_by_one).unwrap();
    assert_ne!(out, one_by_one, "the values are chosen so that the order shows");
}

#[test]
fn bad_offsets_and_lengths_are_typed_errors() {
    let mut out = [0.0; 2];
    for offsets in [[0i64, 4, 2], [-1, 0, 1], [0, 1, 9]] {
        let e = ops::segment_sum(&[1.0f32; 4], &offsets, &mut out).unwrap_err();
        assert_eq!(e.code(), Code::InvalidValue);
        assert!(reference::segment_sum(&[1.0f32; 4], &offsets, &mut out).is_err());
    }
    let mut score = [0.0; 1];
    let [a, b] = &mut out;
    let (a, b) = (std::slice::from_mut(a), std::slice::from_mut(b));
    let to = ops::LossReduction { prior: a, conditional: b, score: &mut score };
    let e = ops::loss_reduction(&[1.0f32; 4], &[1.0f32; 3], &[0, 3], to).unwrap_err();
    assert_eq!(e.code(), Code::InvalidArgument);
    let mut short = [0.0; 0];
    let mut one = [0.0; 1];
    let to = ops::LossReduction { prior: &mut short, conditional: &mut one, score: &mut score };
    assert!(ops::loss_reduction(&[1.0f32; 3], &[1.0f32; 3], &[0, 3], to).is_err());
}
