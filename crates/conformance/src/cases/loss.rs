//! nll, linear_nll, loss_reduction.

use std::sync::Arc;

use gristmill_core::DType;
use gristmill_core::ops::{LinearNll, LossReduction, Nll};

use super::reduce::{lengths, offsets};
use crate::case::{Bound, Case, Problem, ulp};
use crate::draw::Draw;
use crate::operand::Operand;
use crate::values::Values;

pub(super) fn cases() -> Vec<Case> {
    [nlls(), linear_nlls(), loss_reductions()].into_iter().flatten().collect()
}

/// What nll and linear_nll have in common.
#[derive(Clone, Copy)]
struct Loss {
    rows: usize,
    vocab: usize,
    /// Columns behind the vocabulary.
    padding: usize,
    dtype: DType,
    targets: DType,
    bias: bool,
    softcap: Option<f32>,
    values: Values,
}

impl Loss {
    fn new(rows: usize, vocab: usize) -> Self {
        Self {
            rows,
            vocab,
            padding: 0,
            dtype: DType::F32,
            targets: DType::U32,
            bias: false,
            softcap: None,
            values: Values::Normal(3.0),
        }
    }

    fn suffix(&self) -> String {
        let mut name = format!("{}/{}", self.dtype, self.values);
        let padding = (self.padding > 0).then(|| format!("pad{}", self.padding));
        let softcap = self.softcap.map(|cap| format!("cap{cap}"));
        let targets = (self.targets != DType::U32).then(|| self.targets.name().into());
        let bias = self.bias.then(|| "bias".into());
        for part in [padding, bias, softcap, targets].into_iter().flatten() {
            name += "/";
            name += &part;
        }
        name
    }

    fn targets(&self, draw: &mut Draw) -> Operand {
        let targets: Vec<f64> = (0..self.rows)
            .map(|row| match row {
                // The ends of the vocabulary, always.
                0 => self.vocab as f64 - 1.0,
                1 => 0.0,
                _ => draw.below(self.vocab) as f64,
            })
            .collect();
        Operand::numbers(self.targets, &[self.rows], &targets)
    }

    /// Losses and, with an index of its own for each, the operands that both have.
    fn operands(&self, draw: &mut Draw, mut operands: Vec<Operand>) -> Vec<Operand> {
        operands.push(self.targets(draw));
        operands.push(Operand::out(DType::F32, &[self.rows]));
        if self.bias {
            operands.push(Values::Normal(1.0).input(draw, DType::F32, &[self.vocab]));
        }
        operands
    }

    /// The size of an error: a capped logit is known to a part of the cap, not of itself.
    fn beside(&self) -> f64 {
        1.0 + self.softcap.map_or(0.0, f64::from)
    }

    fn nll(self) -> Case {
        let name = format!("{}x{}/{}", self.rows, self.vocab, self.suffix());
        Case::new("nll", name, Bound::Error(4e-6), move |draw| {
            let columns = self.vocab + self.padding;
            let mut logits = self.values.input(draw, self.dtype, &[self.rows, columns]);
            if self.padding > 0 && self.rows > 0 {
                // What is behind the vocabulary takes no part, whatever it is.
                let at = self.vocab * self.dtype.size();
                logits.bytes[at..at + self.dtype.size()].fill(0xFF);
            }
            Problem::new(self.operands(draw, vec![logits]), move |t| Nll {
                logits: t[0].clone(),
                targets: t[1].clone(),
                out: t[2].clone(),
                bias: t.get(3).cloned(),
                vocab: self.vocab,
                softcap: self.softcap,
            })
            .beside(self.beside())
        })
    }

    fn linear_nll(self, d: usize) -> Case {
        let name = format!("{}x{d}x{}/{}", self.rows, self.vocab, self.suffix());
        // A logit is a sum of d products, of size 1 in all.
        let bound = Bound::Error(4e-6 * (1.0 + (d as f64).sqrt() / 4.0));
        Case::new("linear_nll", name, bound, move |draw| {
            let hidden = self.values.input(draw, self.dtype, &[self.rows, d]);
            let head = Values::Normal(1.0 / (d as f64).sqrt()).input(
                draw,
                self.dtype,
                &[self.vocab + self.padding, d],
            );
            Problem::new(self.operands(draw, vec![hidden, head]), move |t| LinearNll {
                hidden: t[0].clone(),
                head: t[1].clone(),
                targets: t[2].clone(),
                out: t[3].clone(),
                bias: t.get(4).cloned(),
                vocab: self.vocab,
                softcap: self.softcap,
            })
            .beside(self.beside())
        })
    }
}

