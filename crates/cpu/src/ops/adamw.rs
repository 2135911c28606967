use gristmill_core::ops::{Adamw, AdamwRule, Moments, Noise};
use gristmill_core::{DType, Result};
use half::bf16;
use rayon::prelude::*;

use super::codes::Table;
use super::lanes::dispatch;
use super::noise::{Nearest, Random, Rounding, taken};
use super::{PARALLEL, TASK};
use crate::access::Access;
use crate::float::Float;
use crate::number::unexpected;

const BLOCK: usize = Moments::BLOCK;

/// Elements whose random bits are made at once.
const RUN: usize = 64;

/// Evaluates an expression with a name for the Rust type of `f32` or `bf16`.
macro_rules! with {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            DType::F32 => {
                type $T = f32;
                $body
            }
            DType::Bf16 => {
                type $T = bf16;
                $body
            }
            other => Err(unexpected(other)),
        }
    };
}

pub(super) fn run(op: &Adamw, access: &Access) -> Result<()> {
    with!(op.grad.dtype(), G => with!(op.param.dtype(), P => {
        let grad = access.input::<G>(&op.grad)?;
        let param = access.output::<P>(&op.param)?;
        let step = Step::new(op.rule, op.noise);
        match &op.moments {
            Moments::Full { m, v } => with!(m.dtype(), S => {
                step.full(grad, param, [access.output::<S>(m)?, access.output::<S>(v)?]);
                Ok(())
            }),
            Moments::Int8 { codes, absmax, maps } => {
                let maps = access.input::<f32>(maps)?;
                step.int8(grad, param, [access.output::<u32>(codes)?], access.output::<f32>(absmax)?, maps);
                Ok(())
            }
        }
    }))
}

/// What a step is taken with.
#[derive(Clone, Copy)]
pub(super) struct Step {
    rule: AdamwRule,
    betas: [f32; 4],
    noise: Option<Noise>,
}

impl Step {
    pub(super) fn new(rule: AdamwRule, noise: Option<Noise>) -> Self {
        Self { rule, betas: rule.betas(), noise }
    }

    /// The parameter of an element after the step.
    #[inline(always)]
    fn moved(&self, param: f32, m: f32, v: f32, counts: bool) -> f32 {
        let rule = &self.rule;
        let direction = if counts { m / (v.sqrt() + rule.eps) } else { 0.0 };
        // Nothing is kept of what may be no number.
        let kept = if rule.keep == 0.0 { 0.0 } else { rule.keep * param };
        let moved = kept - rule.step * direction;
        if counts | (rule.keep == 0.0) { moved } else { param }
    }

    fn full<G: Float, P: Float, S: Float>(self, grad: &[G], param: &mut [P], [m, v]: [&mut [S]; 2]) {
        let work = |(task, (((grad, param), m), v)): (usize, Pieces<G, P, S>)| {
            self.piece(task * TASK, grad, param, [m, v]);
        };
        if param.len() < PARALLEL {
            return work((0, (((grad, param), m), v)));
        }
        let pieces = grad.par_chunks(TASK).zip(param.par_chunks_mut(TASK));
        pieces.zip(m.par_chunks_mut(TASK)).zip(v.par_chunks_mut(TASK)).enumerate().for_each(work);
    }

    /// Moves elements from number `first` on.
    pub(super) fn piece<G: Float, P: Float, S: Float>(
        self,
        first: usize,
        grad: &[G],
        param: &mut [P],
        [m, v]: [&mut [S]; 2],
    ) {
        dispatch(
            #[inline(always)]
            || self.elements(first, grad, param, m, v),
        );
    }

