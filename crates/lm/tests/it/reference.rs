//! The transformer that a [`Config`] describes, in f64 and without a thought of speed: what the files say must give
//! the losses that transformers computed from the same files.

use std::collections::HashMap;

use gristmill_core::DType;
use gristmill_lm::config::{Activation, Config, NormKind, NormOrder, QkNorm};
use gristmill_lm::{Checkpoint, HostTensor};

/// Row vectors, one per position.
type Rows = Vec<Vec<f64>>;

pub(crate) struct Reference {
    config: Config,
    tensors: HashMap<String, HostTensor>,
}

impl Reference {
    pub(crate) fn load(checkpoint: &Checkpoint) -> Self {
        let tensors = checkpoint.tensors().map(|spec| {
            let tensor = checkpoint.tensor(&spec.name, DType::F32).unwrap();
            assert_eq!(tensor.shape, spec.shape);
            (spec.name.clone(), tensor)
        });
        Self { config: checkpoint.config().clone(), tensors: tensors.collect() }
    }

    /// `−ln p(ids[i + 1] | ids[0..=i])`.
    pub(crate) fn nll(&self, ids: &[u32]) -> Vec<f64> {
        let mut x: Rows = ids.iter().map(|id| self.row("embed.weight", *id as usize)).collect();
        if self.config.rope.is_none() {
            for (position, x) in x.iter_mut().enumerate() {
                add(x, &self.row("positions.weight", position));
            }
        }
        for layer in 0..self.config.layers {
            self.layer(&format!("layers.{layer}"), &mut x);
        }
        let head = if self.config.tied { "embed" } else { "head" };
        let losses = x.iter().zip(&ids[1..]).map(|(x, next)| {
            let logits = self.linear(head, &self.norm("norm", x));
            let most = logits.iter().copied().fold(f64::MIN, f64::max);
            let sum: f64 = logits.iter().map(|l| (l - most).exp()).sum();
            most + sum.ln() - logits[*next as usize]
        });
        losses.collect()
    }

    fn layer(&self, at: &str, x: &mut Rows) {
        let norm = |name: &str, x: &Rows| -> Rows {
            x.iter().map(|x| self.norm(&format!("{at}.{name}"), x)).collect()
        };
        let add_all = |x: &mut Rows, y: &Rows| x.iter_mut().zip(y).for_each(|(x, y)| add(x, y));
        let mlp = |x: &Rows| -> Rows { x.iter().map(|x| self.mlp(&format!("{at}.mlp"), x)).collect() };
        let attention = |x: &Rows| self.attention(&format!("{at}.attn"), x);
        if self.config.parallel {
            let (a, m) = (attention(&norm("attn_norm", x)), mlp(&norm("mlp_norm", x)));
            add_all(x, &a);
            add_all(x, &m);
            return;
        }
        match self.config.norm_order {
            NormOrder::Before => {
                let a = attention(&norm("attn_norm", x));
                add_all(x, &a);
                let m = mlp(&norm("mlp_norm", x));
                add_all(x, &m);
            }
            NormOrder::After => {
                let a = norm("attn_norm", &attention(x));
                add_all(x, &a);
                let m = norm("mlp_norm", &mlp(x));
                add_all(x, &m);
            }
        }
    }

    fn attention(&self, at: &str, x: &Rows) -> Rows {
        let Config { heads, kv_heads, head_dim, .. } = self.config;
        let project = |part: &str| -> Rows {
            let rows = x.iter().map(|x| {
                let mut y = self.linear(&format!("{at}.{part}"), x);
                if let Some(clip) = self.config.clip_qkv {
                    y.iter_mut().for_each(|y| *y = y.clamp(-f64::from(clip), f64::from(clip)));
                }
                y
            });
            rows.collect()
        };
        let (mut q, mut k, v) = (project("q"), project("k"), project("v"));
        for (rows, name) in [(&mut q, "q_norm"), (&mut k, "k_norm")] {
            for (position, row) in rows.iter_mut().enumerate() {
                self.qk_norm(&format!("{at}.{name}"), row);
                row.chunks_mut(head_dim).for_each(|head| self.turn(head, position));
            }
        }
        let scale = 1.0 / (head_dim as f64).sqrt();
        let mix = |t: usize| {
            let mut out = vec![0.0; heads * head_dim];
            for h in 0..heads {
                let of = |row: &[f64], head: usize| row[head * head_dim..(head + 1) * head_dim].to_vec();
                let g = h * kv_heads / heads;
                let scores = (0..=t).map(|s| dot(&of(&q[t], h), &of(&k[s], g)) * scale);
                let scores: Vec<f64> = scores.collect();
                let most = scores.iter().copied().fold(f64::MIN, f64::max);
                let weights: Vec<f64> = scores.iter().map(|s| (s - most).exp()).collect();
                let sum: f64 = weights.iter().sum();
                for (s, weight) in weights.iter().enumerate() {
                    for (out, v) in out[h * head_dim..].iter_mut().zip(of(&v[s], g)) {
                        *out += weight / sum * v;
                    }
                }
            }
            self.linear(&format!("{at}.o"), &out)
        };
        (0..x.len()).map(mix).collect()
    }