fn nlls() -> Vec<Case> {
    let mut cases = Vec::new();
    for (rows, vocab) in [
        (0, 5),
        (1, 1),
        (3, 2),
        (700, 3),
        (5, 63),
        (33, 1000),
        (4, 4096),
        (17, 8191),
        (4, 50_257),
        (2, 131_073),
    ] {
        cases.push(Loss::new(rows, vocab).nll());
    }
    for dtype in DType::FLOATS {
        let loss = Loss { dtype, ..Loss::new(9, 1003) };
        for values in [
            Values::Around(2000.0),
            Values::Around(-500.0),
            Values::Normal(80.0),
            Values::Ties,
            Values::Zeros,
            Values::Masked,
            Values::Subnormal,
        ] {
            cases.push(Loss { values, ..loss }.nll());
        }
        cases.push(Loss { padding: 21, targets: DType::I32, ..loss }.nll());
        cases.push(Loss { bias: true, ..loss }.nll());
        cases.push(Loss { softcap: Some(30.0), values: Values::Normal(30.0), ..loss }.nll());
        cases.push(Loss { softcap: Some(5.0), bias: true, padding: 5, ..loss }.nll().viewed());
        cases.push(loss.nll().viewed());
        cases.push(Loss { dtype, ..Loss::new(3, 50_257) }.nll());
    }
    cases.push(nan_row());
    cases
}

/// A NaN spoils its own row and no other.
fn nan_row() -> Case {
    Case::new("nll", "5x300/f32/nan", Bound::Error(4e-6), |draw| {
        let loss = Loss::new(5, 300);
        let mut logits = loss.values.input(draw, DType::F32, &[5, 300]);
        for row in [1, 4] {
            let at = 4 * (300 * row + draw.below(300));
            logits.bytes[at..at + 4].copy_from_slice(&f32::NAN.to_ne_bytes());
        }
        Problem::new(loss.operands(draw, vec![logits]), |t| Nll {
            logits: t[0].clone(),
            targets: t[1].clone(),
            out: t[2].clone(),
            bias: None,
            vocab: 300,
            softcap: None,
        })
        .beside(1.0)
    })
}

fn linear_nlls() -> Vec<Case> {
    let mut cases = Vec::new();
    let normal = |rows, vocab| Loss { values: Values::Normal(1.0), ..Loss::new(rows, vocab) };
    for (rows, d, vocab) in
        [(0, 8, 9), (1, 1, 1), (3, 5, 7), (65, 64, 300), (130, 33, 1025), (7, 576, 2000), (2, 16, 50_257)]
    {
        cases.push(normal(rows, vocab).linear_nll(d));
    }
    for dtype in DType::FLOATS {
        let loss = Loss { dtype, ..normal(33, 1003) };
        cases.push(loss.linear_nll(48));
        cases.push(Loss { padding: 21, targets: DType::I32, ..loss }.linear_nll(48));
        cases.push(Loss { bias: true, ..loss }.linear_nll(40));
        cases.push(Loss { softcap: Some(3.0), ..loss }.linear_nll(40));
        cases.push(Loss { softcap: Some(30.0), bias: true, padding: 7, ..loss }.linear_nll(19).viewed());
        cases.push(Loss { values: Values::Zeros, ..loss }.linear_nll(32));
        cases.push(Loss { dtype, ..normal(128, 4096) }.linear_nll(128));
    }
    cases
}

fn loss_reductions() -> Vec<Case> {
    let reduction = |documents: usize, offsets_dtype: DType, values: Values| {
        let name = format!("{documents}/{offsets_dtype}/{values}");
        Case::new("loss_reduction", name, Bound::Error(4.0 * ulp(DType::F32)), move |draw| {
            let lengths = lengths(draw, documents);
            let n = lengths.iter().sum::<usize>() + 12;
            let mut operands = vec![
                values.input(draw, DType::F32, &[n]),
                values.input(draw, DType::F32, &[n]),
                offsets(offsets_dtype, 5, &lengths),
            ];
            operands.extend((0..3).map(|_| Operand::out(DType::F32, &[documents])));
            let make = |t: &[gristmill_core::Tensor]| LossReduction {
                prior: t[0].clone(),
                conditional: t[1].clone(),
                offsets: t[2].clone(),
                prior_sum: t[3].clone(),
                conditional_sum: t[4].clone(),
                score: t[5].clone(),
            };
            // Against minus the magnitudes, the difference of the sums is the sum of all magnitudes.
            Problem::new(operands, make).by_terms_of(Arc::new(move |t| make(t).into()), |i, operand| {
                operand.map(|x| if i == 1 { -x.abs() } else { x.abs() })
            })
        })
    };
    let mut cases = Vec::new();
    for values in [Values::Normal(1.0), Values::Around(8.0), Values::Cancelling, Values::Special] {
        cases.push(reduction(50, DType::U32, values));
        cases.push(reduction(50, DType::I32, values).viewed());
    }
    for documents in [0, 1, 2, 1000] {
        cases.push(reduction(documents, DType::U32, Values::Around(3.0)));
    }
    cases
}
