//! Bases as they are kept from step to step.

use gristmill_core::ops::{Draw, INT4_GROUP, Int4Pack, Int4Unpack};
use gristmill_core::{DType, Device, Result, Tensor};

use crate::linalg::f32_of;
use crate::{Projector, RandomProjector};

/// A basis, or what it is made of again at every step.
#[derive(Debug, Clone)]
pub(crate) enum Kept {
    Plain(Tensor),
    Int4 { shape: [usize; 2], codes: Tensor, scales: Tensor, zeros: Tensor },
    Seeded { device: Device, shape: [usize; 2], seed: u64, stream: u64 },
}

/// How bases are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeping {
    Plain(DType),
    Int4,
    Seeded,
}

impl From<Projector> for Keeping {
    fn from(projector: Projector) -> Self {
        match projector {
            Projector::F32 => Keeping::Plain(DType::F32),
            Projector::Bf16 => Keeping::Plain(DType::Bf16),
            Projector::Int4 => Keeping::Int4,
        }
    }
}

impl From<RandomProjector> for Keeping {
    fn from(projector: RandomProjector) -> Self {
        match projector {
            RandomProjector::Seeded => Keeping::Seeded,
            RandomProjector::F32 | RandomProjector::Given => Keeping::Plain(DType::F32),
            RandomProjector::Bf16 => Keeping::Plain(DType::Bf16),
        }
    }
}

/// The end of a tensor's name, its type and its shape.
pub(crate) type Part = (&'static str, DType, Vec<usize>);

impl Keeping {
    /// The tensors of a basis of this shape.
    pub(crate) fn parts(self, [side, rank]: [usize; 2]) -> Vec<Part> {
        let n = side * rank;
        match self {
            Keeping::Plain(dtype) => vec![("", dtype, vec![side, rank])],
            Keeping::Int4 => vec![
                ("", DType::U32, vec![n.div_ceil(8)]),
                ("_scale", DType::F32, vec![n.div_ceil(INT4_GROUP)]),
                ("_zero", DType::U32, vec![n.div_ceil(INT4_GROUP)]),
            ],
            Keeping::Seeded => Vec::new(),
        }
    }

    /// Bytes of a basis of this shape: of numbers or codes, and of scales.
    pub(crate) fn bytes(self, shape: [usize; 2]) -> (u64, u64) {
        let size = |(_, dtype, shape): &Part| (shape.iter().product::<usize>() * dtype.size()) as u64;
        let parts = self.parts(shape);
        let all: u64 = parts.iter().map(size).sum();
        let numbers = parts.first().map_or(0, size);
        (numbers, all - numbers)
    }

    /// A basis of these tensors, which are those of [`parts`](Self::parts); `None` where some are missing.
    pub(crate) fn restore(
        self,
        shape: [usize; 2],
        tensors: &mut impl Iterator<Item = Tensor>,
    ) -> Option<Kept> {
        match self {
            Keeping::Plain(_) => tensors.next().map(Kept::Plain),
            Keeping::Int4 => {
                let (codes, scales, zeros) = (tensors.next()?, tensors.next()?, tensors.next()?);
                Some(Kept::Int4 { shape, codes, scales, zeros })
            }
            Keeping::Seeded => None,
        }
    }
}

impl Kept {
    /// Keeps a basis so. (What is seeded comes from no tensor; see [`Kept::Seeded`].)
    pub(crate) fn new(basis: Tensor, keeping: Keeping) -> Result<Self> {
        match keeping {
            Keeping::Plain(dtype) if basis.dtype() == dtype => Ok(Kept::Plain(basis)),
            Keeping::Plain(dtype) => basis.cast(dtype).map(Kept::Plain),
            Keeping::Seeded => f32_of(&basis).map(Kept::Plain),
            Keeping::Int4 => {
                let (side, rank) = basis.shape().rows_cols();
                let make = |(_, dtype, shape): Part| basis.device().empty(dtype, shape);
                let parts = keeping.parts([side, rank]).into_iter().map(make).collect::<Result<Vec<_>>>()?;
                let [codes, scales, zeros] = [0, 1, 2].map(|i| parts[i].clone());
                basis.device().run(Int4Pack {
                    x: f32_of(&basis)?,
                    codes: codes.clone(),
                    scales: scales.clone(),
                    zeros: zeros.clone(),
                })?;
                Ok(Kept::Int4 { shape: [side, rank], codes, scales, zeros })
            }
        }
    }

    /// Its numbers, in the type in which they are there.
    pub(crate) fn numbers(&self) -> Result<Tensor> {
        match self {
            Kept::Plain(basis) => Ok(basis.clone()),
            Kept::Int4 { shape, codes, scales, zeros } => {
                let out = codes.device().empty(DType::F32, *shape)?;
                codes.device().run(Int4Unpack {
                    codes: codes.clone(),
                    scales: scales.clone(),
                    zeros: zeros.clone(),
                    out: out.clone(),
                })?;
                Ok(out)
            }
            // Of variance 1 / rank, so that projections have on average the size of what is projected.
            Kept::Seeded { device, shape, seed, stream } => {
                let draws = device.philox(*shape, Draw::Normal, *seed, *stream, 0)?;
                draws.scale(1.0 / (shape[1] as f32).sqrt())
            }
        }
    }

    /// Its numbers as `f32`.
    pub(crate) fn wide(&self) -> Result<Tensor> {
        f32_of(&self.numbers()?)
    }

    /// The tensors that are kept, in the order of [`Keeping::parts`].
    pub(crate) fn tensors(&self) -> Vec<(&'static str, &Tensor)> {
        match self {
            Kept::Plain(basis) => vec![("", basis)],
            Kept::Int4 { codes, scales, zeros, .. } => {
                vec![("", codes), ("_scale", scales), ("_zero", zeros)]
            }
            Kept::Seeded { .. } => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_bases_are_within_half_a_step_and_take_what_is_said() {
        let device = gristmill_cpu::open().unwrap();
        for shape in [[37, 11], [64, 8]] {
            let basis = device.philox(shape, Draw::Normal, 5, 0, 0).unwrap();
            let kept = Kept::new(basis.clone(), Keeping::Int4).unwrap();
            let sizes: Vec<u64> = kept.tensors().iter().map(|(_, t)| t.bytes() as u64).collect();
            let (numbers, scales) = Keeping::Int4.bytes(shape);
            assert_eq!((sizes[0], sizes[1] + sizes[2]), (numbers, scales));
            let far = kept.wide().unwrap().to_vec::<f32>().unwrap();
            let near = basis.to_vec::<f32>().unwrap();
            let step = match &kept {
                Kept::Int4 { scales, .. } => scales.to_vec::<f32>().unwrap(),
                other => panic!("{other:?}"),
            };
            for (i, (a, b)) in far.iter().zip(&near).enumerate() {
                assert!((a - b).abs() <= 0.5001 * step[i / INT4_GROUP], "{a} {b}");
            }
        }
    }
}
