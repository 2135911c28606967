//! Cases written down with their data, for those who call operations from another language.

use std::sync::Arc;

use gristmill_core::ops::{
    ActivationKind, AdamwRule, ClipRule, Draw as Philox, Moments, Noise, Op, Reduction,
};
use gristmill_core::payload::{Chunking, PayloadLayout};
use gristmill_core::{Device, Result, Tensor};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::case::{Bound, Case, MakeOp, Scale};
use crate::draw::Draw;
use crate::operand::{Operand, Placed, Role, decode};

/// A case with the data of one run, and what the reference makes of it.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    /// The case.
    pub case: String,
    /// The operation.
    pub op: &'static str,
    /// `bits`, `exact` (one NaN is as good as another), `equal` (so is a zero of either sign), or the greatest error of
    /// an element in units of its scale.
    pub bound: Value,
    /// The scalars of the operation by name; 64-bit integers, and numbers that JSON has not, as text.
    pub scalars: Map<String, Value>,
    /// What the operation reads.
    pub inputs: Vec<Data>,
    /// What it writes; for what it changes in place, what was there before is among the inputs under the same name.
    pub outputs: Vec<Data>,
    /// The row at which the data breaks the operation's contract: then there are no outputs to compare.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<u64>,
}

/// A tensor by name.
#[derive(Debug, Clone, Serialize)]
pub struct Data {
    /// What the operation calls it.
    pub name: &'static str,
    /// Its element type.
    pub dtype: &'static str,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its elements, little end first, in hexadecimal.
    pub hex: String,
    /// Of an output, what the error of each element is measured by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scale: Vec<f64>,
}

/// Data beyond this makes a case too large to be written down.
const BYTES: usize = 1 << 16;

/// A few small cases of every operation (as many as `per_op`, spread over the table, and one whose data is at fault),
/// with their data and the results of the reference.
///
/// # Errors
/// What the reference returns.
pub fn samples(seed: u64, per_op: usize) -> Result<Vec<Sample>> {
    let reference = gristmill_cpu::open_reference()?;
    let cases = crate::cases();
    let mut samples = Vec::new();
    for op in Op::NAMES {
        let mut of_op = Vec::new();
        for case in cases.iter().filter(|case| case.op == *op) {
            of_op.extend(sample(case, &reference, seed)?);
        }
        let (faults, sound): (Vec<_>, Vec<_>) = of_op.into_iter().partition(|s| s.fault.is_some());
        let step = sound.len().div_ceil(per_op.max(1)).max(1);
        samples.extend(sound.into_iter().step_by(step));
        samples.extend(faults.into_iter().next());
    }
    Ok(samples)
}

/// The case with its data, unless it is too large.
fn sample(case: &Case, reference: &Device, seed: u64) -> Result<Option<Sample>> {
    let mut draw = Draw::new(seed, &case.name);
    let problem = (case.build)(&mut draw);
    if problem.operands.iter().map(|o| o.len() * o.dtype.size()).sum::<usize>() > BYTES {
        return Ok(None);
    }
    let placed = place(reference, &problem.operands, &mut draw)?;
    let op = make(&problem.op, &placed);
    let described = describe(&op);
    let operand_of = |tensor: &Tensor| placed.iter().position(|p| p.tensor.buffer() == tensor.buffer());
    let data = |name, tensor: &Tensor, bytes: &[u8], scale| Data {
        name,
        dtype: tensor.dtype().name(),
        shape: tensor.shape().to_vec(),
        hex: bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")),
        scale,
    };
    let inputs = described
        .inputs
        .iter()
        .filter_map(|(name, tensor)| {
            operand_of(tensor).map(|i| data(name, tensor, &placed[i].bytes, Vec::new()))
        })
        .collect();
    let mut outputs = Vec::new();
    if problem.fault.is_none() {
        reference.run(op.clone())?;
        let terms = terms(&problem.scale, reference, &mut draw)?;
        for (name, tensor) in &described.outputs {
            let bytes = tensor.read()?;
            let scale = match (&problem.scale, operand_of(tensor)) {
                (Scale::Terms(..), Some(i)) => terms[i].clone(),
                (Scale::Result(beside), _) => {
                    decode(tensor.dtype(), &bytes).iter().map(|x| x.abs() + beside).collect()
                }
                _ => Vec::new(),
            };
            outputs.push(data(name, tensor, &bytes, scale));
        }
    }
    let bound = match case.bound {
        Bound::Bits => json!("bits"),
        Bound::Exact => json!("exact"),
        Bound::Equal => json!("equal"),
        Bound::Error(error) => json!(error),
    };
    let fault = problem.fault;
    Ok(Some(Sample {
        case: case.name.clone(),
        op: case.op,
        bound,
        scalars: described.scalars,
        inputs,
        outputs,
        fault,
    }))
}

