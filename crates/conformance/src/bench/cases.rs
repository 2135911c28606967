//! The cases of the benchmark: the operations of the conformance table at sizes that fill a device.

use gristmill_core::device::DeviceKind;
use gristmill_core::ops::{
    Activation, ActivationKind, Adamw, AdamwRule, Attention, Axpby, BiasAdd, Cast, ClipLinearFused, ClipPath,
    ClipRule, ClippedGrad, ColumnNorms, Copy, Draw, Fill, Gather, GaussianNoise, LinearNll, LossReduction,
    Matmul, Moments, Nll, Noise, NoiseGenerator, Norm, NormKind, NormsMethod, Op, PayloadNorm,
    PerSampleNorms, Philox, Reduction, Rope, RowNormScale, RowReduce, Scale, SegmentReduce, SoftmaxStats,
    Topk, TopkAggregate, TopkEncode, dynamic_map,
};
use gristmill_core::payload::{Chunking, IndexCodec, PayloadLayout, Quantizer};
use gristmill_core::{DType, Device, Result, Tensor};

/// What binds an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bind {
    /// Reading and writing.
    Copy,
    /// Reading alone.
    Read,
    /// Multiplying matrices of this type.
    Matmul(DType),
}

/// Makes the operation with its tensors.
type Build = Box<dyn Fn(&Device) -> Result<Op>>;

/// An operation at one size.
pub(super) struct BenchCase {
    pub(super) name: String,
    pub(super) op: &'static str,
    pub(super) bind: Bind,
    pub(super) build: Build,
}

pub(super) fn case<O: Into<Op>>(
    op: &'static str,
    rest: impl std::fmt::Display,
    bind: Bind,
    build: impl Fn(&Device) -> Result<O> + 'static,
) -> BenchCase {
    let build = move |device: &Device| Ok(build(device)?.into());
    BenchCase { name: format!("{op}/{rest}"), op, bind, build: Box::new(build) }
}

/// Sizes that take a device about the same time: graphics processors have more to do, software ones less.
pub(super) struct Sizes {
    /// Elements of a long vector.
    pub(super) n: usize,
    /// Rows of logits.
    rows: usize,
    /// Rows of hidden states.
    hidden: usize,
    /// Rows and columns of square factors.
    pub(super) square: usize,
    pub(super) vocab: usize,
    logits: DType,
}

impl Sizes {
    fn of(device: &Device) -> Self {
        match device.info().kind {
            DeviceKind::Cpu => {
                Self { n: 1 << 26, rows: 4096, hidden: 1024, square: 2048, vocab: 50_257, logits: DType::F32 }
            }
            DeviceKind::Software => {
                Self { n: 1 << 22, rows: 128, hidden: 32, square: 256, vocab: 50_257, logits: DType::F32 }
            }
            _ => Self {
                n: 1 << 27,
                rows: 16_384,
                hidden: 16_384,
                square: 8192,
                vocab: 49_152,
                logits: DType::Bf16,
            },
        }
    }
}

/// Standard normal numbers, made on the device.
pub(super) fn normal(device: &Device, dtype: DType, shape: &[usize]) -> Result<Tensor> {
    let wide = device.philox(shape, Draw::Normal, 1, shape.len() as u64, 0)?;
    if dtype == DType::F32 { Ok(wide) } else { wide.cast(dtype) }
}

pub(super) fn targets(device: &Device, rows: usize, vocab: usize) -> Result<Tensor> {
    device.tensor((0..rows).map(|i| (i * 7919 % vocab) as u32).collect(), [rows])
}

/// Offsets of documents of about this many tokens.
pub(super) fn documents(device: &Device, tokens: usize, length: usize) -> Result<Tensor> {
    let mut offsets = vec![0u32];
    let mut at = 0;
    while at < tokens {
        at = tokens.min(at + length / 2 + offsets.len() * 7919 % length);
        offsets.push(at as u32);
    }
    let len = offsets.len();
    device.tensor(offsets, [len])
}

fn square(n: usize, dtype: DType) -> BenchCase {
    case("matmul", format!("{n}x{n}x{n}/{dtype}"), Bind::Matmul(dtype), move |device| {
        Ok(Matmul {
            a: normal(device, dtype, &[n, n])?,
            b: normal(device, dtype, &[n, n])?,
            out: device.empty(dtype, [n, n])?,
            trans_a: false,
            trans_b: false,
            alpha: 1.0,
            beta: 0.0,
        })
    })
}

