//! per_sample_norms, clipped_grad, clip_linear_fused.

use std::sync::Arc;

use gristmill_core::ops::{ClipLinearFused, ClipPath, ClipRule, ClippedGrad, NormsMethod, PerSampleNorms};
use gristmill_core::{DType, Tensor};

use super::reduce::offsets;
use super::sum_error;
use crate::case::{Bound, Case, Problem, ulp};
use crate::draw::Draw;
use crate::operand::{Operand, Role, encode};
use crate::values::Values;

/// What the rows of a sample are like.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// Whatever these values are.
    Plain(Values),
    /// Inputs have this much in common, and output gradients nothing: in the products of rows nearly all cancels.
    CommonInputs(f64),
    /// The other way round.
    CommonGradients(f64),
    /// Inputs have this much in common, with alternating signs, which no mean takes off, and output gradients come in
    /// pairs.
    Alternating(f64),
    /// Rows of inputs by powers of ten smaller, and the output gradients greater.
    Scaled(i32),
    /// One row of one sample has numbers that are none.
    Poisoned(f64),
}

impl Kind {
    fn name(self) -> String {
        match self {
            Kind::Plain(values) => values.to_string(),
            Kind::CommonInputs(size) => format!("common-inputs{size}"),
            Kind::CommonGradients(size) => format!("common-gradients{size}"),
            Kind::Alternating(size) => format!("alternating{size}"),
            Kind::Scaled(power) => format!("scaled{power}"),
            Kind::Poisoned(with) => format!("poisoned-{with}"),
        }
    }
}

/// A layer of the table.
#[derive(Clone, Copy)]
struct Linear {
    /// Rows before the first sample and behind the last.
    margins: [usize; 2],
    lengths: &'static [usize],
    d: usize,
    p: usize,
    dtype: DType,
    offsets: DType,
    bias: bool,
    kind: Kind,
}

/// Samples around the sizes that tiles and panels have, and empty ones.
const MIXED: &[usize] = &[0, 1, 5, 0, 49, 2, 31, 130, 3, 0];

impl Linear {
    fn new(lengths: &'static [usize], [d, p]: [usize; 2]) -> Self {
        Self {
            margins: [0; 2],
            lengths,
            d,
            p,
            dtype: DType::F32,
            offsets: DType::U32,
            bias: false,
            kind: Kind::Plain(Values::Normal(1.0)),
        }
    }

    fn rows(&self) -> usize {
        self.margins.iter().sum::<usize>() + self.lengths.iter().sum::<usize>()
    }

    fn name(&self) -> String {
        let Self { margins: [before, behind], d, p, dtype, offsets, .. } = self;
        let (rows, samples, bias) = (self.rows(), self.lengths.len(), if self.bias { "/bias" } else { "" });
        format!("{samples}in{rows}/{d}x{p}/{dtype}/{offsets}/{before}+{behind}/{}{bias}", self.kind.name())
    }

    /// Inputs, output gradients and offsets.
    fn inputs(&self, draw: &mut Draw) -> Vec<Operand> {
        let values = match self.kind {
            Kind::Plain(values) => values,
            _ => Values::Normal(1.0),
        };
        let rows = self.rows();
        let mut operands = vec![
            values.input(draw, self.dtype, &[rows, self.d]),
            values.input(draw, self.dtype, &[rows, self.p]),
            offsets(self.offsets, self.margins[0], self.lengths),
        ];
        if let Kind::Plain(_) = self.kind {
            return operands;
        }
        let mut numbers =
            [self.d, self.p].map(|n| (0..rows * n).map(|_| draw.normal()).collect::<Vec<f64>>());
        let common = [self.d, self.p].map(|n| (0..n).map(|_| draw.normal()).collect::<Vec<f64>>());
        let mut begin = self.margins[0];
        for (sample, &len) in self.lengths.iter().enumerate() {
            self.shape(&mut numbers, &common, begin..begin + len, sample == 1);
            begin += len;
        }
        for (operand, numbers) in operands.iter_mut().zip(numbers) {
            operand.bytes = encode(self.dtype, &numbers);
        }
        operands
    }

