use std::sync::Arc;

use gristmill_core::ops::Matmul;
use gristmill_core::{DType, Tensor};

use super::{FLOATS, sum_error};
use crate::case::{Bound, Case, Problem, ulp};
use crate::operand::{Operand, Role};
use crate::values::Values;

/// A product of the table.
#[derive(Clone, Copy)]
struct Product {
    /// No dimension for a batch at all, one for both factors, or one for the left factor alone.
    batch: Batch,
    m: usize,
    n: usize,
    k: usize,
    dtype: DType,
    out: DType,
    transposed: [bool; 2],
    alpha: f32,
    beta: f32,
    values: Values,
}

#[derive(Clone, Copy, PartialEq)]
enum Batch {
    None,
    Both(usize),
    Left(usize),
}

impl Product {
    fn new([m, n, k]: [usize; 3], dtype: DType) -> Self {
        Self {
            batch: Batch::None,
            m,
            n,
            k,
            dtype,
            out: dtype,
            transposed: [false; 2],
            alpha: 1.0,
            beta: 0.0,
            values: Values::Normal(1.0),
        }
    }

    fn name(&self) -> String {
        let Self { batch, m, n, k, dtype, out, transposed, alpha, beta, values } = self;
        let batch = match batch {
            Batch::None => String::new(),
            Batch::Both(n) => format!("{n}x"),
            Batch::Left(n) => format!("{n}x1x"),
        };
        let [a, b] = transposed.map(|t| if t { "t" } else { "n" });
        let mut name = format!("{batch}{m}x{n}x{k}/{dtype}-{out}/{a}{b}/{values}");
        if (*alpha, *beta) != (1.0, 0.0) {
            name += &format!("/{alpha},{beta}");
        }
        name
    }

    fn case(self) -> Case {
        // Products that are exact in f32 are added in f64 where the inputs are f64.
        let sum = if self.dtype == DType::F64 { 2f64.powi(-52) * self.k as f64 } else { sum_error(self.k) };
        let bound = Bound::Error(sum + 2.0 * ulp(self.out));
        Case::new("matmul", self.name(), bound, move |draw| {
            let stored = |rows: usize, cols: usize, transposed: bool, batch: Option<usize>| {
                let [rows, cols] = if transposed { [cols, rows] } else { [rows, cols] };
                batch.into_iter().chain([rows, cols]).collect::<Vec<_>>()
            };
            let (batch_a, batch_b) = match self.batch {
                Batch::None => (None, None),
                Batch::Both(n) => (Some(n), Some(n)),
                Batch::Left(n) => (Some(n), None),
            };
            let [ta, tb] = self.transposed;
            let a = self.values.input(draw, self.dtype, &stored(self.m, self.k, ta, batch_a));
            let b = self.values.input(draw, self.dtype, &stored(self.k, self.n, tb, batch_b));
            let shape = stored(self.m, self.n, false, batch_a);
            let out = if self.beta == 0.0 {
                Operand::out(self.out, &shape)
            } else {
                Operand { role: Role::Update, ..self.values.input(draw, self.out, &shape) }
            };
            let make = move |alpha: f32, beta: f32| {
                move |t: &[Tensor]| Matmul {
                    a: t[0].clone(),
                    b: t[1].clone(),
                    out: t[2].clone(),
                    trans_a: ta,
                    trans_b: tb,
                    alpha,
                    beta,
                }
            };
            let terms = make(self.alpha.abs(), self.beta.abs());
            Problem::new(vec![a, b, out], make(self.alpha, self.beta))
                .by_terms_of(Arc::new(move |t| terms(t).into()), |_, o| o.map(f64::abs))
        })
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let f32 = |sizes| Product::new(sizes, DType::F32);
    for sizes in [
        [1, 1, 1],
        [1, 1, 1000],
        [1, 257, 65],
        [129, 1, 33],
        [5, 7, 3],
        [16, 16, 16],
        [64, 64, 64],
        [65, 63, 17],
        [128, 130, 257],
        [31, 300, 513],
        [0, 5, 3],
        [5, 0, 3],
        [4, 5, 0],
    ] {
        cases.push(f32(sizes).case());
    }
    for dtype in FLOATS {
        for transposed in [[false, false], [false, true], [true, false], [true, true]] {
            cases.push(Product { transposed, ..Product::new([37, 70, 83], dtype) }.case());
        }
        let p = Product::new([33, 66, 129], dtype);
        cases.push(Product { alpha: -0.5, beta: 1.5, ..p }.case());
        cases.push(Product { alpha: 0.0, beta: 2.0, ..p }.case());
        cases.push(Product { values: Values::Cancelling, ..p }.case());
        cases.push(Product { values: Values::Around(30.0), ..p }.case());
        cases.push(p.case().viewed());
        cases.push(Product { batch: Batch::Both(3), ..Product::new([17, 19, 23], dtype) }.case());
        cases.push(Product { batch: Batch::Left(3), ..Product::new([17, 19, 23], dtype) }.case());
        cases.push(Product::new([128, 128, 128], dtype).case());
    }
    for dtype in [DType::Bf16, DType::F16] {
        let p = Product { out: DType::F32, ..Product::new([65, 129, 200], dtype) };
        cases.push(p.case());
        cases.push(Product { transposed: [false, true], ..p }.case());
        cases.push(Product { alpha: 0.25, beta: -1.0, ..p }.case());
        cases.push(Product { batch: Batch::Both(2), transposed: [true, false], ..p }.case().viewed());
    }
    cases.push(Product { batch: Batch::Left(0), ..f32([3, 4, 5]) }.case());
    cases.push(
        Product { batch: Batch::Both(5), beta: 1.0, transposed: [true, true], ..f32([9, 8, 7]) }.case(),
    );
    cases.push(nan_in_out());
    cases
}

/// With beta 0, what was in the output does not matter, and with `k` 0 the product is 0 whatever alpha is.
fn nan_in_out() -> Case {
    Case::new("matmul", "4x5x0/f32/beta", Bound::Exact, |_| {
        let operands = vec![
            Operand::numbers(DType::F32, &[4, 0], &[]),
            Operand::numbers(DType::F32, &[0, 5], &[]),
            Operand::update(DType::F32, &[4, 5], Operand::numbers(DType::F32, &[20], &[2.0; 20]).bytes),
        ];
        Problem::new(operands, |t| Matmul {
            a: t[0].clone(),
            b: t[1].clone(),
            out: t[2].clone(),
            trans_a: false,
            trans_b: false,
            alpha: 3.0,
            beta: 0.5,
        })
    })
}