fn sum(n: usize) -> BenchCase {
    case("row_reduce", format!("{}x16384/f32/sum", n >> 14), Bind::Read, move |device| {
        let x = normal(device, DType::F32, &[n >> 14, 1 << 14])?;
        Ok(RowReduce { x, out: device.empty(DType::F32, [n >> 14])?, reduction: Reduction::Sum })
    })
}

fn copy(n: usize) -> BenchCase {
    case("copy", format!("{n}/f32"), Bind::Copy, move |device| {
        Ok(Copy { x: normal(device, DType::F32, &[n])?, out: device.empty(DType::F32, [n])? })
    })
}

/// The operations that stand for what the device can do at all.
pub(super) fn limits(device: &Device) -> Vec<BenchCase> {
    let s = Sizes::of(device);
    vec![
        copy(s.n),
        sum(s.n),
        square(s.square, DType::F32),
        square(s.square, DType::Bf16),
        square(s.square, DType::F16),
    ]
}

/// All cases for a device of this kind.
pub(super) fn cases(device: &Device) -> Vec<BenchCase> {
    let s = Sizes::of(device);
    [
        elementwise(&s),
        reductions(&s),
        losses(&s),
        products(&s),
        transformers(&s),
        selections(&s),
        exchanges(&s),
        optimizers(&s),
        super::low_rank::cases(&s),
        clipping(&s),
        super::samples::samples(&s),
        super::layers::layers(&s),
        super::channel::channels(&s),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn elementwise(s: &Sizes) -> Vec<BenchCase> {
    let n = s.n;
    let f32s = move |device: &Device| normal(device, DType::F32, &[n]);
    vec![
        case("fill", format!("{n}/f32"), Bind::Copy, move |device| {
            Ok(Fill { out: device.empty(DType::F32, [n])?, value: 1.5 })
        }),
        case("cast", format!("{n}/f32-bf16"), Bind::Copy, move |device| {
            Ok(Cast { x: f32s(device)?, out: device.empty(DType::Bf16, [n])? })
        }),
        copy(n),
        case("scale", format!("{n}/f32"), Bind::Copy, move |device| {
            Ok(Scale { x: f32s(device)?, out: device.empty(DType::F32, [n])?, alpha: 0.5 })
        }),
        case("axpby", format!("{n}/f32"), Bind::Copy, move |device| {
            Ok(Axpby { x: f32s(device)?, y: f32s(device)?, alpha: 0.5, beta: 0.5 })
        }),
    ]
}

fn reductions(s: &Sizes) -> Vec<BenchCase> {
    let n = s.n;
    let (rows, columns) = (n >> 14, 1 << 14);
    vec![
        sum(n),
        case("row_reduce", format!("{rows}x{columns}/f32/max"), Bind::Read, move |device| {
            let x = normal(device, DType::F32, &[rows, columns])?;
            Ok(RowReduce { x, out: device.empty(DType::F32, [rows])?, reduction: Reduction::Max })
        }),
        case("segment_reduce", format!("{n}/f32/sum"), Bind::Read, move |device| {
            let offsets = documents(device, n, 1000)?;
            let out = device.empty(DType::F32, [offsets.len() - 1])?;
            let x = normal(device, DType::F32, &[n])?;
            Ok(SegmentReduce { x, offsets, out, reduction: Reduction::Sum })
        }),
        case("column_norms", format!("{rows}x{columns}/f32"), Bind::Read, move |device| {
            let x = normal(device, DType::F32, &[rows, columns])?;
            Ok(ColumnNorms { x, out: device.empty(DType::F32, [columns])? })
        }),
        case("row_norm_scale", format!("{rows}x{columns}/f32"), Bind::Read, move |device| {
            Ok(RowNormScale {
                x: normal(device, DType::F32, &[rows, columns])?,
                norms: device.empty(DType::F32, [rows])?,
                factors: device.empty(DType::F32, [rows])?,
                out: device.empty(DType::F32, [columns])?,
                max_norm: 100.0,
            })
        }),
        case("softmax_stats", format!("{rows}x{columns}/f32"), Bind::Read, move |device| {
            Ok(SoftmaxStats {
                x: normal(device, DType::F32, &[rows, columns])?,
                max: device.empty(DType::F32, [rows])?,
                lse: device.empty(DType::F32, [rows])?,
            })
        }),
    ]
}

fn losses(s: &Sizes) -> Vec<BenchCase> {
    let (rows, vocab, n) = (s.rows, s.vocab, s.n);
    let nll = |dtype: DType, softcap: Option<f32>| {
        let cap = softcap.map_or(String::new(), |cap| format!("/cap{cap}"));
        case("nll", format!("{rows}x{vocab}/{dtype}{cap}"), Bind::Read, move |device| {
            Ok(Nll {
                logits: normal(device, dtype, &[rows, vocab])?,
                targets: targets(device, rows, vocab)?,
                bias: None,
                out: device.empty(DType::F32, [rows])?,
                vocab,
                softcap,
            })
        })
    };
    let other = if s.logits == DType::F32 { DType::Bf16 } else { DType::F32 };
    vec![
        nll(s.logits, None),
        nll(other, None),
        nll(s.logits, Some(30.0)),
        case("loss_reduction", format!("{n}/f32"), Bind::Read, move |device| {
            let offsets = documents(device, n, 1000)?;
            let out = || device.empty(DType::F32, [offsets.len() - 1]);
            Ok(LossReduction {
                prior: normal(device, DType::F32, &[n])?,
                conditional: normal(device, DType::F32, &[n])?,
                prior_sum: out()?,
                conditional_sum: out()?,
                score: out()?,
                offsets,
            })
        }),
    ]
}

fn products(s: &Sizes) -> Vec<BenchCase> {
    let linear_nll = |rows: usize, d: usize, vocab: usize, dtype: DType| {
        case("linear_nll", format!("{rows}x{d}x{vocab}/{dtype}"), Bind::Matmul(dtype), move |device| {
            let hidden = normal(device, DType::F32, &[rows, d])?.scale(1.0 / (d as f32).sqrt())?;
            Ok(LinearNll {
                hidden: if dtype == DType::F32 { hidden } else { hidden.cast(dtype)? },
                head: normal(device, dtype, &[vocab, d])?,
                targets: targets(device, rows, vocab)?,
                bias: None,
                out: device.empty(DType::F32, [rows])?,
                vocab,
                softcap: None,
            })
        })
    };
    vec![
        square(s.square / 2, DType::F32),
        square(s.square / 2, DType::Bf16),
        square(s.square / 2, DType::F16),
        linear_nll(s.hidden, 576, 49_152, DType::F32),
        linear_nll(s.hidden, 576, 49_152, DType::Bf16),
    ]
}

/// What a layer of a language model of 135M parameters does beside its products, for as many tokens as there are
/// hidden states; attention over one document.
fn transformers(s: &Sizes) -> Vec<BenchCase> {
    let (rows, vocab, dtype) = (4 * s.hidden, s.vocab, s.logits);
    let attention = |rows: usize, dtype: DType| {
        case("attention", format!("{rows}x9of3x64/{dtype}"), Bind::Matmul(dtype), move |device| {
            Ok(Attention {
                q: normal(device, dtype, &[rows, 9 * 64])?,
                k: normal(device, dtype, &[rows, 3 * 64])?,
                v: normal(device, dtype, &[rows, 3 * 64])?,
                offsets: device.tensor(vec![0, rows as u32], [2])?,
                out: device.empty(dtype, [rows, 9 * 64])?,
                heads: 9,
                kv_heads: 3,
                scale: 0.125,
            })
        })
    };
    let norm = |kind: NormKind| {
        case("norm", format!("{rows}x576/{dtype}/{}", kind.name()), Bind::Copy, move |device| {
            Ok(Norm {
                x: normal(device, dtype, &[rows, 576])?,
                weight: Some(normal(device, DType::F32, &[576])?),
                bias: None,
                out: device.empty(dtype, [rows, 576])?,
                eps: 1e-5,
                kind,
            })
        })
    };
    let activation = |kind: ActivationKind| {
        case("activation", format!("{rows}x1536/{dtype}/{}", kind.name()), Bind::Copy, move |device| {
            Ok(Activation {
                x: normal(device, dtype, &[rows, 1536])?,
                bias: None,
                times: Some(normal(device, dtype, &[rows, 1536])?),
                out: device.empty(dtype, [rows, 1536])?,
                kind,
            })
        })
    };
    vec![
        attention(s.hidden, DType::F32),
        attention(s.hidden, DType::Bf16),
        case("gather", format!("{rows}x576of{vocab}/{dtype}"), Bind::Copy, move |device| {
            Ok(Gather {
                table: normal(device, dtype, &[vocab, 576])?,
                ids: targets(device, rows, vocab)?,
                out: device.empty(dtype, [rows, 576])?,
            })
        }),
        norm(NormKind::Rms),
        norm(NormKind::Layer),
        case("rope", format!("{rows}x9x64/{dtype}"), Bind::Copy, move |device| {
            Ok(Rope {
                x: normal(device, dtype, &[rows, 9 * 64])?,
                cos: normal(device, DType::F32, &[1024, 32])?,
                sin: normal(device, DType::F32, &[1024, 32])?,
                positions: targets(device, rows, 1024)?,
                head_dim: 64,
                interleaved: false,
            })
        }),
        activation(ActivationKind::Silu),
        activation(ActivationKind::Gelu),
        activation(ActivationKind::GeluTanh),
        case("bias_add", format!("{rows}x576/{dtype}"), Bind::Copy, move |device| {
            Ok(BiasAdd { x: normal(device, dtype, &[rows, 576])?, bias: normal(device, DType::F32, &[576])? })
        }),
    ]
}

fn selections(s: &Sizes) -> Vec<BenchCase> {
    let n = s.n;
    let philox = |draw: Draw, name: &str| {
        case("philox", format!("{n}/{name}"), Bind::Copy, move |device| {
            let dtype = if draw == Draw::Bits { DType::U32 } else { DType::F32 };
            Ok(Philox { out: device.empty(dtype, [n])?, seed: 1, stream: 2, offset: 0, draw })
        })
    };
    let noise = |generator: NoiseGenerator| {
        case("gaussian_noise", format!("{n}/{}", generator.name()), Bind::Copy, move |device| {
            let y = device.zeros(DType::F32, [n])?;
            Ok(GaussianNoise { y, generator, key: [0; 32], step: 1, tensor: 2, std: 1.0, scale: 0.5 })
        })
    };
    let topk = |chunk: usize, k: usize| {
        case("topk", format!("{n}/{chunk}/{k}"), Bind::Read, move |device| {
            Ok(Topk {
                x: normal(device, DType::F32, &[n])?,
                values: device.empty(DType::F32, [n.div_ceil(chunk), k])?,
                indices: device.empty(DType::U32, [n.div_ceil(chunk), k])?,
                chunk,
                k,
            })
        })
    };
    vec![
        philox(Draw::Bits, "bits"),
        philox(Draw::Uniform, "uniform"),
        philox(Draw::Normal, "normal"),
        noise(NoiseGenerator::Philox),
        noise(NoiseGenerator::ChaCha20),
        topk(4096, 64),
        topk(1 << 20, 10_486),
    ]
}

/// The gradient that samples have for a square layer, clipped; for as many rows as there are hidden states.
fn clipping(s: &Sizes) -> Vec<BenchCase> {
    let (rows, n, dtype) = (4 * s.hidden, s.square / 2, s.logits);
    let length = 256.min(rows / 4);
    let samples = rows / length;
    let layer = move |device: &Device| -> Result<[Tensor; 3]> {
        let offsets = (0..=samples).map(|sample| (sample * length) as u32).collect();
        let rows = |device: &Device| normal(device, dtype, &[samples * length, n]);
        Ok([rows(device)?, rows(device)?, device.tensor(offsets, [samples + 1])?])
    };
    let name = |how: &str| format!("{samples}x{length}/{n}x{n}/{dtype}{how}");
    let norms = |method: NormsMethod| {
        case("per_sample_norms", name(&format!("/{}", method.name())), Bind::Matmul(dtype), move |device| {
            let ([x, dy, offsets], out) = (layer(device)?, device.empty(DType::F32, [samples])?);
            Ok(PerSampleNorms { x, dy, offsets, out, bias: false, method })
        })
    };
    let clip = |path: ClipPath| {
        case("clip_linear_fused", name(&format!("/{}", path.name())), Bind::Matmul(dtype), move |device| {
            let [x, dy, offsets] = layer(device)?;
            Ok(ClipLinearFused {
                x,
                dy,
                offsets,
                weights: None,
                grad: device.zeros(DType::F32, [n, n])?,
                bias: None,
                norms: device.empty(DType::F32, [samples])?,
                factors: device.empty(DType::F32, [samples])?,
                max_norm: 1.0,
                rule: ClipRule::Flat,
                path,
            })
        })
    };
    vec![
        norms(NormsMethod::Direct),
        norms(NormsMethod::Gram),
        case("clipped_grad", name(""), Bind::Matmul(dtype), move |device| {
            let [x, dy, offsets] = layer(device)?;
            let factors = device.tensor(vec![0.5f32; samples], [samples])?;
            Ok(ClippedGrad { x, dy, offsets, factors, grad: device.zeros(DType::F32, [n, n])?, bias: None })
        }),
        clip(ClipPath::Fused),
        clip(ClipPath::TwoPhase),
    ]
}

/// A step of Adam on n weights, by the type of its state.
fn optimizers(s: &Sizes) -> Vec<BenchCase> {
    let n = s.n;
    let rule = AdamwRule { beta1: 0.9, beta2: 0.999, eps: 1e-8, step: 1e-3, keep: 0.999, grad_scale: 1.0 };
    let adamw = |param: DType, state: &'static str, noise: Option<Noise>| {
        let rounding = if noise.is_some() { "/noise" } else { "" };
        case("adamw", format!("{n}/{param}/{state}{rounding}"), Bind::Copy, move |device| {
            let full = |dtype: DType| -> Result<Moments> {
                Ok(Moments::Full { m: device.zeros(dtype, [n])?, v: device.zeros(dtype, [n])? })
            };
            let moments = match state {
                "f32" => full(DType::F32)?,
                "bf16" => full(DType::Bf16)?,
                _ => {
                    let blocks = n.div_ceil(Moments::BLOCK);
                    let maps = [dynamic_map(true), dynamic_map(false)].concat();
                    Moments::Int8 {
                        codes: device.zeros(DType::U32, [2, blocks, Moments::BLOCK / 4])?,
                        absmax: device.zeros(DType::F32, [2, blocks])?,
                        maps: device.tensor(maps, [2, 256])?,
                    }
                }
            };
            let (grad, param) = (normal(device, param, &[n])?, normal(device, param, &[n])?);
            Ok(Adamw { grad, param, moments, rule, noise })
        })
    };
    vec![
        adamw(DType::F32, "f32", None),
        adamw(DType::F32, "int8", None),
        adamw(DType::Bf16, "f32", Some(Noise { seed: 1, stream: 2 })),
        adamw(DType::Bf16, "bf16", Some(Noise { seed: 1, stream: 2 })),
    ]
}

/// A matrix of n elements in blocks, at the sizes of low-communication training.
fn exchanges(s: &Sizes) -> Vec<BenchCase> {
    const PEERS: usize = 20;
    const COLUMNS: usize = 1 << 11;
    let (n, rows) = (s.n, s.n / COLUMNS);
    let geometry = move || -> Result<_> {
        let layout = PayloadLayout::new(4096, 64, Quantizer::SignMagnitude, IndexCodec::EliasFano)?;
        Ok((Chunking::of(&[rows, COLUMNS], 4096)?, layout))
    };
    let encode = move |device: &Device, seed: u64| -> Result<TopkEncode> {
        let (chunking, layout) = geometry()?;
        let normal = |i| device.philox([rows, COLUMNS], Draw::Normal, seed, i, 0);
        Ok(TopkEncode {
            base: normal(0)?,
            local: normal(1)?,
            residual: normal(2)?,
            residual_out: device.empty(DType::F32, [rows, COLUMNS])?,
            payload: device.empty(DType::U32, [layout.words(&chunking)])?,
            chunking,
            layout,
            decay: 0.95,
        })
    };
    let payloads = move |device: &Device| -> Result<Tensor> {
        let (chunking, layout) = geometry()?;
        let all = device.empty(DType::U32, [PEERS, layout.words(&chunking)])?;
        for peer in 0..PEERS {
            let payload = all.narrow(peer, 1)?.reshape([layout.words(&chunking)])?;
            device.run(TopkEncode { payload, ..encode(device, peer as u64)? })?;
        }
        Ok(all)
    };
    vec![
        case("topk_encode", format!("{n}/4096/64"), Bind::Copy, move |device| encode(device, 1)),
        case("topk_aggregate", format!("{n}/4096/64/{PEERS}"), Bind::Copy, move |device| {
            let (chunking, layout) = geometry()?;
            let steps: Vec<f32> = (0..=PEERS).map(|c| 0.7 / c.max(1) as f32).collect();
            Ok(TopkAggregate {
                payloads: payloads(device)?,
                weights: device.tensor(vec![1f32; PEERS], [PEERS])?,
                steps: device.tensor(steps, [PEERS + 1])?,
                theta: normal(device, DType::F32, &[rows, COLUMNS])?,
                chunking,
                layout,
            })
        }),
        case("payload_norm", format!("{n}/4096/64/{PEERS}"), Bind::Read, move |device| {
            let (chunking, layout) = geometry()?;
            let out = device.empty(DType::F32, [PEERS])?;
            Ok(PayloadNorm { payloads: payloads(device)?, out, chunking, layout })
        }),
    ]
}
