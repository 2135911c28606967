//! gather, norm, rope, activation, bias_add.

use gristmill_core::DType;
use gristmill_core::ops::{Activation, ActivationKind, BiasAdd, Gather, Norm, NormKind, Rope};

use crate::case::{Bound, Case, Problem, ulp};
use crate::draw::Draw;
use crate::operand::{Operand, Role};
use crate::values::Values;

/// Rows and columns.
const SHAPES: [[usize; 2]; 8] = [[0, 5], [3, 0], [1, 1], [5, 2], [1000, 3], [33, 63], [9, 576], [2, 8191]];

pub(super) fn cases() -> Vec<Case> {
    [gathers(), norms(), ropes(), activations(), bias_adds()].into_iter().flatten().collect()
}

/// Indices of some rows among `of`.
fn indices(draw: &mut Draw, dtype: DType, rows: usize, of: usize) -> Operand {
    let indices: Vec<f64> = (0..rows)
        .map(|row| match row {
            // The ends, always.
            0 => of as f64 - 1.0,
            1 => 0.0,
            _ => draw.below(of) as f64,
        })
        .collect();
    Operand::numbers(dtype, &[rows], &indices)
}

fn gathers() -> Vec<Case> {
    let gather = |[rows, vocab, d]: [usize; 3], [table, out]: [DType; 2], ids: DType| {
        let name = format!("{rows}x{d}of{vocab}/{table}-{out}/{ids}");
        Case::new("gather", name, Bound::Exact, move |draw| {
            let operands = vec![
                Values::Bits.input(draw, table, &[vocab, d]),
                indices(draw, ids, rows, vocab),
                Operand::out(out, &[rows, d]),
            ];
            Problem::new(operands, |t| Gather { table: t[0].clone(), ids: t[1].clone(), out: t[2].clone() })
        })
    };
    let f32s = [DType::F32; 2];
    let mut cases = Vec::new();
    for sizes in [[0, 7, 3], [5, 7, 0], [1, 1, 1], [700, 3, 2], [33, 1000, 63], [3, 2, 8191], [200, 50, 576]]
    {
        cases.push(gather(sizes, f32s, DType::U32));
    }
    for dtype in DType::FLOATS {
        cases.push(gather([40, 90, 33], [dtype; 2], DType::I32));
        cases.push(gather([40, 90, 33], [dtype; 2], DType::U32).viewed());
        if dtype != DType::F32 {
            cases.push(gather([40, 90, 64], [dtype, DType::F32], DType::U32));
            cases.push(gather([40, 90, 33], [dtype, DType::F32], DType::I32).viewed());
        }
    }
    cases
}

/// A norm of the table.
#[derive(Clone, Copy)]
struct Normed {
    shape: [usize; 2],
    kind: NormKind,
    dtypes: [DType; 2],
    weight: bool,
    bias: bool,
    eps: f32,
    values: Values,
}

impl Normed {
    fn new(shape: [usize; 2], kind: NormKind) -> Self {
        let values = Values::Normal(1.0);
        Self { shape, kind, dtypes: [DType::F32; 2], weight: true, bias: false, eps: 1e-5, values }
    }

    fn case(self) -> Case {
        let Self { shape: [rows, columns], kind, dtypes: [x, out], weight, bias, eps, values } = self;
        let with = |on: bool, name: &'static str| if on { name } else { "" };
        let name = format!(
            "{rows}x{columns}/{}/{x}-{out}/{values}/{eps}{}{}",
            kind.name(),
            with(weight, "/weight"),
            with(bias, "/bias")
        );
        // The two or three numbers of a row may be all but equal: then their mean takes the digits that their distance
        // from it needs, up to one in √eps.
        let narrow = kind == NormKind::Layer && (2..8).contains(&columns) && eps > 0.0;
        let size = if narrow { 0.1 / f64::from(eps).sqrt() } else { 1.0 };
        Case::new("norm", name, Bound::Error(1e-5 + ulp(out)), move |draw| {
            let mut operands =
                vec![values.input(draw, x, &[rows, columns]), Operand::out(out, &[rows, columns])];
            for on in [weight, bias] {
                if on {
                    operands.push(Values::Normal(1.0).input(draw, DType::F32, &[columns]));
                }
            }
            Problem::new(operands, move |t| Norm {
                x: t[0].clone(),
                out: t[1].clone(),
                weight: weight.then(|| t[2].clone()),
                bias: bias.then(|| t[2 + usize::from(weight)].clone()),
                eps,
                kind,
            })
            .beside(size)
        })
    }
}

