//! The loop over single samples that everything is compared with: whole gradients, in `f64`, one after the other.

use std::collections::BTreeMap;
use std::ops::Range;

use gristmill_core::ops::NormsMethod;
use gristmill_core::{DType, Device, Tensor};
use gristmill_privacy::dp_sgd::{Batch, Clipping, DpSgd, Embedding, LayerNorms, Linear, Norm, Tied};

use super::Sums;

/// Numbers of a layer, row by row.
#[derive(Clone, Debug)]
pub(super) enum Layer {
    Linear { d: usize, p: usize, bias: bool, x: Vec<f32>, dy: Vec<f32> },
    Embedding { v: usize, d: usize, padding: Option<u32>, ids: Vec<u32>, dy: Vec<f32> },
    Norm { n: usize, bias: bool, xhat: Vec<f32>, dy: Vec<f32> },
    Tied { v: usize, d: usize, bias: bool, ids: Vec<u32>, dy: Vec<f32>, h: Vec<f32>, dlogits: Vec<f32> },
}

/// A batch.
#[derive(Clone, Debug)]
pub(super) struct Case {
    /// Rows of each sample.
    pub(super) lengths: Vec<usize>,
    pub(super) weights: Option<Vec<f32>>,
    pub(super) layers: Vec<(&'static str, Layer)>,
    /// In which type the numbers are given to the device.
    pub(super) dtype: DType,
    pub(super) method: Option<NormsMethod>,
}

/// Numbers from -1 to 1.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) ^ (self.0 >> 11)
    }

    pub(super) fn next(&mut self) -> f32 {
        (self.bits() % (1 << 20)) as f32 / (1 << 19) as f32 - 1.0
    }

    pub(super) fn many(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.next()).collect()
    }

    pub(super) fn ids(&mut self, n: usize, vocabulary: usize) -> Vec<u32> {
        (0..n).map(|_| (self.bits() % vocabulary as u64) as u32).collect()
    }
}

/// Each element to the nearest of the type.
fn rounded(values: &[f32], dtype: DType) -> Vec<f64> {
    let one = |&x: &f32| match dtype {
        DType::Bf16 => f64::from(half::bf16::from_f32(x).to_f32()),
        DType::F16 => f64::from(half::f16::from_f32(x).to_f32()),
        _ => f64::from(x),
    };
    values.iter().map(one).collect()
}

impl Case {
    /// A layer of each kind, with samples of these lengths.
    pub(super) fn of(seed: u64, lengths: &[usize]) -> Self {
        let (rows, mut n) = (lengths.iter().sum::<usize>(), Numbers(seed));
        let linear = |n: &mut Numbers, d: usize, p: usize, bias| Layer::Linear {
            d,
            p,
            bias,
            x: n.many(rows * d),
            dy: n.many(rows * p),
        };
        let layers = vec![
            ("a.up", linear(&mut n, 7, 5, true)),
            ("b.down", linear(&mut n, 5, 19, false)),
            (
                "wte",
                Layer::Embedding {
                    v: 11,
                    d: 6,
                    padding: Some(3),
                    ids: n.ids(rows, 11),
                    dy: n.many(rows * 6),
                },
            ),
            ("ln", Layer::Norm { n: 9, bias: true, xhat: n.many(rows * 9), dy: n.many(rows * 9) }),
            ("rms", Layer::Norm { n: 4, bias: false, xhat: n.many(rows * 4), dy: n.many(rows * 4) }),
            (
                "shared",
                Layer::Tied {
                    v: 13,
                    d: 3,
                    bias: true,
                    ids: n.ids(rows, 13),
                    dy: n.many(rows * 3),
                    h: n.many(rows * 3),
                    dlogits: n.many(rows * 13),
                },
            ),
        ];
        Self { lengths: lengths.to_vec(), weights: None, layers, dtype: DType::F32, method: None }
    }

    /// One of these layers alone.
    pub(super) fn only(mut self, name: &str) -> Self {
        self.layers.retain(|(layer, _)| *layer == name);
        self
    }

    /// The samples in a range of them; offsets are to be set by the caller where it matters.
    fn of_samples(&self, samples: Range<usize>) -> Self {
        let start: usize = self.lengths[..samples.start].iter().sum();
        let end = start + self.lengths[samples.clone()].iter().sum::<usize>();
        let weights = self.weights.as_ref().map(|w| w[samples.clone()].to_vec());
        Self { lengths: self.lengths[samples].to_vec(), weights, ..self.rows(start..end) }
    }

