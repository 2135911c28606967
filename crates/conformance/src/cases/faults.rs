//! Data that breaks the contract of an operation: the first row at fault is reported.

use gristmill_core::DType;
use gristmill_core::ops::{
    Attention, ClipLinearFused, ClipPath, ClipRule, ClippedGrad, Gather, LinearNll, LossReduction, Nll,
    NormsMethod, PerSampleNorms, Reduction, Rope, SegmentReduce,
};

use crate::case::{Bound, Case, Problem};
use crate::draw::Draw;
use crate::operand::{Operand, Role, encode};
use crate::values::Values;

const ROWS: usize = 300;
const VOCAB: usize = 50;
const PADDED: usize = 64;
const VALUES: usize = 1000;

/// A name, the type of the indices, the indices, and the first row at fault.
type Wrong<T> = (&'static str, DType, &'static [T], u64);

/// Targets that are wrong at some rows.
const TARGETS: [Wrong<(usize, f64)>; 5] = [
    ("first", DType::U32, &[(0, 50.0)], 0),
    ("last", DType::U32, &[(299, 4_294_967_295.0)], 299),
    ("padding", DType::U32, &[(7, 63.0), (150, 50.0)], 7),
    ("negative", DType::I32, &[(200, -1.0), (260, 1000.0)], 200),
    ("most-negative", DType::I32, &[(131, -2_147_483_648.0)], 131),
];

/// Offsets that cut no segments.
const OFFSETS: [Wrong<f64>; 7] = [
    ("descending", DType::U32, &[0.0, 30.0, 20.0, 50.0], 1),
    ("beyond", DType::U32, &[0.0, 30.0, 1001.0], 1),
    ("far-beyond", DType::U32, &[0.0, 30.0, 40.0, 4_294_967_295.0], 2),
    ("begins-beyond", DType::U32, &[1001.0, 1001.0], 0),
    ("begins-negative", DType::I32, &[-1.0, 3.0, 9.0], 0),
    ("becomes-negative", DType::I32, &[0.0, 3.0, -2_147_483_648.0, 9.0], 1),
    ("twice", DType::I32, &[5.0, 4.0, 9.0, 8.0], 0),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, dtype, wrong, row) in TARGETS {
        let targets = move |draw: &mut Draw| {
            let mut targets: Vec<f64> = (0..ROWS).map(|_| draw.below(VOCAB) as f64).collect();
            for &(row, target) in wrong {
                targets[row] = target;
            }
            Operand::numbers(dtype, &[ROWS], &targets)
        };
        cases.push(Case::new("nll", format!("fault/{name}"), Bound::Exact, move |draw| {
            let logits = Values::Normal(1.0).input(draw, DType::F32, &[ROWS, PADDED]);
            let operands = vec![logits, targets(draw), Operand::out(DType::F32, &[ROWS])];
            Problem::new(operands, |t| Nll {
                logits: t[0].clone(),
                targets: t[1].clone(),
                bias: None,
                out: t[2].clone(),
                vocab: VOCAB,
                softcap: None,
            })
            .faulty(row)
        }));
        cases.push(Case::new("linear_nll", format!("fault/{name}"), Bound::Exact, move |draw| {
            let hidden = Values::Normal(1.0).input(draw, DType::F32, &[ROWS, 8]);
            let head = Values::Normal(1.0).input(draw, DType::F32, &[PADDED, 8]);
            let operands = vec![hidden, head, targets(draw), Operand::out(DType::F32, &[ROWS])];
            Problem::new(operands, |t| LinearNll {
                hidden: t[0].clone(),
                head: t[1].clone(),
                targets: t[2].clone(),
                bias: None,
                out: t[3].clone(),
                vocab: VOCAB,
                softcap: None,
            })
            .faulty(row)
        }));
        cases.push(Case::new("gather", format!("fault/{name}"), Bound::Exact, move |draw| {
            let table = Values::Normal(1.0).input(draw, DType::F32, &[VOCAB, 8]);
            let operands = vec![table, targets(draw), Operand::out(DType::F32, &[ROWS, 8])];
            Problem::new(operands, |t| Gather { table: t[0].clone(), ids: t[1].clone(), out: t[2].clone() })
                .faulty(row)
        }));
        cases.push(Case::new("rope", format!("fault/{name}"), Bound::Exact, move |draw| {
            let x = Values::Normal(1.0).input(draw, DType::F32, &[ROWS, 16]);
            let mut operands = vec![Operand { role: Role::Update, ..x }];
            operands.extend((0..2).map(|_| Values::Normal(1.0).input(draw, DType::F32, &[VOCAB, 4])));
            operands.push(targets(draw));
            Problem::new(operands, |t| Rope {
                x: t[0].clone(),
                cos: t[1].clone(),
                sin: t[2].clone(),
                positions: t[3].clone(),
                head_dim: 8,
                interleaved: false,
            })
            .faulty(row)
        }));
    }
    for (name, dtype, offsets, row) in OFFSETS {
        let offsets = move || Operand::numbers(dtype, &[offsets.len()], offsets);
        for reduction in Reduction::ALL {
            let name = format!("fault/{name}/{}", reduction.name());
            cases.push(Case::new("segment_reduce", name, Bound::Exact, move |draw| {
                let x = Values::Normal(1.0).input(draw, DType::F32, &[VALUES]);
                let offsets = offsets();
                let out = Operand::out(DType::F32, &[offsets.len() - 1]);
                Problem::new(vec![x, offsets, out], move |t| SegmentReduce {
                    x: t[0].clone(),
                    offsets: t[1].clone(),
                    out: t[2].clone(),
                    reduction,
                })
                .faulty(row)
            }));
        }
        cases.push(Case::new("loss_reduction", format!("fault/{name}"), Bound::Exact, move |draw| {
            let offsets = offsets();
            let documents = offsets.len() - 1;
            let mut operands: Vec<_> =
                (0..2).map(|_| Values::Normal(1.0).input(draw, DType::F32, &[VALUES])).collect();
            operands.push(offsets);
            operands.extend((0..3).map(|_| Operand::out(DType::F32, &[documents])));
            Problem::new(operands, |t| LossReduction {
                prior: t[0].clone(),
                conditional: t[1].clone(),
                offsets: t[2].clone(),
                prior_sum: t[3].clone(),
                conditional_sum: t[4].clone(),
                score: t[5].clone(),
            })
            .faulty(row)
        }));
        cases.push(Case::new("attention", format!("fault/{name}"), Bound::Exact, move |draw| {
            let mut operands: Vec<_> =
                (0..3).map(|_| Values::Normal(1.0).input(draw, DType::F32, &[VALUES, 8])).collect();
            operands.push(offsets());
            operands.push(Operand::out(DType::F32, &[VALUES, 8]));
            Problem::new(operands, |t| Attention {
                q: t[0].clone(),
                k: t[1].clone(),
                v: t[2].clone(),
                offsets: t[3].clone(),
                out: t[4].clone(),
                heads: 1,
                kv_heads: 1,
                scale: 1.0,
            })
            .faulty(row)
        }));
        cases.extend(linear_grads(name, offsets, row));
    }
    // The first of them; offsets are looked at before.
    for (name, wrong, row) in [("weight", &[(2, 0.5), (3, 7.0)][..], 2), ("weight-nan", &[(0, f64::NAN)], 0)]
    {
        cases.push(Case::new("clip_linear_fused", format!("fault/{name}"), Bound::Exact, move |draw| {
            let mut weights = [1.0; 4];
            wrong.iter().for_each(|&(sample, weight)| weights[sample] = weight);
            let offsets = Operand::numbers(DType::U32, &[5], &[0.0, 10.0, 20.0, 20.0, 30.0]);
            clip_linear(draw, offsets, Some(&weights)).faulty(row)
        }));
    }
    cases
}

