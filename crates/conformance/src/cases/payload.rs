//! The operations of low-communication training.

use gristmill_core::DType;
use gristmill_core::ops::{PayloadNorm, TopkAggregate, TopkEncode};
use gristmill_core::payload::{Chunking, IndexCodec, PayloadLayout, Quantizer};

use crate::case::{Bound, Case, Problem};
use crate::draw::Draw;
use crate::operand::Operand;
use crate::values::Values;

use IndexCodec::{EliasFano, Packed12};
use Quantizer::{Int8, None, Reference, SignMagnitude};

/// Rows and columns, those of a block, and entries.
type Sizes = (usize, usize, usize, usize, usize);

const SIZES: [Sizes; 14] = [
    (1, 0, 1, 4096, 64),
    (0, 70, 64, 64, 64),
    (1, 1, 1, 4096, 64),
    (1, 5, 1, 5, 5),
    (1, 100, 1, 4096, 64),
    (1, 4096 * 3 + 77, 1, 4096, 64),
    (1, 4096 * 2, 1, 4096, 4096),
    (1, 9000, 1, 4096, 1),
    (130, 200, 64, 64, 64),
    (128, 4096, 64, 64, 32),
    (300, 70, 64, 64, 128),
    (60, 90, 30, 45, 100),
    (17, 23, 7, 5, 11),
    (1, 70_001, 1, 1000, 999),
];

fn layout(size: Sizes, quantizer: Quantizer, indices: IndexCodec) -> (Chunking, PayloadLayout) {
    let (rows, columns, block_rows, block_columns, k) = size;
    let fine = "sizes of the table are in bounds";
    (
        Chunking::blocks(rows, columns, block_rows, block_columns).expect(fine),
        PayloadLayout::new(block_rows * block_columns, k, quantizer, indices).expect(fine),
    )
}

fn name((rows, columns, r, c, k): Sizes, quantizer: Quantizer, indices: IndexCodec) -> String {
    format!("{rows}x{columns}/{r}x{c}/{k}/{}/{}", quantizer.name(), indices.name())
}

fn encode(
    size: Sizes,
    quantizer: Quantizer,
    indices: IndexCodec,
    values: Values,
    wrong: &[(usize, f32)],
) -> Case {
    let (chunking, layout) = layout(size, quantizer, indices);
    let mut name = format!("{}/{values}", name(size, quantizer, indices));
    wrong.iter().for_each(|(at, x)| name += &format!("/{x}at{at}"));
    let (shape, wrong) = ([chunking.rows(), chunking.columns()], wrong.to_vec());
    Case::new("topk_encode", name, Bound::Bits, move |draw| {
        let mut operands: Vec<_> = (0..3).map(|_| values.input(draw, DType::F32, &shape)).collect();
        for (i, x) in &wrong {
            operands[1].bytes[4 * i..4 * i + 4].copy_from_slice(&x.to_ne_bytes());
        }
        operands.push(Operand::out(DType::F32, &shape));
        operands.push(Operand::out(DType::U32, &[layout.words(&chunking)]));
        let problem = Problem::new(operands, move |t| TopkEncode {
            base: t[0].clone(),
            local: t[1].clone(),
            residual: t[2].clone(),
            residual_out: t[3].clone(),
            payload: t[4].clone(),
            chunking,
            layout,
            decay: 0.95,
        });
        let chunk_of = |i: usize| {
            let (row, column) = (i / chunking.columns(), i % chunking.columns());
            row / chunking.block_rows() * chunking.across() + column / chunking.block_columns()
        };
        match wrong.iter().map(|&(i, _)| chunk_of(i) as u64).min() {
            Some(chunk) => problem.faulty(chunk),
            Option::None => problem,
        }
    })
}

/// The words of a payload that says anything that a payload may say.
fn payload(draw: &mut Draw, chunking: &Chunking, layout: &PayloadLayout) -> Vec<u32> {
    let value = |draw: &mut Draw| (draw.normal() * 2f64.powi(draw.below(20) as i32 - 10)) as f32;
    let mut words: Vec<u32> = (0..layout.tensor_words()).map(|_| value(draw).to_bits()).collect();
    for i in 0..chunking.chunks() {
        let elements = chunking.chunk(i).elements();
        let entries = layout.entries(elements);
        let mut positions: Vec<usize> = (0..elements).collect();
        for j in 0..entries {
            positions.swap(j, j + draw.below(elements - j));
        }
        positions.truncate(entries);
        positions.sort_unstable();
        let scale = match layout.quantizer() {
            SignMagnitude => {
                let (a, b) = (value(draw).to_bits() >> 16 & 0x7FFF, value(draw).to_bits() >> 16 & 0x7FFF);
                a.max(b) << 16 | a.min(b)
            }
            Int8 => value(draw).abs().to_bits(),
            Reference | None => 0,
        };
        let mut code = |_| match layout.quantizer() {
            SignMagnitude | Reference => draw.bits() & 3,
            Int8 => (draw.below(255) as i32 - 127) as u32 & 0xFF,
            None => value(draw).to_bits(),
        };
        let codes: Vec<u32> = positions.iter().map(&mut code).collect();
        let at = words.len();
        words.resize(at + layout.words_per_chunk(), 0);
        layout.pack_chunk(scale, positions.into_iter().zip(codes), &mut words[at..]);
    }
    words
}