    /// Makes the rows of a sample what its kind says.
    fn shape(
        &self,
        [x, dy]: &mut [Vec<f64>; 2],
        common: &[Vec<f64>; 2],
        rows: std::ops::Range<usize>,
        second: bool,
    ) {
        let (d, p, len) = (self.d, self.p, rows.len());
        /// Takes off the mean of the rows.
        fn centre(numbers: &mut [f64], columns: usize) {
            let rows = numbers.len() / columns.max(1);
            for j in 0..columns {
                let mean = (0..rows).map(|t| numbers[t * columns + j]).sum::<f64>() / rows as f64;
                (0..rows).for_each(|t| numbers[t * columns + j] -= mean);
            }
        }
        let (x, dy) = (&mut x[rows.start * d..rows.end * d], &mut dy[rows.start * p..rows.end * p]);
        match self.kind {
            Kind::Plain(_) => {}
            Kind::CommonInputs(size) => {
                x.iter_mut().enumerate().for_each(|(i, x)| *x += size * common[0][i % d]);
                centre(dy, p);
            }
            Kind::CommonGradients(size) => {
                dy.iter_mut().enumerate().for_each(|(i, dy)| *dy += size * common[1][i % p]);
                centre(x, d);
            }
            Kind::Alternating(size) => {
                let sign = |t: usize| if t.is_multiple_of(2) { size } else { -size };
                x.iter_mut().enumerate().for_each(|(i, x)| *x += sign(i / d) * common[0][i % d]);
                for pair in dy.chunks_exact_mut(2 * p) {
                    let (first, second) = pair.split_at_mut(p);
                    second.copy_from_slice(first);
                }
                if !len.is_multiple_of(2) {
                    dy[(len - 1) * p..].fill(0.0);
                }
            }
            Kind::Scaled(power) => {
                let scale = |t: usize| 10f64.powi(if t.is_multiple_of(2) { power } else { 0 });
                x.iter_mut().enumerate().for_each(|(i, x)| *x /= scale(i / d));
                dy.iter_mut().enumerate().for_each(|(i, dy)| *dy /= scale(i / p + 1));
            }
            Kind::Poisoned(with) if second => x[(len / 2) * d] = with,
            Kind::Poisoned(_) => {}
        }
    }

    fn norms(self, method: NormsMethod) -> Case {
        let name = format!("{}/{}", self.name(), method.name());
        Case::new("per_sample_norms", name, Bound::Error(NORMS), move |draw| {
            let mut operands = self.inputs(draw);
            operands.push(Operand::out(DType::F32, &[self.lengths.len()]));
            let problem = Problem::new(operands, move |t| PerSampleNorms {
                x: t[0].clone(),
                dy: t[1].clone(),
                offsets: t[2].clone(),
                out: t[3].clone(),
                bias: self.bias,
                method,
            });
            // Errors are relative to the results, but where a single sum may happen to be about 0.
            if self.d * self.p == 1 { problem.by_terms() } else { problem }
        })
    }

    /// The gradients of weight and bias, with something in them.
    fn gradients(&self, draw: &mut Draw) -> Vec<Operand> {
        let of = |draw: &mut Draw, shape: &[usize]| Operand {
            role: Role::Update,
            ..Values::Normal(1.0).input(draw, DType::F32, shape)
        };
        let weight = of(draw, &[self.p, self.d]);
        [weight].into_iter().chain(self.bias.then(|| of(draw, &[self.p]))).collect()
    }

    /// The error of a sum over all rows of scaled products.
    fn error(&self) -> f64 {
        sum_error(self.rows()) + 4.0 * ulp(DType::F32)
    }