    #[inline(always)]
    fn elements<G: Float, P: Float, S: Float>(
        self,
        first: usize,
        grad: &[G],
        param: &mut [P],
        m: &mut [S],
        v: &mut [S],
    ) {
        let Some(noise) = taken(self.noise, &[P::DTYPE, S::DTYPE]) else {
            return self.run(&Nearest, grad, param, m, v);
        };
        let runs = grad.chunks(RUN).zip(param.chunks_mut(RUN)).zip(m.chunks_mut(RUN)).zip(v.chunks_mut(RUN));
        for (i, (((grad, param), m), v)) in runs.enumerate() {
            self.run(&Random::<RUN>::new(noise, first + i * RUN), grad, param, m, v);
        }
    }

    #[inline(always)]
    fn run<G: Float, P: Float, S: Float, R: Rounding>(
        self,
        rounding: &R,
        grad: &[G],
        param: &mut [P],
        m: &mut [S],
        v: &mut [S],
    ) {
        let n = grad.len().min(R::RUN);
        let (grad, param, m, v) = (&grad[..n], &mut param[..n], &mut m[..n], &mut v[..n]);
        for i in 0..n {
            let (next_m, next_v, counts) =
                self.rule.moments(self.betas, grad[i].widen(), m[i].widen(), v[i].widen());
            param[i] = rounding.stored(i, 0, self.moved(param[i].widen(), next_m, next_v, counts));
            m[i] = rounding.stored(i, 1, next_m);
            v[i] = rounding.stored(i, 2, next_v);
        }
    }

    fn int8<G: Float, P: Float>(
        self,
        grad: &[G],
        param: &mut [P],
        [codes]: [&mut [u32]; 1],
        absmax: &mut [f32],
        maps: &[f32],
    ) {
        let blocks = absmax.len() / 2;
        let tables = tables(maps);
        let (m_codes, v_codes) = codes.split_at_mut(64 * blocks);
        let (m_absmax, v_absmax) = absmax.split_at_mut(blocks);
        let work =
            |(block, (((((grad, param), m_codes), v_codes), m_absmax), v_absmax)): (usize, Blocks<G, P>)| {
                self.block(&tables, block, grad, param, [m_codes, v_codes], [m_absmax, v_absmax]);
            };
        let pieces = grad.par_chunks(BLOCK).zip(param.par_chunks_mut(BLOCK));
        let pieces = pieces.zip(m_codes.par_chunks_mut(64)).zip(v_codes.par_chunks_mut(64));
        let pieces = pieces.zip(m_absmax.par_iter_mut()).zip(v_absmax.par_iter_mut()).enumerate();
        pieces.with_min_len(PARALLEL / BLOCK).for_each(work);
    }

    /// Moves a block of elements whose moments are codes.
    pub(super) fn block<G: Float, P: Float>(
        self,
        tables: &[Table; 2],
        block: usize,
        grad: &[G],
        param: &mut [P],
        [m_codes, v_codes]: [&mut [u32]; 2],
        [m_absmax, v_absmax]: [&mut f32; 2],
    ) {
        dispatch(
            #[inline(always)]
            || {
                let (mut m, mut v) = ([0f32; BLOCK], [0f32; BLOCK]);
                tables[0].decode(m_codes, *m_absmax, &mut m);
                tables[1].decode(v_codes, *v_absmax, &mut v);
                let n = grad.len();
                self.elements(block * BLOCK, grad, param, &mut m[..n], &mut v[..n]);
                // Whatever codes were behind the last element.
                m[n..].fill(0.0);
                v[n..].fill(0.0);
                *m_absmax = tables[0].encode(&m, m_codes);
                *v_absmax = tables[1].encode(&v, v_codes);
            },
        );
    }
}

/// The maps of both moments.
pub(super) fn tables(maps: &[f32]) -> [Table; 2] {
    [&maps[..256], &maps[256..]].map(Table::new)
}

/// A piece of each operand of a step with numbers.
type Pieces<'a, G, P, S> = (((&'a [G], &'a mut [P]), &'a mut [S]), &'a mut [S]);

/// A block of each operand of a step with codes.
type Blocks<'a, G, P> =
    (((((&'a [G], &'a mut [P]), &'a mut [u32]), &'a mut [u32]), &'a mut f32), &'a mut f32);