/// On the device without margins: a view is the caller's own business.
fn place(device: &Device, operands: &[Operand], garbage: &mut Draw) -> Result<Vec<Placed>> {
    operands.iter().map(|o| Operand { margin: (0, 0), ..o.clone() }.place(device, garbage)).collect()
}

fn make(op: &MakeOp, placed: &[Placed]) -> Op {
    op(&placed.iter().map(|p| p.tensor.clone()).collect::<Vec<_>>())
}

/// For every operand, the sums of the magnitudes of its terms, if it is written and that is the measure.
fn terms(scale: &Scale, reference: &Device, garbage: &mut Draw) -> Result<Vec<Vec<f64>>> {
    let Scale::Terms(operands, op) = scale else { return Ok(Vec::new()) };
    let placed = place(reference, operands, garbage)?;
    reference.run(make(&Arc::clone(op), &placed))?;
    let of = |(operand, placed): (&Operand, &Placed)| match operand.role {
        Role::In => Ok(Vec::new()),
        Role::Out | Role::Update => Ok(decode(operand.dtype, &placed.tensor.read()?)),
    };
    operands.iter().zip(&placed).map(of).collect()
}

/// An operation by names.
struct Described<'a> {
    scalars: Map<String, Value>,
    inputs: Vec<(&'static str, &'a Tensor)>,
    outputs: Vec<(&'static str, &'a Tensor)>,
}

/// A number, as text where JSON has none.
fn number(x: f64) -> Value {
    if x.is_finite() { json!(x) } else { json!(if x.is_nan() { "NaN".into() } else { format!("{x}inity") }) }
}

