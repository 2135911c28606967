use gristmill_core::rng::Philox;
use gristmill_core::{Code, DType, Error, Result, Tensor};

use super::{LostChannels, LostDecomposition, LostLinear, LostOptions, LostParts, product};
use crate::linalg::{RangeOptions, f32_of, leading_vectors, range_find};

impl LostLinear {
    /// The layer that a dense weight `[out, in]`, `f32` or `bf16`, becomes; `bias` is `[out]`, `f32`, and is copied.
    ///
    /// With `Wᵀ = U S Vᵀ`, singular values falling: `A = U_r √S_r` and `B = √S_r V_rᵀ` of the first `rank` components; the
    /// columns that stay whole, `I`, are those of the greatest norms in the `sparse_svd_rank` components behind (the lowest
    /// of equals), and `W_s` has them as they are in `W`.
    ///
    /// # Errors
    /// [`Code::ShapeMismatch`], [`Code::DtypeMismatch`], [`Code::InvalidArgument`] with the option's name,
    /// [`Code::InvalidValue`] for a weight with what is not finite; those of the device.
    pub fn from_dense(weight: &Tensor, bias: Option<&Tensor>, options: &LostOptions) -> Result<Self> {
        let [out, inputs] = **weight.shape() else {
            let text = format!("expected a matrix, given {}", weight.shape());
            return Err(Error::new(Code::ShapeMismatch, text).at_column("weight"));
        };
        if ![DType::F32, DType::Bf16].contains(&weight.dtype()) {
            let text = format!("expected f32 or bf16, given {}", weight.dtype());
            return Err(Error::new(Code::DtypeMismatch, text).at_column("weight"));
        }
        options.check([out, inputs])?;
        let k = options.whole_columns(inputs);
        let behind = match options.channels {
            LostChannels::Svd => options.sparse_svd_rank,
            LostChannels::Random => 0,
        };
        let components = Components::of(weight, (options.rank + behind).min(out.min(inputs)), options)?;
        let columns = match options.channels {
            LostChannels::Svd => components.heaviest(options.rank, k),
            LostChannels::Random => drawn(options.seed, inputs, k),
        };
        let device = weight.device();
        let to = |values: Vec<f32>, shape: [usize; 2]| -> Result<Tensor> {
            let wide = device.tensor(values, shape)?;
            if weight.dtype() == DType::F32 { Ok(wide) } else { wide.cast(weight.dtype()) }
        };
        let [a, b] = components.factors(options.rank);
        let index = device.tensor(columns, [k])?;
        let parts = LostParts {
            a: to(a, [inputs, options.rank])?,
            b: to(b, [options.rank, out])?,
            sparse: weight.gather_columns(&index)?,
            index,
            bias: bias.map(Tensor::copy).transpose()?,
        };
        Self::from_parts(parts, options.gamma, options.activation)
    }
}

/// The first components of `Wᵀ`, on the host.
struct Components {
    /// `U`, `[in, m]`.
    u: Vec<f64>,
    /// `V`, `[out, m]`.
    v: Vec<f64>,
    /// Singular values, falling.
    s: Vec<f64>,
}

impl Components {
    /// Vectors of the smaller side, and those of the other side as what the weight makes of them.
    fn of(weight: &Tensor, m: usize, options: &LostOptions) -> Result<Self> {
        let (out, inputs) = weight.shape().rows_cols();
        let weight = f32_of(weight)?;
        let right = inputs <= out;
        let near = match options.decomposition {
            LostDecomposition::Exact => leading_vectors(&weight, m, right)?,
            LostDecomposition::Randomized => {
                range_find(&weight, &RangeOptions { right, seed: options.seed, ..RangeOptions::new(m) })?
            }
        };
        let far = product([&weight, &near], [!right, false], 1.0, None)?;
        let wide =
            |t: &Tensor| Ok::<Vec<f64>, Error>(t.to_vec::<f32>()?.into_iter().map(f64::from).collect());
        let (near, mut far) = (wide(&near)?, wide(&far)?);
        let norm = |j: usize| far.iter().skip(j).step_by(m).map(|x| x * x).sum::<f64>().sqrt();
        let s: Vec<f64> = (0..m).map(norm).collect();
        // Without a singular value there is no vector, and none is needed.
        far.iter_mut().enumerate().for_each(|(i, x)| *x /= if s[i % m] > 0.0 { s[i % m] } else { 1.0 });
        let (u, v) = if right { (near, far) } else { (far, near) };
        Ok(Self { u, v, s })
    }

    /// `A`, `[in, rank]`, and `B`, `[rank, out]`.
    fn factors(&self, rank: usize) -> [Vec<f32>; 2] {
        let m = self.s.len();
        let root = |j: usize| self.s[j].sqrt();
        let a = self.u.chunks(m).flat_map(|u| (0..rank).map(|j| (u[j] * root(j)) as f32)).collect();
        let out = self.v.len() / m;
        let b = (0..rank * out).map(|i| (self.v[i % out * m + i / out] * root(i / out)) as f32).collect();
        [a, b]
    }

    /// The `k` columns of the weight that are greatest in the components from `first` on, ascending.
    fn heaviest(&self, first: usize, k: usize) -> Vec<u32> {
        let m = self.s.len();
        // The vectors of the other side are orthonormal.
        let weight = |u: &[f64]| (first..m).map(|j| (u[j] * self.s[j]).powi(2)).sum::<f64>();
        let mut columns: Vec<(f64, u32)> = self.u.chunks(m).map(weight).zip(0..).collect();
        columns.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        ascending(columns.into_iter().map(|(_, column)| column), k)
    }
}

/// `k` of so many columns by a draw, ascending.
fn drawn(seed: u64, columns: usize, k: usize) -> Vec<u32> {
    let philox = Philox::new(seed, 0);
    let mut all: Vec<(u32, u32)> =
        (0..columns as u32).map(|column| (philox.bits(column.into()), column)).collect();
    all.sort_unstable();
    ascending(all.into_iter().map(|(_, column)| column), k)
}

fn ascending(columns: impl Iterator<Item = u32>, k: usize) -> Vec<u32> {
    let mut first: Vec<u32> = columns.take(k).collect();
    first.sort_unstable();
    first
}