/// Payloads of several peers; `wrong` are words, by peer and place, that are changed to something else.
fn payloads(
    draw: &mut Draw,
    peers: usize,
    chunking: &Chunking,
    layout: &PayloadLayout,
    wrong: &[(usize, usize, u32)],
) -> Operand {
    let mut words: Vec<u32> = (0..peers).flat_map(|_| payload(draw, chunking, layout)).collect();
    let each = layout.words(chunking);
    for &(peer, at, word) in wrong {
        words[peer * each + at] = word;
    }
    Operand::input(DType::U32, &[peers, each], bytemuck::cast_slice(&words).to_vec())
}

/// Words that break a payload: peer, place and word of each, and the row at fault.
type Wrong = (&'static [(usize, usize, u32)], u64);

fn aggregate(
    size: Sizes,
    quantizer: Quantizer,
    indices: IndexCodec,
    peers: usize,
    values: Values,
    wrong: Option<Wrong>,
) -> Case {
    let (chunking, layout) = layout(size, quantizer, indices);
    let mut name = format!("{peers}/{}/{values}", name(size, quantizer, indices));
    wrong.iter().for_each(|(wrong, _)| name += &format!("/fault{wrong:?}"));
    let shape = [chunking.rows(), chunking.columns()];
    Case::new("topk_aggregate", name, Bound::Exact, move |draw| {
        let weights: Vec<f64> = (0..peers).map(|i| if i % 3 == 1 { draw.unit() } else { 1.0 }).collect();
        let steps: Vec<f64> = (0..=peers).map(|c| 0.7 / c.max(1) as f64).collect();
        let operands = vec![
            payloads(draw, peers, &chunking, &layout, wrong.map_or(&[], |w| w.0)),
            Operand::numbers(DType::F32, &[peers], &weights),
            Operand::numbers(DType::F32, &[peers + 1], &steps),
            Operand::update(DType::F32, &shape, values.elements(draw, DType::F32, chunking.elements())),
        ];
        let problem = Problem::new(operands, move |t| TopkAggregate {
            payloads: t[0].clone(),
            weights: t[1].clone(),
            steps: t[2].clone(),
            theta: t[3].clone(),
            chunking,
            layout,
        });
        match wrong {
            Some((_, row)) => problem.faulty(row),
            Option::None => problem,
        }
    })
}

fn norm(size: Sizes, quantizer: Quantizer, indices: IndexCodec, peers: usize, wrong: Option<Wrong>) -> Case {
    let (chunking, layout) = layout(size, quantizer, indices);
    let mut name = format!("{peers}/{}", name(size, quantizer, indices));
    wrong.iter().for_each(|(wrong, _)| name += &format!("/fault{wrong:?}"));
    Case::new("payload_norm", name, Bound::Bits, move |draw| {
        let operands = vec![
            payloads(draw, peers, &chunking, &layout, wrong.map_or(&[], |w| w.0)),
            Operand::out(DType::F32, &[peers]),
        ];
        let problem = Problem::new(operands, move |t| PayloadNorm {
            payloads: t[0].clone(),
            out: t[1].clone(),
            chunking,
            layout,
        });
        match wrong {
            Some((_, row)) => problem.faulty(row),
            Option::None => problem,
        }
    })
}

const TYPICAL: Sizes = (1, 4096 * 3 + 77, 1, 4096, 64);
const BLOCKS: Sizes = (130, 200, 64, 64, 64);

pub(super) fn cases() -> Vec<Case> {
    [encodes(), aggregates(), norms()].into_iter().flatten().collect()
}

fn encodes() -> Vec<Case> {
    let mut cases = Vec::new();
    for size in SIZES {
        for (quantizer, indices) in
            [(SignMagnitude, EliasFano), (SignMagnitude, Packed12), (Int8, EliasFano), (None, Packed12)]
        {
            cases.push(encode(size, quantizer, indices, Values::Normal(1.0), &[]));
        }
    }
    for values in [
        Values::Ties,
        Values::Constant(-1.0),
        Values::Zeros,
        Values::Subnormal,
        Values::Around(1e6),
        Values::Cancelling,
        // At both ends of what a payload can say.
        Values::Normal(1e-18),
        Values::Normal(3e-37),
        Values::Normal(1e8),
    ] {
        for quantizer in [SignMagnitude, Int8, None] {
            cases.push(encode(TYPICAL, quantizer, EliasFano, values, &[]));
            cases.push(encode(BLOCKS, quantizer, Packed12, values, &[]).viewed());
        }
    }
    let wrong: [&[(usize, f32)]; 5] = [
        &[(0, f32::NAN)],
        &[(12_364, f32::INFINITY)],
        &[(9000, f32::NEG_INFINITY), (5000, f32::NAN)],
        &[(4096, 3e9)],
        &[(8191, -f32::NAN), (8192, 1e38)],
    ];
    for wrong in wrong {
        cases.push(encode(TYPICAL, SignMagnitude, EliasFano, Values::Normal(1.0), wrong));
        cases.push(encode(BLOCKS, Int8, Packed12, Values::Normal(1.0), wrong));
    }
    cases
}

fn aggregates() -> Vec<Case> {
    let mut cases = Vec::new();
    for size in SIZES {
        for (i, &quantizer) in Quantizer::ALL.iter().enumerate() {
            let indices = IndexCodec::ALL[i % 2];
            cases.push(aggregate(size, quantizer, indices, 5, Values::Normal(1.0), Option::None));
        }
        cases.push(aggregate(size, SignMagnitude, EliasFano, 1, Values::Normal(1.0), Option::None));
    }
    cases.push(aggregate(BLOCKS, SignMagnitude, EliasFano, 20, Values::Normal(1.0), Option::None).viewed());
    cases.push(aggregate(BLOCKS, SignMagnitude, EliasFano, 0, Values::Normal(1.0), Option::None));
    cases.push(aggregate(TYPICAL, SignMagnitude, EliasFano, 300, Values::Normal(1.0), Option::None));
    for values in [Values::Special, Values::Zeros, Values::Subnormal, Values::Normal(1e-18)] {
        cases.push(aggregate(TYPICAL, SignMagnitude, EliasFano, 7, values, Option::None));
        cases.push(aggregate(BLOCKS, None, Packed12, 7, values, Option::None).viewed());
    }
    // A chunk has 21 words: magnitudes, 4 of codes, 12 of low bits, 4 of high bits.
    let wrong: [Wrong; 6] = [
        (&[(0, 0, 0x7FC0_0000)], 0),
        (&[(1, 21, 0x0000_3F80)], 5),
        (&[(2, 17, 0)], 8),
        (&[(2, 17 + 63, u32::MAX), (1, 42, 0xFF80_0000)], 6),
        (&[(3, 63, 0x0001_0001), (3, 20, 0x8000_0000)], 12),
        (&[(2, 21 + 17, 0xFFFF_FFFF), (2, 21 + 18, 0xFFFF_FFFF), (2, 21 + 19, 0), (2, 21 + 20, 0)], 9),
    ];
    for wrong in wrong {
        cases.push(aggregate(TYPICAL, SignMagnitude, EliasFano, 4, Values::Normal(1.0), Some(wrong)));
    }
    let levels: Wrong = (&[(1, 2, 0x7F80_0000)], 4);
    cases.push(aggregate(TYPICAL, Reference, EliasFano, 3, Values::Normal(1.0), Some(levels)));
    cases
}

fn norms() -> Vec<Case> {
    let mut cases = Vec::new();
    for size in SIZES {
        for (i, &quantizer) in Quantizer::ALL.iter().enumerate() {
            cases.push(norm(size, quantizer, IndexCodec::ALL[i % 2], 3, Option::None));
        }
    }
    // More chunks than one tree has leaves.
    let many = (1, 70_000 * 3, 1, 3, 2);
    for &quantizer in Quantizer::ALL {
        cases.push(norm(many, quantizer, Packed12, 2, Option::None));
    }
    cases.push(norm(TYPICAL, SignMagnitude, EliasFano, 0, Option::None));
    cases.push(norm(TYPICAL, SignMagnitude, EliasFano, 4, Some((&[(2, 21, 0x7FC0_0000)], 9))));
    cases.push(norm(TYPICAL, Int8, EliasFano, 2, Some((&[(1, 0, 0xBF80_0000)], 4))));
    cases.push(norm(TYPICAL, None, Packed12, 2, Some((&[(0, 63, 0x7F80_0000)], 0))));
    cases.push(norm(TYPICAL, Reference, Packed12, 2, Some((&[(1, 3, 0x0000_0001)], 4))));
    cases
}