    fn qk_norm(&self, name: &str, row: &mut [f64]) {
        let width = match self.config.qk_norm {
            QkNorm::None => return,
            QkNorm::PerHead => self.config.head_dim,
            QkNorm::Projection => row.len(),
        };
        for part in row.chunks_mut(width) {
            let mean = part.iter().map(|x| x * x).sum::<f64>() / width as f64;
            let factor = 1.0 / (mean + f64::from(self.config.norm.eps)).sqrt();
            let weight = self.row(&format!("{name}.weight"), 0);
            part.iter_mut().zip(weight).for_each(|(x, w)| *x *= factor * w);
        }
    }

    fn turn(&self, head: &mut [f64], position: usize) {
        let Some(rope) = &self.config.rope else { return };
        let half = rope.dims / 2;
        for (j, frequency) in rope.frequencies().into_iter().enumerate() {
            let (sin, cos) = (position as f64 * f64::from(frequency)).sin_cos();
            let (a, b) = (head[j], head[j + half]);
            (head[j], head[j + half]) = (a * cos - b * sin, b * cos + a * sin);
        }
    }

    fn mlp(&self, at: &str, x: &[f64]) -> Vec<f64> {
        let up = self.linear(&format!("{at}.up"), x);
        let inner: Vec<f64> = if self.config.gated {
            let gate = self.linear(&format!("{at}.gate"), x);
            gate.iter().zip(up).map(|(g, u)| self.activation(*g) * u).collect()
        } else {
            up.iter().map(|u| self.activation(*u)).collect()
        };
        self.linear(&format!("{at}.down"), &inner)
    }

    fn activation(&self, x: f64) -> f64 {
        match self.config.activation {
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::Gelu => 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2)),
            Activation::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
                0.5 * x * (1.0 + inner.tanh())
            }
        }
    }

    fn norm(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let norm = self.config.norm;
        let n = x.len() as f64;
        let mean = if norm.kind == NormKind::Layer { x.iter().sum::<f64>() / n } else { 0.0 };
        let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
        let factor = 1.0 / (variance + f64::from(norm.eps)).sqrt();
        let mut y: Vec<f64> = x.iter().map(|x| (x - mean) * factor).collect();
        if norm.weight {
            y.iter_mut().zip(self.row(&format!("{name}.weight"), 0)).for_each(|(y, w)| *y *= w);
        }
        if norm.bias {
            add(&mut y, &self.row(&format!("{name}.bias"), 0));
        }
        y
    }

    /// `x·Wᵀ + b`, with the bias where the model has one.
    fn linear(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let weight = self.tensors[&format!("{name}.weight")].to_f32();
        let mut y: Vec<f64> = weight
            .chunks_exact(x.len())
            .map(|row| row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum())
            .collect();
        if let Some(bias) = self.tensors.get(&format!("{name}.bias")) {
            y.iter_mut().zip(bias.to_f32()).for_each(|(y, b)| *y += f64::from(b));
        }
        y
    }

    fn row(&self, name: &str, row: usize) -> Vec<f64> {
        let tensor = &self.tensors[name];
        let width = *tensor.shape.last().unwrap();
        tensor.to_f32()[row * width..(row + 1) * width].iter().map(|x| f64::from(*x)).collect()
    }
}

fn add(x: &mut [f64], y: &[f64]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

/// By its series near zero and its continued fraction beyond.
fn erf(x: f64) -> f64 {
    let z = x.abs();
    let value = if z < 2.5 {
        let (mut term, mut sum) = (z, z);
        for n in 1..80 {
            term *= -z * z / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    } else {
        let fraction = (1..60).rev().fold(0.0, |rest, n| f64::from(n) / 2.0 / (z + rest));
        1.0 - (-z * z).exp() / ((z + fraction) * std::f64::consts::PI.sqrt())
    };
    value.copysign(x)
}