/// The operations on the samples of a linear layer that these offsets do not cut.
fn linear_grads(
    name: &str,
    offsets: impl Fn() -> Operand + Clone + Send + Sync + 'static,
    row: u64,
) -> Vec<Case> {
    let (of_norms, of_sum) = (offsets.clone(), offsets.clone());
    let layer = |draw: &mut Draw, offsets: Operand| -> Vec<Operand> {
        let x = Values::Normal(1.0).input(draw, DType::F32, &[VALUES, 4]);
        vec![x, Values::Normal(1.0).input(draw, DType::F32, &[VALUES, 3]), offsets]
    };
    vec![
        Case::new("per_sample_norms", format!("fault/{name}"), Bound::Exact, move |draw| {
            let mut operands = layer(draw, of_norms());
            operands.push(Operand::out(DType::F32, &[operands[2].len() - 1]));
            Problem::new(operands, |t| PerSampleNorms {
                x: t[0].clone(),
                dy: t[1].clone(),
                offsets: t[2].clone(),
                out: t[3].clone(),
                bias: true,
                method: NormsMethod::Direct,
            })
            .faulty(row)
        }),
        Case::new("clipped_grad", format!("fault/{name}"), Bound::Exact, move |draw| {
            let mut operands = layer(draw, of_sum());
            let samples = operands[2].len() - 1;
            operands.push(Operand::numbers(DType::F32, &[samples], &vec![1.0; samples]));
            operands.push(Operand::update(DType::F32, &[3, 4], encode(DType::F32, &[0.5; 12])));
            Problem::new(operands, |t| ClippedGrad {
                x: t[0].clone(),
                dy: t[1].clone(),
                offsets: t[2].clone(),
                factors: t[3].clone(),
                grad: t[4].clone(),
                bias: None,
            })
            .faulty(row)
        }),
        Case::new("clip_linear_fused", format!("fault/{name}"), Bound::Exact, move |draw| {
            clip_linear(draw, offsets(), None).faulty(row)
        }),
    ]
}

/// A layer that is clipped by itself.
fn clip_linear(draw: &mut Draw, offsets: Operand, weights: Option<&[f64]>) -> Problem {
    let samples = offsets.len() - 1;
    let x = Values::Normal(1.0).input(draw, DType::F32, &[VALUES, 4]);
    let mut operands = vec![x, Values::Normal(1.0).input(draw, DType::F32, &[VALUES, 3]), offsets];
    operands.extend((0..2).map(|_| Operand::out(DType::F32, &[samples])));
    operands.push(Operand::update(DType::F32, &[3, 4], encode(DType::F32, &[0.5; 12])));
    operands.extend(weights.map(|weights| Operand::numbers(DType::F32, &[samples], weights)));
    Problem::new(operands, |t| ClipLinearFused {
        x: t[0].clone(),
        dy: t[1].clone(),
        offsets: t[2].clone(),
        norms: t[3].clone(),
        factors: t[4].clone(),
        grad: t[5].clone(),
        weights: t.get(6).cloned(),
        bias: None,
        max_norm: 1.0,
        rule: ClipRule::Flat,
        path: ClipPath::TwoPhase,
    })
}
