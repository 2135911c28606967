use std::sync::Arc;

use gristmill_core::ops::Gram;
use gristmill_core::{DType, Tensor};

use super::sum_error;
use crate::case::{Bound, Case, Problem, ulp};
use crate::operand::{Operand, decode, encode};
use crate::values::Values;

/// What is added to the product.
#[derive(Clone, Copy, PartialEq)]
enum Beside {
    Nothing,
    /// A symmetric matrix.
    Matrix(f32),
    /// The factor itself.
    Itself(f32),
}

#[derive(Clone, Copy)]
struct Square {
    n: usize,
    k: usize,
    dtype: DType,
    out: DType,
    columns: bool,
    alpha: f32,
    beside: Beside,
    values: Values,
}

impl Square {
    fn new([n, k]: [usize; 2], dtype: DType) -> Self {
        let (alpha, beside, values) = (1.0, Beside::Nothing, Values::Normal(1.0));
        Self { n, k, dtype, out: dtype, columns: false, alpha, beside, values }
    }

    fn case(self) -> Case {
        let Self { n, k, dtype, out, columns, alpha, beside, values } = self;
        let of = if columns { "columns" } else { "rows" };
        let beside_name = match beside {
            Beside::Nothing => String::new(),
            Beside::Matrix(beta) => format!("/c*{beta}"),
            Beside::Itself(beta) => format!("/x*{beta}"),
        };
        let name = format!("{n}x{k}/{dtype}-{out}/{of}/{values}/{alpha}{beside_name}");
        let bound = Bound::Error(sum_error(k) + 2.0 * ulp(out));
        Case::new("gram", name, bound, move |draw| {
            let shape = if columns { [k, n] } else { [n, k] };
            let mut x = values.input(draw, dtype, &shape);
            if matches!(beside, Beside::Itself(_)) {
                x.bytes = mirrored(dtype, n, &x.bytes);
            }
            let mut operands = vec![x, Operand::out(out, &[n, n])];
            let beta = match beside {
                Beside::Nothing => 0.0,
                Beside::Itself(beta) => beta,
                Beside::Matrix(beta) => {
                    let c = Values::Normal(3.0).elements(draw, out, n * n);
                    operands.push(Operand::input(out, &[n, n], mirrored(out, n, &c)));
                    beta
                }
            };
            let make = move |alpha: f32, beta: f32| {
                move |t: &[Tensor]| Gram {
                    x: t[0].clone(),
                    c: match beside {
                        Beside::Nothing => None,
                        Beside::Matrix(_) => Some(t[2].clone()),
                        Beside::Itself(_) => Some(t[0].clone()),
                    },
                    out: t[1].clone(),
                    columns,
                    alpha,
                    beta,
                }
            };
            let terms = make(alpha.abs(), beta.abs());
            Problem::new(operands, make(alpha, beta))
                .by_terms_of(Arc::new(move |t| terms(t).into()), |_, o| o.map(f64::abs))
        })
    }
}

/// The symmetric matrix with these elements below its diagonal.
fn mirrored(dtype: DType, n: usize, bytes: &[u8]) -> Vec<u8> {
    let numbers = decode(dtype, bytes);
    let entry = |i: usize| numbers[(i / n).max(i % n) * n + (i / n).min(i % n)];
    encode(dtype, &(0..n * n).map(entry).collect::<Vec<_>>())
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for dtype in [DType::F32, DType::Bf16, DType::F16] {
        for columns in [false, true] {
            let square = |sizes| Square { columns, ..Square::new(sizes, dtype) };
            for sizes in [[1, 1], [5, 3], [64, 64], [65, 17], [131, 70], [200, 33], [300, 128]] {
                cases.push(square(sizes).case());
            }
            for sizes in [[0, 5], [0, 0], [7, 0]] {
                cases.push(square(sizes).case());
            }
            let s = square([130, 77]);
            cases.push(Square { alpha: -0.5, beside: Beside::Matrix(1.5), ..s }.case());
            cases.push(Square { alpha: 0.0, beside: Beside::Matrix(2.0), ..s }.case());
            cases.push(Square { beside: Beside::Matrix(0.0), ..s }.case());
            cases.push(Square { alpha: 2.0, beside: Beside::Itself(-4.75), ..square([97, 97]) }.case());
            cases.push(Square { beside: Beside::Matrix(-1.0), ..square([9, 0]) }.case());
            cases.push(Square { values: Values::Cancelling, ..s }.case());
            cases.push(Square { values: Values::Around(30.0), ..s }.case());
            cases.push(Square { values: Values::Zeros, ..s }.case());
            cases.push(Square { values: Values::Special, ..s }.case());
            cases.push(s.case().viewed());
            cases.push(
                Square { alpha: 3.0, beside: Beside::Matrix(0.25), ..square([67, 66]) }.case().viewed(),
            );
            if dtype != DType::F32 {
                let wide = Square { out: DType::F32, ..s };
                cases.push(wide.case());
                cases.push(Square { alpha: 0.25, beside: Beside::Matrix(-1.0), ..wide }.case().viewed());
            }
        }
    }
    cases
}