#[rustfmt::skip]
fn describe(op: &Op) -> Described<'_> {
    let reduction = |r: Reduction| json!(match r {
        Reduction::Sum => "sum",
        Reduction::Max => "max",
        Reduction::SumSquares => "sumSquares",
    });
    let single = |x: f32| number(x.into());
    let (scalars, inputs, outputs): (Vec<(&str, Value)>, _, _) = match op {
        Op::Fill(o) => (vec![("value", number(o.value))], vec![], vec![("out", &o.out)]),
        Op::Cast(o) => (vec![], vec![("x", &o.x)], vec![("out", &o.out)]),
        Op::Copy(o) => (vec![], vec![("x", &o.x)], vec![("out", &o.out)]),
        Op::Matmul(o) => (
            vec![
                ("transA", json!(o.trans_a)), ("transB", json!(o.trans_b)),
                ("alpha", single(o.alpha)), ("beta", single(o.beta)),
            ],
            if o.beta == 0.0 { vec![("a", &o.a), ("b", &o.b)] }
            else { vec![("a", &o.a), ("b", &o.b), ("out", &o.out)] },
            vec![("out", &o.out)],
        ),
        Op::RowReduce(o) => (
            vec![("reduction", reduction(o.reduction))], vec![("x", &o.x)], vec![("out", &o.out)],
        ),
        Op::SegmentReduce(o) => (
            vec![("reduction", reduction(o.reduction))],
            vec![("x", &o.x), ("offsets", &o.offsets)], vec![("out", &o.out)],
        ),
        Op::Axpby(o) => (
            vec![("alpha", single(o.alpha)), ("beta", single(o.beta))],
            vec![("x", &o.x), ("y", &o.y)], vec![("y", &o.y)],
        ),
        Op::Scale(o) => (vec![("alpha", single(o.alpha))], vec![("x", &o.x)], vec![("out", &o.out)]),
        Op::SoftmaxStats(o) => (vec![], vec![("x", &o.x)], vec![("max", &o.max), ("lse", &o.lse)]),
        Op::Nll(o) => (
            losses(o.vocab, o.softcap),
            [("logits", &o.logits), ("targets", &o.targets)].into_iter()
                .chain(o.bias.iter().map(|b| ("bias", b))).collect(),
            vec![("out", &o.out)],
        ),
        Op::LinearNll(o) => (
            losses(o.vocab, o.softcap),
            [("hidden", &o.hidden), ("head", &o.head), ("targets", &o.targets)].into_iter()
                .chain(o.bias.iter().map(|b| ("bias", b))).collect(),
            vec![("out", &o.out)],
        ),
        Op::LossReduction(o) => (
            vec![],
            vec![("prior", &o.prior), ("conditional", &o.conditional), ("offsets", &o.offsets)],
            vec![("priorSum", &o.prior_sum), ("conditionalSum", &o.conditional_sum), ("score", &o.score)],
        ),
        Op::Philox(o) => (
            vec![
                ("seed", json!(o.seed.to_string())), ("stream", json!(o.stream.to_string())),
                ("offset", json!(o.offset.to_string())),
                ("draw", json!(match o.draw {
                    Philox::Bits => "bits", Philox::Uniform => "uniform", Philox::Normal => "normal",
                })),
            ],
            vec![], vec![("out", &o.out)],
        ),
        Op::Topk(o) => (
            vec![("k", json!(o.k)), ("chunk", json!(o.chunk))],
            vec![("x", &o.x)], vec![("values", &o.values), ("indices", &o.indices)],
        ),
        Op::RowNormScale(o) => (
            vec![("maxNorm", single(o.max_norm))],
            vec![("x", &o.x)], vec![("norms", &o.norms), ("factors", &o.factors), ("out", &o.out)],
        ),
        Op::ColumnNorms(o) => (vec![], vec![("x", &o.x)], vec![("out", &o.out)]),
        Op::Gather(o) => (vec![], vec![("table", &o.table), ("ids", &o.ids)], vec![("out", &o.out)]),
        Op::Norm(o) => (
            vec![("kind", json!(o.kind.name())), ("eps", single(o.eps))],
            [("x", &o.x)].into_iter()
                .chain(o.weight.iter().map(|w| ("weight", w))).chain(o.bias.iter().map(|b| ("bias", b))).collect(),
            vec![("out", &o.out)],
        ),
        Op::Rope(o) => (
            vec![("headDim", json!(o.head_dim)), ("interleaved", json!(o.interleaved))],
            vec![("x", &o.x), ("cos", &o.cos), ("sin", &o.sin), ("positions", &o.positions)],
            vec![("x", &o.x)],
        ),
        Op::Attention(o) => (
            vec![("heads", json!(o.heads)), ("kvHeads", json!(o.kv_heads)), ("scale", single(o.scale))],
            vec![("q", &o.q), ("k", &o.k), ("v", &o.v), ("offsets", &o.offsets)],
            vec![("out", &o.out)],
        ),
        Op::Activation(o) => (
            vec![("kind", json!(activation(o.kind)))],
            [("x", &o.x)].into_iter()
                .chain(o.bias.iter().map(|b| ("bias", b))).chain(o.times.iter().map(|t| ("times", t))).collect(),
            vec![("out", &o.out)],
        ),
        Op::BiasAdd(o) => (vec![], vec![("x", &o.x), ("bias", &o.bias)], vec![("x", &o.x)]),
        Op::TopkEncode(o) => (
            [("decay", single(o.decay))].into_iter().chain(payload(&o.chunking, &o.layout)).collect(),
            vec![("base", &o.base), ("local", &o.local), ("residual", &o.residual)],
            vec![("residualOut", &o.residual_out), ("payload", &o.payload)],
        ),
        Op::TopkAggregate(o) => (
            payload(&o.chunking, &o.layout),
            vec![
                ("payloads", &o.payloads), ("weights", &o.weights), ("steps", &o.steps), ("theta", &o.theta),
            ],
            vec![("theta", &o.theta)],
        ),
        Op::PayloadNorm(o) => {
            (payload(&o.chunking, &o.layout), vec![("payloads", &o.payloads)], vec![("out", &o.out)])
        }
        Op::Adamw(o) => {
            let (scalars, state, maps) = adam(o.rule, o.noise, &o.moments);
            let mut inputs = vec![("grad", &o.grad), state[0], state[1]];
            inputs.extend(maps.map(|maps| ("maps", maps)));
            if o.rule.keep != 0.0 {
                inputs.push(("param", &o.param));
            }
            (scalars, inputs, vec![("param", &o.param), state[0], state[1]])
        }
        Op::ClipFactors(o) => (
            clipping(o.rule),
            [("squared", &o.squared), ("maxNorms", &o.max_norms)].into_iter()
                .chain(o.weights.iter().map(|w| ("weights", w))).collect(),
            vec![("factors", &o.factors), ("counts", &o.counts)],
        ),
        Op::SegmentProduct(o) => (
            vec![],
            [("a", &o.a), ("offsets", &o.offsets)].into_iter().chain(o.b.iter().map(|b| ("b", b))).collect(),
            vec![("out", &o.out)],
        ),
        Op::ClippedSum(o) => (
            vec![], vec![("rows", &o.rows), ("factors", &o.factors), ("out", &o.out)], vec![("out", &o.out)],
        ),
        Op::EmbeddingNorms(o) => (
            [("vocabulary", json!(o.vocabulary))].into_iter()
                .chain(o.padding_idx.map(|id| ("paddingIdx", json!(id)))).collect(),
            vec![("ids", &o.ids), ("dy", &o.dy), ("offsets", &o.offsets)], vec![("out", &o.out)],
        ),
        Op::ClippedEmbeddingGrad(o) => (
            o.padding_idx.iter().map(|id| ("paddingIdx", json!(id))).collect(),
            vec![
                ("ids", &o.ids), ("dy", &o.dy), ("offsets", &o.offsets), ("factors", &o.factors),
                ("grad", &o.grad),
            ],
            vec![("grad", &o.grad)],
        ),
        Op::TiedNorms(o) => (
            vec![],
            vec![
                ("ids", &o.ids), ("e", &o.e), ("h", &o.h), ("dlogits", &o.dlogits), ("offsets", &o.offsets),
            ],
            vec![("out", &o.out)],
        ),
        Op::GaussianNoise(o) => (
            vec![
                ("generator", json!(o.generator.name())),
                ("key", json!(o.key.iter().map(|b| format!("{b:02x}")).collect::<String>())),
                ("step", json!(o.step.to_string())), ("tensor", json!(o.tensor)),
                ("std", number(o.std)), ("scale", number(o.scale)),
            ],
            vec![("y", &o.y)], vec![("y", &o.y)],
        ),
        Op::GridSum(o) => (
            vec![("exponent", json!(o.exponent))],
            vec![("rows", &o.rows), ("factors", &o.factors), ("sums", &o.sums)], vec![("sums", &o.sums)],
        ),
        Op::PerSampleNorms(o) => (
            vec![("bias", json!(o.bias)), ("method", json!(o.method.name()))],
            vec![("x", &o.x), ("dy", &o.dy), ("offsets", &o.offsets)], vec![("out", &o.out)],
        ),
        Op::ClippedGrad(o) => (
            vec![],
            [("x", &o.x), ("dy", &o.dy), ("offsets", &o.offsets), ("factors", &o.factors), ("grad", &o.grad)]
                .into_iter().chain(o.bias.iter().map(|b| ("bias", b))).collect(),
            [("grad", &o.grad)].into_iter().chain(o.bias.iter().map(|b| ("bias", b))).collect(),
        ),
        Op::ClipLinearFused(o) => (
            clipping(o.rule).into_iter()
                .chain([("maxNorm", single(o.max_norm)), ("path", json!(o.path.name()))]).collect(),
            [("x", &o.x), ("dy", &o.dy), ("offsets", &o.offsets), ("grad", &o.grad)].into_iter()
                .chain(o.weights.iter().map(|w| ("weights", w)))
                .chain(o.bias.iter().map(|b| ("bias", b))).collect(),
            [("norms", &o.norms), ("factors", &o.factors), ("grad", &o.grad)].into_iter()
                .chain(o.bias.iter().map(|b| ("bias", b))).collect(),
        ),
        Op::LowRankAdam(o) => {
            let (mut scalars, state, maps) = adam(o.rule, o.noise, &o.moments);
            scalars.push(("right", json!(o.right)));
            let mut inputs = vec![("grad", &o.grad), ("basis", &o.basis), state[0], state[1]];
            inputs.extend(maps.map(|maps| ("maps", maps)));
            if o.rule.keep != 0.0 {
                inputs.push(("weight", &o.weight));
            }
            (scalars, inputs, vec![("weight", &o.weight), state[0], state[1]])
        }
        Op::Gram(o) => (
            vec![("columns", json!(o.columns)), ("alpha", single(o.alpha)), ("beta", single(o.beta))],
            [("x", &o.x)].into_iter().chain(o.c.iter().map(|c| ("c", c))).collect(),
            vec![("out", &o.out)],
        ),
        Op::GatherColumns(o) => (vec![], vec![("x", &o.x), ("index", &o.index)], vec![("out", &o.out)]),
        Op::ScatterColumns(o) => (
            vec![], vec![("y", &o.y), ("index", &o.index), ("out", &o.out)], vec![("out", &o.out)],
        ),
        Op::ActivationGrad(o) => (
            vec![("kind", json!(activation(o.kind)))], vec![("x", &o.x), ("dy", &o.dy)], vec![("out", &o.out)],
        ),
        Op::Kurtosis(o) => (vec![("centered", json!(o.centered))], vec![("x", &o.x)], vec![("out", &o.out)]),
        Op::Hadamard(o) => (vec![("block", json!(o.block))], vec![("x", &o.x)], vec![("out", &o.out)]),
        Op::QuantizeRtn(o) => (
            vec![
                ("bits", json!(o.rule.bits)), ("group", json!(o.group)), ("symmetric", json!(o.rule.symmetric)),
                ("clip", single(o.rule.clip)),
            ],
            vec![("x", &o.x)], vec![("out", &o.out)],
        ),
        Op::NormGrad(o) => (
            vec![("kind", json!(o.kind.name())), ("eps", single(o.eps))],
            [("x", &o.x), ("dy", &o.dy)].into_iter().chain(o.weight.iter().map(|w| ("weight", w))).collect(),
            vec![("dx", &o.dx), ("dots", &o.dots)],
        ),
        Op::ChannelFactors(o) => (
            vec![
                ("whole", json!(o.whole)), ("scale", single(o.scale)), ("gradScale", single(o.grad_scale)),
            ],
            [("direction", &o.direction), ("projected", &o.projected), ("gradient", &o.gradient)].into_iter()
                .chain(o.previous.iter().map(|p| ("previous", p))).collect(),
            [("factors", &o.factors)].into_iter().chain(o.previous.iter().map(|p| ("previous", p))).collect(),
        ),
        Op::ChannelStep(o) => (
            [("columns", json!(o.columns)), ("step", single(o.step)), ("keep", single(o.keep))].into_iter()
                .chain(o.noise.into_iter().flat_map(|noise| [
                    ("seed", json!(noise.seed.to_string())), ("stream", json!(noise.stream.to_string())),
                ])).collect(),
            vec![("grad", &o.grad), ("factors", &o.factors), ("param", &o.param)], vec![("param", &o.param)],
        ),
        Op::Int4Pack(o) => (
            vec![], vec![("x", &o.x)], vec![("codes", &o.codes), ("scales", &o.scales), ("zeros", &o.zeros)],
        ),
        Op::Int4Unpack(o) => (
            vec![], vec![("codes", &o.codes), ("scales", &o.scales), ("zeros", &o.zeros)],
            vec![("out", &o.out)],
        ),
        _ => (vec![], vec![], vec![]),
    };
    Described { scalars: scalars.into_iter().map(|(name, v)| (name.into(), v)).collect(), inputs, outputs }
}