    /// A range of the rows.
    pub(super) fn rows(&self, r: Range<usize>) -> Self {
        let cut = |v: &[f32], n: usize| v[r.start * n..r.end * n].to_vec();
        let one = |layer: &Layer| match layer {
            Layer::Linear { d, p, bias, x, dy } => {
                Layer::Linear { d: *d, p: *p, bias: *bias, x: cut(x, *d), dy: cut(dy, *p) }
            }
            Layer::Embedding { v, d, padding, ids, dy } => Layer::Embedding {
                v: *v,
                d: *d,
                padding: *padding,
                ids: ids[r.clone()].to_vec(),
                dy: cut(dy, *d),
            },
            Layer::Norm { n, bias, xhat, dy } => {
                Layer::Norm { n: *n, bias: *bias, xhat: cut(xhat, *n), dy: cut(dy, *n) }
            }
            Layer::Tied { v, d, bias, ids, dy, h, dlogits } => Layer::Tied {
                v: *v,
                d: *d,
                bias: *bias,
                ids: ids[r.clone()].to_vec(),
                dy: cut(dy, *d),
                h: cut(h, *d),
                dlogits: cut(dlogits, *v),
            },
        };
        let layers = self.layers.iter().map(|(name, layer)| (*name, one(layer))).collect();
        Self { layers, ..self.clone() }
    }

    /// The samples of both, one behind the other.
    pub(super) fn join(&self, other: &Self) -> Self {
        let mut all = self.clone();
        all.lengths.extend(&other.lengths);
        if let (Some(a), Some(b)) = (&mut all.weights, &other.weights) {
            a.extend(b);
        }
        for ((_, a), (_, b)) in all.layers.iter_mut().zip(&other.layers) {
            match (a, b) {
                (Layer::Linear { x, dy, .. }, Layer::Linear { x: x2, dy: dy2, .. }) => {
                    x.extend(x2);
                    dy.extend(dy2);
                }
                (Layer::Embedding { ids, dy, .. }, Layer::Embedding { ids: ids2, dy: dy2, .. }) => {
                    ids.extend(ids2);
                    dy.extend(dy2);
                }
                (Layer::Norm { xhat, dy, .. }, Layer::Norm { xhat: x2, dy: dy2, .. }) => {
                    xhat.extend(x2);
                    dy.extend(dy2);
                }
                (
                    Layer::Tied { ids, dy, h, dlogits, .. },
                    Layer::Tied { ids: ids2, dy: dy2, h: h2, dlogits: l2, .. },
                ) => {
                    ids.extend(ids2);
                    dy.extend(dy2);
                    h.extend(h2);
                    dlogits.extend(l2);
                }
                _ => panic!("other layers"),
            }
        }
        all
    }

    /// All samples but one.
    pub(super) fn without(&self, sample: usize) -> Self {
        self.of_samples(0..sample).join(&self.of_samples(sample + 1..self.lengths.len()))
    }

    fn offsets(&self) -> Vec<u32> {
        let mut end = 0;
        let ends = self.lengths.iter().map(|&n| {
            end += n as u32;
            end
        });
        std::iter::once(0).chain(ends).collect()
    }

    /// Gives all layers to the engine, last layer first, as a backward pass does.
    pub(super) fn record(&self, dp: &mut DpSgd, device: &Device) {
        let offsets = device.tensor(self.offsets(), [self.lengths.len() + 1]).unwrap();
        let weights = self.weights.clone().map(|w| device.tensor(w.clone(), [w.len()]).unwrap());
        dp.batch(Batch { offsets: Some(offsets), weights }).unwrap();
        for (name, layer) in self.layers.iter().rev() {
            self.record_layer(name, layer, dp, device);
        }
    }

    fn record_layer(&self, name: &str, layer: &Layer, dp: &mut DpSgd, device: &Device) {
        let rows: usize = self.lengths.iter().sum();
        let matrix = |values: &[f32], columns: usize| -> Tensor {
            let t = device.tensor(values.to_vec(), [rows, columns]).unwrap();
            if self.dtype == DType::F32 { t } else { t.cast(self.dtype).unwrap() }
        };
        let ids = |ids: &[u32]| device.tensor(ids.to_vec(), [rows]).unwrap();
        match layer {
            Layer::Linear { d, p, bias, x, dy } => {
                let (x, dy) = (matrix(x, *d), matrix(dy, *p));
                dp.linear(name, Linear { x, dy, bias: *bias, offsets: None, method: self.method })
            }
            Layer::Embedding { v, d, padding, ids: of, dy } => {
                let (ids, dy) = (ids(of), matrix(dy, *d));
                let vocabulary = Some(*v);
                dp.embedding(name, Embedding { ids, dy, vocabulary, padding_idx: *padding, offsets: None })
            }
            Layer::Norm { n, bias, xhat, dy } => {
                let (xhat, dy) = (matrix(xhat, *n), matrix(dy, *n));
                dp.norm(name, Norm { xhat, dy, bias: *bias, offsets: None })
            }
            Layer::Tied { v, d, bias, ids: of, dy, h, dlogits } => {
                let (ids, dy, h, dlogits) = (ids(of), matrix(dy, *d), matrix(h, *d), matrix(dlogits, *v));
                dp.tied(name, Tied { ids, dy, h, dlogits, bias: *bias, offsets: None })
            }
        }
        .unwrap();
    }

