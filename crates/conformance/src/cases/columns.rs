//! gather_columns, scatter_columns.

use gristmill_core::DType;
use gristmill_core::ops::{GatherColumns, ScatterColumns};

use crate::case::{Bound, Case, Problem, ulp};
use crate::draw::Draw;
use crate::operand::{Operand, Role};
use crate::values::Values;

/// Rows, columns, and how many of them are picked.
const SIZES: [[usize; 3]; 9] = [
    [0, 7, 3],
    [5, 7, 0],
    [1, 1, 1],
    [700, 3, 2],
    [33, 63, 63],
    [9, 576, 29],
    [2, 8191, 4000],
    [300, 1000, 50],
    [1, 70, 1],
];

pub(super) fn cases() -> Vec<Case> {
    [gathers(), scatters(), faults()].into_iter().flatten().collect()
}

/// So many numbers of columns, ascending; the ends among them, where there are enough.
fn index(draw: &mut Draw, dtype: DType, columns: usize, k: usize) -> Operand {
    let mut left: Vec<usize> = (0..columns).collect();
    while left.len() > k {
        // Neighbours stay neighbours often: two of them share a word of 16-bit elements.
        let at = if left.len() > k + 2 && k > 1 { 1 + draw.below(left.len() - 2) } else { left.len() / 2 };
        left.remove(at);
    }
    let numbers: Vec<f64> = left.into_iter().map(|column| column as f64).collect();
    Operand::numbers(dtype, &[k], &numbers)
}

fn gathers() -> Vec<Case> {
    let gather = |[rows, columns, k]: [usize; 3], dtype: DType, ids: DType| {
        let name = format!("{rows}x{columns}/{k}/{dtype}/{ids}");
        Case::new("gather_columns", name, Bound::Exact, move |draw| {
            let operands = vec![
                Values::Bits.input(draw, dtype, &[rows, columns]),
                index(draw, ids, columns, k),
                Operand::out(dtype, &[rows, k]),
            ];
            Problem::new(operands, |t| GatherColumns {
                x: t[0].clone(),
                index: t[1].clone(),
                out: t[2].clone(),
            })
        })
    };
    let mut cases = Vec::from(SIZES.map(|sizes| gather(sizes, DType::F32, DType::U32)));
    for dtype in DType::FLOATS {
        cases.push(gather([40, 91, 33], dtype, DType::I32));
        cases.push(gather([40, 91, 33], dtype, DType::U32).viewed());
    }
    cases
}

fn scatters() -> Vec<Case> {
    let scatter = |[rows, columns, k]: [usize; 3], dtype: DType, ids: DType, values: Values| {
        let name = format!("{rows}x{columns}/{k}/{dtype}/{ids}/{values}");
        // A device may flush what lies below the normal numbers.
        let bound = if values == Values::Subnormal { Bound::Error(ulp(dtype)) } else { Bound::Exact };
        Case::new("scatter_columns", name, bound, move |draw| {
            let out = values.input(draw, dtype, &[rows, columns]);
            let operands = vec![
                values.input(draw, dtype, &[rows, k]),
                index(draw, ids, columns, k),
                Operand { role: Role::Update, ..out },
            ];
            Problem::new(operands, |t| ScatterColumns {
                y: t[0].clone(),
                index: t[1].clone(),
                out: t[2].clone(),
            })
        })
    };
    let mut cases = Vec::from(SIZES.map(|sizes| scatter(sizes, DType::F32, DType::U32, Values::Normal(1.0))));
    for dtype in DType::FLOATS {
        for values in [
            Values::Normal(1.0),
            Values::Special,
            Values::Zeros,
            Values::Cancelling,
            Values::Ties,
            Values::Subnormal,
        ] {
            cases.push(scatter([40, 91, 33], dtype, DType::I32, values));
        }
        cases.push(scatter([41, 9, 9], dtype, DType::U32, Values::Normal(1.0)));
        cases.push(scatter([33, 5, 1], dtype, DType::U32, Values::Normal(1.0)));
        cases.push(scatter([40, 91, 33], dtype, DType::U32, Values::Normal(1.0)).viewed());
        cases.push(scatter([3, 8191, 4000], dtype, DType::U32, Values::Normal(1.0)));
    }
    cases
}

/// A name, the type of the numbers, the numbers, and the first position at fault.
type Wrong = (&'static str, DType, &'static [f64], u64);

const WRONG: [Wrong; 7] = [
    ("beyond", DType::U32, &[0.0, 3.0, 20.0], 2),
    ("far-beyond", DType::U32, &[1.0, 4_294_967_295.0], 1),
    ("twice", DType::U32, &[1.0, 4.0, 4.0, 9.0], 2),
    ("descending", DType::I32, &[5.0, 4.0, 3.0], 1),
    ("negative", DType::I32, &[-1.0, 3.0], 0),
    ("becomes-negative", DType::I32, &[2.0, 3.0, -2_147_483_648.0, 9.0], 2),
    ("several", DType::U32, &[7.0, 21.0, 21.0, 3.0], 1),
];

fn faults() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, ids, wrong, position) in WRONG {
        let k = wrong.len();
        for dtype in [DType::F32, DType::Bf16] {
            let name = format!("fault/{name}/{dtype}");
            let of = move |draw: &mut Draw, shape: [usize; 2]| Values::Normal(1.0).input(draw, dtype, &shape);
            cases.push(Case::new("gather_columns", &name, Bound::Exact, move |draw| {
                let index = Operand::numbers(ids, &[k], wrong);
                let operands = vec![of(draw, [30, 20]), index, Operand::out(dtype, &[30, k])];
                Problem::new(operands, |t| GatherColumns {
                    x: t[0].clone(),
                    index: t[1].clone(),
                    out: t[2].clone(),
                })
                .faulty(position)
            }));
            cases.push(Case::new("scatter_columns", &name, Bound::Exact, move |draw| {
                let index = Operand::numbers(ids, &[k], wrong);
                let out = Operand { role: Role::Update, ..of(draw, [30, 20]) };
                Problem::new(vec![of(draw, [30, k]), index, out], |t| ScatterColumns {
                    y: t[0].clone(),
                    index: t[1].clone(),
                    out: t[2].clone(),
                })
                .faulty(position)
            }));
        }
    }
    cases
}