    fn clipped(self) -> Case {
        Case::new("clipped_grad", self.name(), Bound::Error(self.error()), move |draw| {
            let mut operands = self.inputs(draw);
            // Every third adds nothing, whatever its rows are; one is negative, as in a difference of two sums.
            let factor = |sample: usize| if sample % 3 == 1 { 0.0 } else { 0.3 * sample as f64 - 0.7 };
            let factors: Vec<f64> = (0..self.lengths.len()).map(factor).collect();
            operands.push(Operand::numbers(DType::F32, &[factors.len()], &factors));
            operands.extend(self.gradients(draw));
            Problem::new(operands, move |t| ClippedGrad {
                x: t[0].clone(),
                dy: t[1].clone(),
                offsets: t[2].clone(),
                factors: t[3].clone(),
                grad: t[4].clone(),
                bias: t.get(5).cloned(),
            })
            .by_terms()
        })
    }

    fn fused(self, rule: ClipRule, max_norm: f32, weighted: bool, path: ClipPath) -> Case {
        let weights = if weighted { "/weighted" } else { "" };
        let rule_name = format!("{rule:?}").to_lowercase().replace([' ', '{', '}', ':'], "");
        let name = format!("{}/{rule_name}{max_norm}{weights}/{}", self.name(), path.name());
        let bound = Bound::Error(self.error() + NORMS);
        Case::new("clip_linear_fused", name, bound, move |draw| {
            let samples = self.lengths.len();
            let mut operands = self.inputs(draw);
            operands.extend((0..2).map(|_| Operand::out(DType::F32, &[samples])));
            operands.extend(self.gradients(draw));
            if weighted {
                let weights: Vec<f64> = (0..samples).map(|sample| f64::from(sample % 4 != 2)).collect();
                operands.push(Operand::numbers(DType::F32, &[samples], &weights));
            }
            let make = move |rule: ClipRule, max_norm: f32| {
                move |t: &[Tensor]| ClipLinearFused {
                    x: t[0].clone(),
                    dy: t[1].clone(),
                    offsets: t[2].clone(),
                    norms: t[3].clone(),
                    factors: t[4].clone(),
                    grad: t[5].clone(),
                    bias: self.bias.then(|| t[6].clone()),
                    weights: weighted.then(|| t[t.len() - 1].clone()),
                    max_norm,
                    rule,
                    path,
                }
            };
            // Every term with a factor of 1.
            let terms = make(ClipRule::Threshold, 1e30);
            Problem::new(operands, make(rule, max_norm))
                .by_terms_of(Arc::new(move |t| terms(t).into()), |_, o| o.map(f64::abs))
        })
    }
}

/// The error of the square of a norm.
const NORMS: f64 = 1e-5;

pub(super) fn cases() -> Vec<Case> {
    [norms(), sums(), fused()].into_iter().flatten().collect()
}

/// Samples of all lengths, with rows before and behind that belong to nobody.
fn ragged(dtype: DType, kind: Kind) -> Linear {
    Linear {
        dtype,
        kind,
        offsets: DType::I32,
        margins: [3, 40],
        bias: true,
        ..Linear::new(&[37, 2, 0, 64, 1, 30], [40, 27])
    }
}

