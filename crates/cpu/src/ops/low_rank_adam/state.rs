use gristmill_core::ops::Moments;
use gristmill_core::{DType, Result};
use half::bf16;

use crate::access::Access;
use crate::number::unexpected;
use crate::ops::adamw::{Step, tables};
use crate::ops::codes::Table;

const BLOCK: usize = Moments::BLOCK;
/// Words of a block of codes.
const WORDS: usize = BLOCK / 4;

/// All moments.
pub(super) enum State<'a> {
    F32([&'a mut [f32]; 2]),
    Bf16([&'a mut [bf16]; 2]),
    Int8 { codes: [&'a mut [u32]; 2], absmax: [&'a mut [f32]; 2], tables: Box<[Table; 2]> },
}

impl<'a> State<'a> {
    pub(super) fn new(moments: &Moments, access: &Access<'a>) -> Result<Self> {
        Ok(match moments {
            Moments::Full { m, v } => match m.dtype() {
                DType::F32 => State::F32([access.output(m)?, access.output(v)?]),
                DType::Bf16 => State::Bf16([access.output(m)?, access.output(v)?]),
                other => return Err(unexpected(other)),
            },
            Moments::Int8 { codes, absmax, maps } => {
                let (codes, absmax) = (access.output::<u32>(codes)?, access.output::<f32>(absmax)?);
                let blocks = absmax.len() / 2;
                State::Int8 {
                    codes: codes.split_at_mut(WORDS * blocks).into(),
                    absmax: absmax.split_at_mut(blocks).into(),
                    tables: Box::new(tables(access.input::<f32>(maps)?)),
                }
            }
        })
    }

    /// Whether whole blocks belong together.
    pub(super) fn coded(&self) -> bool {
        matches!(self, State::Int8 { .. })
    }

    /// The moments of so many elements at a time, whole blocks where they are codes.
    pub(super) fn pieces(&mut self, elements: usize) -> Vec<Piece<'_>> {
        match self {
            State::F32([m, v]) => {
                m.chunks_mut(elements).zip(v.chunks_mut(elements)).map(|(m, v)| Piece::F32([m, v])).collect()
            }
            State::Bf16([m, v]) => {
                m.chunks_mut(elements).zip(v.chunks_mut(elements)).map(|(m, v)| Piece::Bf16([m, v])).collect()
            }
            State::Int8 { codes: [m, v], absmax: [m_max, v_max], tables } => {
                let blocks = elements.div_ceil(BLOCK);
                let codes = m.chunks_mut(WORDS * blocks).zip(v.chunks_mut(WORDS * blocks));
                let absmax = m_max.chunks_mut(blocks).zip(v_max.chunks_mut(blocks));
                let tables = &*tables;
                let piece = |(codes, absmax): ((_, _), (_, _))| Piece::Int8 {
                    codes: codes.into(),
                    absmax: absmax.into(),
                    tables,
                };
                codes.zip(absmax).map(piece).collect()
            }
        }
    }
}

/// The moments of some elements.
pub(super) enum Piece<'a> {
    F32([&'a mut [f32]; 2]),
    Bf16([&'a mut [bf16]; 2]),
    Int8 { codes: [&'a mut [u32]; 2], absmax: [&'a mut [f32]; 2], tables: &'a [Table; 2] },
}

impl Piece<'_> {
    /// Moves them by a gradient of elements from number `first` on, and gives the direction.
    pub(super) fn step(&mut self, step: Step, first: usize, grad: &[f32], direction: &mut [f32]) {
        match self {
            Piece::F32([m, v]) => step.piece(first, grad, direction, [m, v]),
            Piece::Bf16([m, v]) => step.piece(first, grad, direction, [m, v]),
            Piece::Int8 { codes: [m, v], absmax: [m_max, v_max], tables } => {
                let elements = grad.chunks(BLOCK).zip(direction.chunks_mut(BLOCK));
                let codes = m.chunks_exact_mut(WORDS).zip(v.chunks_exact_mut(WORDS));
                let blocks = elements.zip(codes).zip(m_max.iter_mut().zip(v_max.iter_mut()));
                for (i, (((grad, direction), (m, v)), (m_max, v_max))) in blocks.enumerate() {
                    step.block(tables, first / BLOCK + i, grad, direction, [m, v], [m_max, v_max]);
                }
            }
        }
    }
}