fn norms() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in NormKind::ALL {
        cases.extend(SHAPES.map(|shape| Normed::new(shape, kind).case()));
        for (weight, bias) in [(false, false), (false, true), (true, true)] {
            cases.push(Normed { weight, bias, ..Normed::new([7, 100], kind) }.case());
        }
        for x in DType::FLOATS {
            for out in DType::FLOATS {
                cases.push(Normed { dtypes: [x, out], bias: true, ..Normed::new([5, 192], kind) }.case());
                let norm = Normed { dtypes: [x, out], ..Normed::new([5, 77], kind) };
                cases.push(norm.case().viewed());
            }
            let norm = Normed { dtypes: [x; 2], ..Normed::new([6, 300], kind) };
            for values in [Values::Around(30.0), Values::Zeros, Values::Subnormal, Values::Cancelling] {
                cases.push(Normed { values, ..norm }.case());
            }
            cases.push(Normed { eps: 0.0, ..norm }.case());
            cases.push(Normed { eps: 0.5, ..norm }.case());
        }
        cases.push(nan_rows(kind));
    }
    cases
}

/// A NaN spoils its own row and no other.
fn nan_rows(kind: NormKind) -> Case {
    Case::new("norm", format!("5x300/{}/nan", kind.name()), Bound::Error(1e-5), move |draw| {
        let mut x = Values::Normal(1.0).input(draw, DType::F32, &[5, 300]);
        for row in [1, 3] {
            let at = 4 * (300 * row + draw.below(300));
            x.bytes[at..at + 4].copy_from_slice(&f32::NAN.to_ne_bytes());
        }
        let operands = vec![x, Operand::out(DType::F32, &[5, 300])];
        Problem::new(operands, move |t| Norm {
            x: t[0].clone(),
            out: t[1].clone(),
            weight: None,
            bias: None,
            eps: 1e-6,
            kind,
        })
        .beside(1.0)
    })
}

fn ropes() -> Vec<Case> {
    const POSITIONS: usize = 50;
    let rope =
        |rows: usize, [heads, head_dim, pairs]: [usize; 3], [x, ids]: [DType; 2], interleaved: bool| {
            let order = if interleaved { "interleaved" } else { "halves" };
            let name = format!("{rows}x{heads}x{head_dim}/{pairs}/{x}/{ids}/{order}");
            Case::new("rope", name, Bound::Error(1e-6 + ulp(x)), move |draw| {
                let angles: Vec<f64> = (0..POSITIONS * pairs).map(|_| 100.0 * draw.normal()).collect();
                let table = |f: fn(f64) -> f64| {
                    let values: Vec<f64> = angles.iter().map(|&angle| f(angle)).collect();
                    Operand::numbers(DType::F32, &[POSITIONS, pairs], &values)
                };
                let values = Values::Normal(1.0).input(draw, x, &[rows, heads * head_dim]);
                let operands = vec![
                    Operand { role: Role::Update, ..values },
                    table(f64::cos),
                    table(f64::sin),
                    indices(draw, ids, rows, POSITIONS),
                ];
                Problem::new(operands, move |t| Rope {
                    x: t[0].clone(),
                    cos: t[1].clone(),
                    sin: t[2].clone(),
                    positions: t[3].clone(),
                    head_dim,
                    interleaved,
                })
                .beside(2.0)
            })
        };
    let mut cases = Vec::new();
    for interleaved in [false, true] {
        for sizes in [[1, 2, 1], [3, 64, 32], [2, 20, 10], [2, 80, 10], [1, 7, 3], [3, 96, 24], [9, 64, 0]] {
            cases.push(rope(37, sizes, [DType::F32, DType::U32], interleaved));
        }
        for dtype in DType::FLOATS {
            cases.push(rope(300, [4, 64, 32], [dtype, DType::I32], interleaved));
            cases.push(rope(21, [3, 7, 2], [dtype, DType::U32], interleaved));
            cases.push(rope(19, [3, 10, 5], [dtype, DType::U32], interleaved).viewed());
            cases.push(rope(19, [2, 16, 6], [dtype, DType::I32], interleaved).viewed());
        }
        cases.push(rope(0, [2, 16, 8], [DType::F32, DType::U32], interleaved));
    }
    cases
}