fn norms() -> Vec<Case> {
    let mut cases = Vec::new();
    for method in NormsMethod::ALL {
        for sizes in [[1, 1], [20, 12], [48, 8], [49, 9], [65, 130], [200, 33], [3, 300]] {
            cases.push(Linear::new(MIXED, sizes).norms(method));
        }
        for lengths in [&[][..], &[0, 0], &[1], &[600], &[1; 150]] {
            cases.push(Linear { bias: true, ..Linear::new(lengths, [20, 12]) }.norms(method));
        }
        for sizes in [[0, 3], [3, 0]] {
            cases.push(Linear { bias: true, ..Linear::new(&[3, 4], sizes) }.norms(method));
        }
        cases.push(Linear::new(&[70, 9], [600, 7]).norms(method));
        for dtype in DType::FLOATS {
            let of = |kind| ragged(dtype, kind);
            cases.push(of(Kind::Plain(Values::Normal(1.0))).norms(method));
            cases.push(of(Kind::Plain(Values::Normal(1.0))).norms(method).viewed());
            cases.push(of(Kind::Plain(Values::Zeros)).norms(method));
            cases.push(of(Kind::Plain(Values::Constant(0.0))).norms(method));
            cases.push(of(Kind::Plain(Values::Constant(0.5))).norms(method));
            cases.push(of(Kind::CommonInputs(30.0)).norms(method));
            cases.push(of(Kind::CommonGradients(30.0)).norms(method));
            cases.push(of(Kind::Alternating(30.0)).norms(method));
            for with in [f64::NAN, f64::INFINITY] {
                cases.push(of(Kind::Poisoned(with)).norms(method));
            }
        }
        cases.push(Linear { kind: Kind::Scaled(12), ..Linear::new(&[40, 3], [40, 27]) }.norms(method));
    }
    // What rounding would make too small by percents, if the products of rows were taken as they are.
    for kind in [Kind::CommonInputs(1000.0), Kind::CommonGradients(1000.0), Kind::Alternating(300.0)] {
        cases.push(Linear { kind, ..Linear::new(&[256, 100], [128, 96]) }.norms(NormsMethod::Gram));
    }
    cases
}

fn sums() -> Vec<Case> {
    let mut cases = Vec::new();
    for sizes in [[1, 1], [20, 12], [48, 8], [49, 9], [65, 130], [200, 33], [3, 300], [0, 3], [3, 0]] {
        cases.push(Linear { bias: true, ..Linear::new(MIXED, sizes) }.clipped());
    }
    for lengths in [&[][..], &[0, 0], &[1], &[600], &[1; 150]] {
        cases.push(Linear::new(lengths, [20, 12]).clipped());
    }
    for dtype in DType::FLOATS {
        let of = |kind| ragged(dtype, kind);
        for values in [Values::Normal(1.0), Values::Zeros, Values::Cancelling] {
            cases.push(of(Kind::Plain(values)).clipped());
        }
        cases.push(of(Kind::Plain(Values::Normal(1.0))).clipped().viewed());
        // A sample of factor 0.
        cases.push(of(Kind::Poisoned(f64::NAN)).clipped());
        cases.push(of(Kind::Poisoned(f64::INFINITY)).clipped());
    }
    cases
}

fn fused() -> Vec<Case> {
    let mut cases = Vec::new();
    // With a gamma for which no factor is above 1: errors are measured by that.
    let rules = [ClipRule::Flat, ClipRule::Automatic { gamma: 60.0 }, ClipRule::Unit, ClipRule::Threshold];
    for path in ClipPath::ALL {
        for rule in rules {
            // Between the norms of the short samples and those of the long ones.
            let layer = Linear { bias: true, ..Linear::new(&[2, 90, 0, 3, 110, 1], [20, 12]) };
            cases.push(layer.fused(rule, 60.0, false, path));
            cases.push(Linear { bias: false, ..layer }.fused(rule, 60.0, true, path));
        }
        for sizes in [[1, 1], [48, 8], [65, 130], [200, 33], [0, 3], [3, 0]] {
            cases.push(Linear { bias: true, ..Linear::new(MIXED, sizes) }.fused(
                ClipRule::Flat,
                20.0,
                true,
                path,
            ));
        }
        for lengths in [&[][..], &[0, 0], &[600]] {
            cases.push(Linear::new(lengths, [20, 12]).fused(ClipRule::Flat, 20.0, false, path));
        }
        for dtype in DType::FLOATS {
            let of = |kind| ragged(dtype, kind);
            for kind in [
                Kind::Plain(Values::Normal(1.0)),
                Kind::Plain(Values::Zeros),
                Kind::Plain(Values::Constant(0.0)),
                Kind::Poisoned(f64::NAN),
                Kind::Poisoned(f64::INFINITY),
            ] {
                cases.push(of(kind).fused(ClipRule::Flat, 30.0, true, path));
            }
            let plain = of(Kind::Plain(Values::Normal(1.0)));
            cases.push(plain.fused(ClipRule::Unit, 30.0, true, path).viewed());
        }
    }
    cases
}