/// Scalars, moments and maps of a step of Adam.
#[allow(clippy::type_complexity)]
fn adam(
    rule: AdamwRule,
    noise: Option<Noise>,
    moments: &Moments,
) -> (Vec<(&'static str, Value)>, [(&'static str, &Tensor); 2], Option<&Tensor>) {
    let AdamwRule { beta1, beta2, eps, step, keep, grad_scale } = rule;
    let singles = [("eps", eps), ("step", step), ("keep", keep), ("gradScale", grad_scale)];
    let mut scalars = vec![("beta1", number(beta1)), ("beta2", number(beta2))];
    scalars.extend(singles.map(|(name, x)| (name, number(x.into()))));
    if let Some(noise) = noise {
        scalars.push(("seed", json!(noise.seed.to_string())));
        scalars.push(("stream", json!(noise.stream.to_string())));
    }
    match moments {
        Moments::Full { m, v } => (scalars, [("m", m), ("v", v)], None),
        Moments::Int8 { codes, absmax, maps } => {
            (scalars, [("codes", codes), ("absmax", absmax)], Some(maps))
        }
    }
}

/// The name of a function in TypeScript.
fn activation(kind: ActivationKind) -> &'static str {
    match kind {
        ActivationKind::Gelu => "gelu",
        ActivationKind::GeluTanh => "geluTanh",
        ActivationKind::Silu => "silu",
    }
}