    /// The whole gradient of a sample.
    pub(super) fn gradient(&self, sample: usize) -> Sums {
        let one = self.of_samples(sample..sample + 1);
        let rows = one.lengths[0];
        let of = |v: &[f32]| rounded(v, self.dtype);
        let outer = |a: &[f64], p: usize, b: &[f64], d: usize| {
            let mut sum = vec![0.0; p * d];
            for t in 0..rows {
                for i in 0..p {
                    for j in 0..d {
                        sum[i * d + j] += a[t * p + i] * b[t * d + j];
                    }
                }
            }
            sum
        };
        let columns = |a: &[f64], n: usize| outer(a, n, &vec![1.0; rows], 1);
        let look_up = |sum: &mut [f64], ids: &[u32], dy: &[f64], d: usize, padding: Option<u32>| {
            for (t, &id) in ids.iter().enumerate().filter(|(_, id)| Some(**id) != padding) {
                (0..d).for_each(|j| sum[id as usize * d + j] += dy[t * d + j]);
            }
        };
        let layer = |layer: &Layer| match layer {
            Layer::Linear { d, p, bias, x, dy } => {
                let (x, dy) = (of(x), of(dy));
                (outer(&dy, *p, &x, *d), if *bias { columns(&dy, *p) } else { Vec::new() })
            }
            Layer::Embedding { v, d, padding, ids, dy } => {
                let mut sum = vec![0.0; v * d];
                look_up(&mut sum, ids, &of(dy), *d, *padding);
                (sum, Vec::new())
            }
            Layer::Norm { n, bias, xhat, dy } => {
                let (xhat, dy) = (of(xhat), of(dy));
                let product: Vec<f64> = xhat.iter().zip(&dy).map(|(x, y)| x * y).collect();
                (columns(&product, *n), if *bias { columns(&dy, *n) } else { Vec::new() })
            }
            Layer::Tied { v, d, bias, ids, dy, h, dlogits } => {
                let (dy, h, dlogits) = (of(dy), of(h), of(dlogits));
                let mut sum = outer(&dlogits, *v, &h, *d);
                look_up(&mut sum, ids, &dy, *d, None);
                (sum, if *bias { columns(&dlogits, *v) } else { Vec::new() })
            }
        };
        one.layers.iter().map(|(name, l)| ((*name).to_owned(), layer(l))).collect()
    }

    /// The sum of clipped gradients, by the formulas of the modes.
    pub(super) fn expected(&self, clipping: &Clipping) -> Sums {
        let mut total = BTreeMap::new();
        for b in 0..self.lengths.len() {
            let gradient = self.gradient(b);
            let padding = self.weights.as_ref().is_some_and(|w| w[b] == 0.0);
            let finite = super::norm(&gradient).is_finite() && !padding;
            for (name, (weight, bias)) in gradient.clone() {
                let factor = if finite { factor(clipping, &gradient, &name) } else { 0.0 };
                let (w, b) =
                    total.entry(name).or_insert_with(|| (vec![0.0; weight.len()], vec![0.0; bias.len()]));
                // What is left out adds nothing, not even 0 times NaN.
                if factor != 0.0 {
                    w.iter_mut().zip(weight).for_each(|(sum, g)| *sum += factor * g);
                    b.iter_mut().zip(bias).for_each(|(sum, g)| *sum += factor * g);
                }
            }
        }
        total
    }
}

/// The factor of a layer of a sample.
fn factor(clipping: &Clipping, gradient: &Sums, layer: &str) -> f64 {
    let together = |layers: &mut dyn Iterator<Item = &String>| {
        super::norm(&layers.map(|name| (name.clone(), gradient[name].clone())).collect())
    };
    let flat = |c: f64, n: f64| (c / (n + 1e-6)).min(1.0);
    let all = together(&mut gradient.keys());
    let alone = together(&mut [layer.to_owned()].iter());
    match clipping {
        Clipping::Flat { max_grad_norm: c } | Clipping::Adaptive { max_grad_norm: c, .. } => flat(*c, all),
        Clipping::PerLayer { max_grad_norm: LayerNorms::Together(c), .. } => {
            flat(c / (gradient.len() as f64).sqrt(), alone)
        }
        Clipping::PerLayer { max_grad_norm: LayerNorms::Each(norms), .. } => flat(norms[layer], alone),
        Clipping::PerGroup { groups } => {
            let group = groups.values().find(|g| g.layers.iter().any(|l| l == layer)).unwrap();
            flat(group.max_grad_norm, together(&mut group.layers.iter()))
        }
        Clipping::Automatic { max_grad_norm: c, gamma } => c / (all + gamma),
        Clipping::Unit => {
            if all == 0.0 {
                0.0
            } else {
                1.0 / all
            }
        }
        Clipping::Threshold { max_grad_norm: c } => f64::from(u8::from(all <= *c)),
    }
}
