//! Whether a row, or a document, has the same bits in whatever batch it comes.

use gristmill_core::ops::{
    ActivationKind, ActivationOptions, AttentionOptions, MatmulOptions, NllOptions, NormKind, NormOptions,
    RopeOptions,
};
use gristmill_core::{DType, Device, Result, Tensor};

use crate::draw::Draw;
use crate::values::Values;

/// Documents of a batch.
const LENGTHS: [usize; 9] = [3, 70, 1, 0, 150, 64, 5, 33, 1];
const HEADS: [usize; 2] = [4, 2];
const HEAD_DIM: usize = 20;
const VOCAB: usize = 300;

/// Runs the operations that make up a language model on a batch of documents, and on each of them alone; gives the
/// names of those whose results differ in a bit. Matrix products count only where the device has kernels of its own:
/// cuBLASLt chooses by the size of the whole.
///
/// # Errors
/// Whatever the device says.
pub fn depend_on_their_batch(device: &Device) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for dtype in DType::FLOATS {
        let whole = Batch::new(device, dtype)?;
        let results = whole.results()?;
        let mut begin = 0;
        for len in LENGTHS {
            for ((name, all), (_, alone)) in results.iter().zip(whole.document(begin, len)?.results()?) {
                let row = all.bytes() / all.shape()[0];
                if all.read()?[begin * row..(begin + len) * row] != alone.read()? {
                    wrong.push(format!("{name} of {dtype}: {len} rows from {begin} on"));
                }
            }
            begin += len;
        }
    }
    Ok(wrong)
}

/// Rows of some documents, and what all share.
struct Batch {
    x: Tensor,
    kv: Tensor,
    ids: Tensor,
    offsets: Tensor,
    table: Tensor,
    bias: Tensor,
    angles: Tensor,
}

impl Batch {
    fn new(device: &Device, dtype: DType) -> Result<Self> {
        let mut draw = Draw::new(7, dtype.name());
        let rows = LENGTHS.iter().sum();
        let mut tensor = |dtype: DType, rows: usize, columns: usize| {
            let bytes = Values::Normal(1.0).elements(&mut draw, dtype, rows * columns);
            device.tensor_from(Box::new(bytes), dtype, [rows, columns])
        };
        let columns = HEADS[0] * HEAD_DIM;
        let mut offsets = vec![0u32];
        offsets.extend(LENGTHS.iter().scan(0, |at, &n| {
            *at += n as u32;
            Some(*at)
        }));
        let len = offsets.len();
        Ok(Self {
            x: tensor(dtype, rows, columns)?,
            kv: tensor(dtype, rows, HEADS[1] * HEAD_DIM)?,
            ids: device.tensor((0..rows).map(|i| (i * 37 % VOCAB) as u32).collect(), [rows])?,
            offsets: device.tensor(offsets, [len])?,
            table: tensor(dtype, VOCAB, columns)?,
            bias: tensor(DType::F32, 1, columns)?.reshape([columns])?,
            angles: tensor(DType::F32, VOCAB, HEAD_DIM / 2)?,
        })
    }

    /// Some rows of it, as a batch of one document.
    fn document(&self, begin: usize, len: usize) -> Result<Self> {
        Ok(Self {
            x: self.x.narrow(begin, len)?,
            kv: self.kv.narrow(begin, len)?,
            ids: self.ids.narrow(begin, len)?,
            offsets: self.x.device().tensor(vec![0, len as u32], [2])?,
            table: self.table.clone(),
            bias: self.bias.clone(),
            angles: self.angles.clone(),
        })
    }

    fn results(&self) -> Result<Vec<(&'static str, Tensor)>> {
        let Self { x, kv, ids, offsets, table, bias, angles } = self;
        let [heads, kv_heads] = HEADS;
        let (turned, shifted) = (x.copy()?, x.copy()?);
        turned.rope(angles, angles, ids, RopeOptions { head_dim: HEAD_DIM, interleaved: false })?;
        shifted.bias_add(bias)?;
        let norm = |kind| x.norm(NormOptions { weight: Some(bias.clone()), ..NormOptions::new(kind) });
        let swiglu = ActivationOptions { bias: Some(bias.clone()), times: Some(x.clone()) };
        let mut results = vec![
            ("gather", table.gather(ids, None)?),
            ("norm/rms", norm(NormKind::Rms)?),
            ("norm/layer", norm(NormKind::Layer)?),
            ("rope", turned),
            ("attention", x.attention(kv, kv, offsets, AttentionOptions { heads, kv_heads, scale: None })?),
            ("activation", x.activation(ActivationKind::Silu, swiglu)?),
            ("bias_add", shifted),
            ("linear_nll", x.linear_nll(table, ids, NllOptions::default())?),
        ];
        if !x.device().info().features.iter().any(|feature| feature == "cublaslt") {
            let options = MatmulOptions { trans_b: true, ..Default::default() };
            results.push(("matmul", x.matmul(table, options)?));
        }
        Ok(results)
    }
}