fn activations() -> Vec<Case> {
    let activation = |[rows, columns]: [usize; 2],
                      dtype: DType,
                      kind: ActivationKind,
                      [bias, times]: [bool; 2],
                      values: Values| {
        let with = |on: bool, name: &'static str| if on { name } else { "" };
        let name = format!(
            "{rows}x{columns}/{}/{dtype}/{values}{}{}",
            kind.name(),
            with(bias, "/bias"),
            with(times, "/times")
        );
        Case::new("activation", name, Bound::Error(1e-5 + ulp(dtype)), move |draw| {
            let shape = [rows, columns];
            let mut operands = vec![values.input(draw, dtype, &shape), Operand::out(dtype, &shape)];
            if bias {
                operands.push(Values::Normal(1.0).input(draw, DType::F32, &[columns]));
            }
            if times {
                operands.push(Values::Normal(1.0).input(draw, dtype, &shape));
            }
            Problem::new(operands, move |t| Activation {
                x: t[0].clone(),
                out: t[1].clone(),
                bias: bias.then(|| t[2].clone()),
                times: times.then(|| t[2 + usize::from(bias)].clone()),
                kind,
            })
            .beside(1e-3)
        })
    };
    let mut cases = Vec::new();
    for kind in ActivationKind::ALL {
        for shape in SHAPES {
            cases.push(activation(shape, DType::F32, kind, [true, true], Values::Normal(3.0)));
        }
        for dtype in DType::FLOATS {
            for with in [[false, false], [true, false], [false, true], [true, true]] {
                cases.push(activation([7, 301], dtype, kind, with, Values::Normal(2.0)));
                cases.push(activation([5, 77], dtype, kind, with, Values::Normal(2.0)).viewed());
            }
            for values in
                [Values::Normal(30.0), Values::Special, Values::Zeros, Values::Subnormal, Values::Masked]
            {
                cases.push(activation([3, 1000], dtype, kind, [false, false], values));
            }
        }
        cases.push(activation([300, 1536], DType::F32, kind, [false, true], Values::Normal(1.0)));
        // Rows that are longer than a small window.
        cases.push(activation([2, 20_001], DType::Bf16, kind, [true, true], Values::Normal(1.0)));
    }
    cases
}

fn bias_adds() -> Vec<Case> {
    let bias_add = |[rows, columns]: [usize; 2], dtype: DType, values: Values| {
        let name = format!("{rows}x{columns}/{dtype}/{values}");
        Case::new("bias_add", name, Bound::Error(ulp(dtype)), move |draw| {
            let x = values.input(draw, dtype, &[rows, columns]);
            let bias = Values::Normal(1.0).input(draw, DType::F32, &[columns]);
            let operands = vec![Operand { role: Role::Update, ..x }, bias];
            Problem::new(operands, |t| BiasAdd { x: t[0].clone(), bias: t[1].clone() })
        })
    };
    let mut cases = Vec::from(SHAPES.map(|shape| bias_add(shape, DType::F32, Values::Normal(1.0))));
    cases.push(bias_add([3, 20_001], DType::F16, Values::Normal(1.0)));
    for dtype in DType::FLOATS {
        for values in [Values::Normal(1.0), Values::Special, Values::Zeros, Values::Subnormal] {
            cases.push(bias_add([7, 301], dtype, values));
        }
        cases.push(bias_add([5, 77], dtype, Values::Normal(1.0)).viewed());
        cases.push(bias_add([300, 576], dtype, Values::Normal(1.0)));
    }
    cases
}
