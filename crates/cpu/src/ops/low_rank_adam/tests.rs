use super::*;
use crate::ops::lanes::Vectors;

fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn tiles<K: Tile>() {
    for (rows, columns, depth) in [(8, 48, 33), (1, 1, 1), (7, 17, 5), (5, 31, 64), (3, 48, 0), (8, 16, 7)] {
        for across in [true, false] {
            let (a, b) = (numbers(rows * depth, 1), numbers(WIDTH * depth, 2));
            let (a_row, a_step) = if across { (depth, 1) } else { (1, rows) };
            let factors = Factors { a: &a, a_row, a_step, b: &b, b_step: WIDTH, rows, columns, depth };
            let stride = WIDTH + 2;
            for finish in [
                Finish::Write,
                Finish::Add,
                Finish::Update { factor: -0.5, keep: 0.75 },
                Finish::Update { factor: 2.0, keep: 0.0 },
            ] {
                let before = numbers(rows * stride, 3);
                let mut out = before.clone();
                // SAFETY: so many rows and columns are there, and no slice of them is alive.
                unsafe { K::multiply(&factors, out.as_mut_ptr(), stride, finish) };
                for (i, (out, before)) in out.iter().zip(&before).enumerate() {
                    let (row, column) = (i / stride, i % stride);
                    if column >= columns {
                        assert_eq!(out, before, "beside the tile");
                        continue;
                    }
                    let term =
                        |k: usize| f64::from(a[row * a_row + k * a_step]) * f64::from(b[k * WIDTH + column]);
                    let sum: f64 = (0..depth).map(term).sum();
                    let want = match finish {
                        Finish::Write => sum,
                        Finish::Add => sum + f64::from(*before),
                        Finish::Update { factor, keep } => f64::from(keep * before) + f64::from(factor) * sum,
                    };
                    assert!(
                        (f64::from(*out) - want).abs() < 1e-5,
                        "{rows} {columns} {depth} at {i}: {out} {want}"
                    );
                }
            }
        }
    }
}

#[test]
fn tiles_are_products() {
    tiles::<tile::Plain>();
    #[cfg(target_arch = "x86_64")]
    if Vectors::detect() == Vectors::Avx512 {
        tiles::<tile::Avx512>();
    }
}

#[test]
fn blocks_are_whole_tiles_and_whole_blocks_of_codes() {
    for (right, kept, rank, coded) in [true, false]
        .into_iter()
        .flat_map(|right| [1, 100, 5000].map(|kept| (right, kept)))
        .flat_map(|(right, kept)| {
            [1, 3, 8, 24, 32, 100, 128, 256, 1024]
                .into_iter()
                .flat_map(move |rank| [true, false].map(|coded| (right, kept, rank, coded)))
        })
    {
        let sizes = LowRankSizes { rows: kept, columns: kept, rank, kept, depth: kept };
        let (grad, basis) = (&[0f32][..], &[0f32][..]);
        let step = Step::new(RULE, None);
        let weight = Weight(std::ptr::null_mut::<f32>());
        let job = Job {
            sizes,
            right,
            grad,
            basis,
            panels: vec![],
            weight,
            inner: step,
            noise: None,
            factors: [0.0; 2],
        };
        let block = job.block(coded);
        assert!(block.is_multiple_of(if right { ROWS } else { WIDTH }), "{right} {rank} {block}");
        assert!(!coded || (block * rank).is_multiple_of(Moments::BLOCK), "{right} {rank} {block}");
        assert!(block <= 3 * Moments::BLOCK, "{right} {rank} {block}");
    }
}

const RULE: gristmill_core::ops::AdamwRule = gristmill_core::ops::AdamwRule {
    beta1: 0.9,
    beta2: 0.999,
    eps: 1e-8,
    step: 1.0,
    keep: 1.0,
    grad_scale: 1.0,
};
