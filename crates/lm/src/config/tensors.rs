//! The tensors of a model, by canonical name.

use super::{Config, QkNorm};

/// A tensor that a model must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// The canonical name, such as `layers.3.attn.q.weight`.
    pub name: String,
    /// Its dimensions, outermost first; a linear map is `[out, in]`.
    pub shape: Vec<usize>,
}

impl Config {
    /// The tensors of the model, in the order in which a forward pass reads them, under the names that hold for every
    /// family and every kind of file:
    ///
    /// | name | shape | there when |
    /// |---|---|---|
    /// | `embed.weight` | `[vocab, hidden]` | always |
    /// | `positions.weight` | `[context, hidden]` | positions are learned |
    /// | `layers.{i}.attn_norm.weight`, `.bias` | `[hidden]` | the norm has them |
    /// | `layers.{i}.attn.q.weight`, `.bias` | `[heads·head_dim, hidden]`, `[heads·head_dim]` | always; `biases.qkv` |
    /// | `layers.{i}.attn.k.…`, `layers.{i}.attn.v.…` | `[kv_heads·head_dim, hidden]`, … | always; `biases.qkv` |
    /// | `layers.{i}.attn.q_norm.weight` | `[head_dim]` or `[heads·head_dim]` | `qk_norm` |
    /// | `layers.{i}.attn.k_norm.weight` | `[head_dim]` or `[kv_heads·head_dim]` | `qk_norm` |
    /// | `layers.{i}.attn.o.weight`, `.bias` | `[hidden, heads·head_dim]`, `[hidden]` | always; `biases.out` |
    /// | `layers.{i}.mlp_norm.weight`, `.bias` | `[hidden]` | the norm has them |
    /// | `layers.{i}.mlp.gate.weight`, `.bias` | `[intermediate, hidden]`, `[intermediate]` | `gated`; `biases.mlp` |
    /// | `layers.{i}.mlp.up.weight`, `.bias` | `[intermediate, hidden]`, `[intermediate]` | always; `biases.mlp` |
    /// | `layers.{i}.mlp.down.weight`, `.bias` | `[hidden, intermediate]`, `[hidden]` | always; `biases.mlp` |
    /// | `norm.weight`, `.bias` | `[hidden]` | the norm has them |
    /// | `head.weight` | `[vocab, hidden]` | not `tied` |
    ///
    /// `attn_norm` and `mlp_norm` are the norms of the two blocks, before or after them as `norm_order` says.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let mut list = List(Vec::new());
        let hidden = self.hidden;
        list.add("embed.weight", &[self.vocab, hidden]);
        if self.rope.is_none() {
            list.add("positions.weight", &[self.context, hidden]);
        }
        for layer in 0..self.layers {
            let at = |part: &str| format!("layers.{layer}.{part}");
            list.norm(&at("attn_norm"), self);
            let (q, kv) = (self.q_width(), self.kv_width());
            for (part, width) in [("attn.q", q), ("attn.k", kv), ("attn.v", kv)] {
                list.linear(&at(part), width, hidden, self.biases.qkv);
            }
            let norms = match self.qk_norm {
                QkNorm::None => None,
                QkNorm::PerHead => Some((self.head_dim, self.head_dim)),
                QkNorm::Projection => Some((q, kv)),
            };
            if let Some((q, k)) = norms {
                list.add(&at("attn.q_norm.weight"), &[q]);
                list.add(&at("attn.k_norm.weight"), &[k]);
            }
            list.linear(&at("attn.o"), hidden, q, self.biases.out);
            list.norm(&at("mlp_norm"), self);
            if self.gated {
                list.linear(&at("mlp.gate"), self.intermediate, hidden, self.biases.mlp);
            }
            list.linear(&at("mlp.up"), self.intermediate, hidden, self.biases.mlp);
            list.linear(&at("mlp.down"), hidden, self.intermediate, self.biases.mlp);
        }
        list.norm("norm", self);
        if !self.tied {
            list.add("head.weight", &[self.vocab, hidden]);
        }
        list.0
    }
}

struct List(Vec<TensorSpec>);

impl List {
    fn add(&mut self, name: &str, shape: &[usize]) {
        self.0.push(TensorSpec { name: name.to_owned(), shape: shape.to_vec() });
    }

    fn linear(&mut self, name: &str, out: usize, input: usize, bias: bool) {
        self.add(&format!("{name}.weight"), &[out, input]);
        if bias {
            self.add(&format!("{name}.bias"), &[out]);
        }
    }

    fn norm(&mut self, name: &str, config: &Config) {
        for (part, there) in [("weight", config.norm.weight), ("bias", config.norm.bias)] {
            if there {
                self.add(&format!("{name}.{part}"), &[config.hidden]);
            }
        }
    }
}
