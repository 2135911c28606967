use gristmill_core::{DType, Device, Element, Result, Tensor};
use half::{bf16, f16};

use crate::draw::Draw;

/// What an operation does with an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    In,
    Out,
    Update,
}

/// A tensor before it is on a device.
#[derive(Clone)]
pub(crate) struct Operand {
    pub(crate) role: Role,
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
    /// The elements; nothing for an output.
    pub(crate) bytes: Vec<u8>,
    /// Elements of other memory before and behind it.
    pub(crate) margin: (usize, usize),
}

impl Operand {
    pub(crate) fn input(dtype: DType, shape: &[usize], bytes: Vec<u8>) -> Self {
        Self { role: Role::In, dtype, shape: shape.to_vec(), bytes, margin: (0, 0) }
    }

    pub(crate) fn update(dtype: DType, shape: &[usize], bytes: Vec<u8>) -> Self {
        Self { role: Role::Update, ..Self::input(dtype, shape, bytes) }
    }

    pub(crate) fn out(dtype: DType, shape: &[usize]) -> Self {
        Self { role: Role::Out, ..Self::input(dtype, shape, Vec::new()) }
    }

    pub(crate) fn numbers(dtype: DType, shape: &[usize], values: &[f64]) -> Self {
        Self::input(dtype, shape, encode(dtype, values))
    }

    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// The same with every element replaced, where they are floats.
    pub(crate) fn map(&self, change: impl Fn(f64) -> f64) -> Self {
        if !self.dtype.is_float() {
            return self.clone();
        }
        let values: Vec<f64> = decode(self.dtype, &self.bytes).into_iter().map(change).collect();
        Self { bytes: encode(self.dtype, &values), ..self.clone() }
    }

    /// Puts it on a device: garbage in an output, and garbage around a view.
    pub(crate) fn place(&self, device: &Device, garbage: &mut Draw) -> Result<Placed> {
        let size = self.dtype.size();
        let (before, behind) = self.margin;
        let mut bytes = garbage.bytes(before * size);
        match self.role {
            Role::Out => bytes.extend(garbage.bytes(self.len() * size)),
            Role::In | Role::Update => bytes.extend(&self.bytes),
        }
        bytes.extend(garbage.bytes(behind * size));
        let elements = before + self.len() + behind;
        let root = match self.role {
            // Inputs are lent to the device, the others are its own memory.
            Role::In => device.tensor_from(Box::new(bytes.clone()), self.dtype, [elements])?,
            Role::Out | Role::Update => {
                let root = device.empty(self.dtype, [elements])?;
                root.write(Box::new(bytes.clone()))?;
                root
            }
        };
        let tensor = root.narrow(before, self.len())?.reshape(self.shape.clone())?;
        Ok(Placed { tensor, root, bytes })
    }

    /// Where its elements lie in the bytes of [`Placed`].
    pub(crate) fn range(&self) -> std::ops::Range<usize> {
        let size = self.dtype.size();
        self.margin.0 * size..(self.margin.0 + self.len()) * size
    }
}

/// An operand on a device.
pub(crate) struct Placed {
    pub(crate) tensor: Tensor,
    /// All of the memory that it is a view of.
    pub(crate) root: Tensor,
    /// What was in that memory before.
    pub(crate) bytes: Vec<u8>,
}

/// Elements as numbers; every value of every type is one of `f64`.
pub(crate) fn decode(dtype: DType, bytes: &[u8]) -> Vec<f64> {
    fn all<T: Element + Into<f64>>(bytes: &[u8]) -> Vec<f64> {
        bytemuck::pod_collect_to_vec::<u8, T>(bytes).into_iter().map(T::into).collect()
    }
    match dtype {
        DType::F32 => all::<f32>(bytes),
        DType::F64 => all::<f64>(bytes),
        DType::Bf16 => all::<bf16>(bytes),
        DType::F16 => all::<f16>(bytes),
        DType::U8 => all::<u8>(bytes),
        DType::I32 => all::<i32>(bytes),
        DType::U32 => all::<u32>(bytes),
    }
}

/// Numbers as elements, by way of `f32` for the halves: inputs need not be rounded once.
pub(crate) fn encode(dtype: DType, values: &[f64]) -> Vec<u8> {
    fn all<T: Element>(values: &[f64], convert: impl Fn(f64) -> T) -> Vec<u8> {
        let elements: Vec<T> = values.iter().map(|&x| convert(x)).collect();
        bytemuck::cast_slice(&elements).to_vec()
    }
    match dtype {
        DType::F32 => all(values, |x| x as f32),
        DType::F64 => all(values, |x| x),
        DType::Bf16 => all(values, |x| bf16::from_f32(x as f32)),
        DType::F16 => all(values, |x| f16::from_f32(x as f32)),
        DType::U8 => all(values, |x| x as u8),
        DType::I32 => all(values, |x| x as i32),
        DType::U32 => all(values, |x| x as u32),
    }
}