fn clipping(rule: ClipRule) -> Vec<(&'static str, Value)> {
    match rule {
        ClipRule::Flat => vec![("rule", json!("flat"))],
        ClipRule::Automatic { gamma } => vec![("rule", json!("automatic")), ("gamma", number(gamma.into()))],
        ClipRule::Unit => vec![("rule", json!("unit"))],
        ClipRule::Threshold => vec![("rule", json!("threshold"))],
    }
}

fn payload(chunking: &Chunking, layout: &PayloadLayout) -> Vec<(&'static str, Value)> {
    vec![
        ("block", json!([chunking.block_rows(), chunking.block_columns()])),
        ("topK", json!(layout.k())),
        ("quantizer", json!(layout.quantizer().name())),
        ("indices", json!(layout.indices().name())),
    ]
}

fn losses(vocab: usize, softcap: Option<f32>) -> Vec<(&'static str, Value)> {
    let softcap = softcap.map(|cap| ("softcap", number(cap.into())));
    [("vocab", json!(vocab))].into_iter().chain(softcap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_samples_that_say_everything() {
        let samples = samples(3, 4).unwrap();
        for op in Op::NAMES {
            let of_op: Vec<_> = samples.iter().filter(|s| s.op == *op).collect();
            assert!(of_op.iter().filter(|s| s.fault.is_none()).count() >= 3, "{op}");
            for s in of_op {
                assert!(s.fault.is_some() || !s.outputs.is_empty(), "{}", s.case);
                for data in &s.outputs {
                    let elements: usize = data.shape.iter().product();
                    let size = data.dtype.parse::<gristmill_core::DType>().unwrap().size();
                    assert_eq!(data.hex.len(), 2 * elements * size, "{}", s.case);
                    assert_eq!(data.scale.len(), elements, "{}", s.case);
                }
            }
        }
        // By hand: a fill is its value everywhere.
        let (fill, value) = samples
            .iter()
            .filter(|s| s.op == "fill" && s.outputs[0].dtype == "f32" && !s.outputs[0].hex.is_empty())
            .find_map(|s| Some((s, s.scalars["value"].as_f64()? as f32)))
            .unwrap();
        let element: String = value.to_le_bytes().iter().map(|b| format!("{b:02x}")).collect();
        assert!(fill.outputs[0].hex.starts_with(&element), "{fill:?}");
    }
}
