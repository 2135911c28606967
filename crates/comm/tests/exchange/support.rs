//! Payloads to send, and payloads forged.

use gristmill_comm::wire::{
    Address, Codec, DivideBy, Format, Hash, Inspection, TensorEntry, inspect, params_hash, seal,
};
use gristmill_core::hash::hash64;
use gristmill_core::payload::{Chunking, IndexCodec, PayloadLayout, Quantizer};

/// Bytes of the header; see docs/wire.md.
pub(crate) const HEADER: usize = 288;

pub(crate) fn random(seed: u64, i: u64) -> u64 {
    hash64(seed, &i.to_le_bytes())
}

/// Chunks of 64 elements of which 5 are sent, over a matrix with edges and a short vector.
pub(crate) fn sparse(quantizer: Quantizer, indices: IndexCodec) -> Format {
    let layout = PayloadLayout::new(64, 5, quantizer, indices).unwrap();
    let tensors = vec![
        TensorEntry::new("w", &[10, 11], Chunking::blocks(10, 11, 8, 8).unwrap()).unwrap(),
        TensorEntry::new("b", &[3], Chunking::runs(3, 64).unwrap()).unwrap(),
    ];
    Format::new(Codec::Sparse(layout), DivideBy::Contributors, tensors).unwrap()
}

pub(crate) fn dense(values: usize) -> Format {
    let tensors = vec![TensorEntry::of("w", &[values], 4096).unwrap()];
    Format::new(Codec::Dense, DivideBy::Peers, tensors).unwrap()
}

/// The bytes of each tensor of a sparse format, with entries that a seed draws.
pub(crate) fn bodies(format: &Format, seed: u64) -> Vec<Vec<u8>> {
    let Codec::Sparse(layout) = format.codec() else { panic!("not sparse") };
    let tensor = |t: &TensorEntry| {
        let mut words: Vec<u32> = (0..layout.tensor_words()).map(|i| (i as f32 - 1.5).to_bits()).collect();
        for c in 0..t.chunking().chunks() {
            let elements = t.chunking().chunk(c).elements();
            let mut positions: Vec<usize> = (0..elements).collect();
            positions.sort_by_key(|&p| random(seed, (c * 64 + p) as u64));
            positions.truncate(layout.entries(elements));
            positions.sort_unstable();
            let code = |p: usize| match layout.quantizer() {
                Quantizer::None => 0.5f32.to_bits(),
                Quantizer::Int8 => 100,
                _ => random(!seed, p as u64) as u32 & 3,
            };
            let scale = match layout.quantizer() {
                Quantizer::SignMagnitude => 0x4000_3F80, // 1 and 2
                _ => 0.5f32.to_bits(),
            };
            let mut chunk = vec![0; layout.words_per_chunk()];
            layout.pack_chunk(scale, positions.into_iter().map(|p| (p, code(p))), &mut chunk);
            words.extend(chunk);
        }
        words.iter().flat_map(|w| w.to_le_bytes()).collect()
    };
    format.tensors().iter().map(tensor).collect()
}

pub(crate) fn address(round: u64, peer: &str, base: Hash) -> Address {
    Address { run: "run-7".into(), round, peer: peer.into(), base }
}

pub(crate) const BASE: Hash = Hash([7; 32]);

/// A payload of peer `a` in round 3.
pub(crate) fn payload(format: &Format) -> Vec<u8> {
    let bodies = bodies(format, 1);
    seal(format, &address(3, "a", BASE), bodies.iter().map(Vec::as_slice), None).unwrap()
}

/// A dense payload with an open address.
pub(crate) fn dense_payload(format: &Format, base: Hash, values: &[f32]) -> Vec<u8> {
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    seal(format, &Address::open(base), [bytes.as_slice()], None).unwrap()
}

pub(crate) fn base_of(format: &Format, params: &[f32]) -> Hash {
    params_hash(format, [params]).unwrap()
}

/// Makes checksums and hash of an unsigned payload fit its content again.
pub(crate) fn reseal(format: &Format, bytes: &mut [u8]) {
    let body_len = format.body_len();
    let end = bytes.len() - 32;
    let (front, body) = bytes[..end].split_at_mut(end - body_len);
    let sums = front.len() - 8 * body_len.div_ceil(1 << 20);
    for (sum, block) in front[sums..].chunks_exact_mut(8).zip(body.chunks(1 << 20)) {
        sum.copy_from_slice(&xxhash_rust::xxh3::xxh3_64(block).to_le_bytes());
    }
    let hash = Hash::of(&bytes[..end]);
    bytes[end..].copy_from_slice(&hash.0);
}

/// The values of a dense payload.
pub(crate) fn values(bytes: &[u8], format: &Format) -> Vec<f32> {
    let end = bytes.len() - 32;
    let body = &bytes[end - format.body_len()..end];
    body.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

pub(crate) fn failed_check(report: &Inspection) -> Option<(&'static str, &'static str)> {
    report.checks.iter().find_map(|c| Some((c.name, c.reason?)))
}

#[test]
fn inspect_needs_no_parameters() {
    let format = sparse(Quantizer::SignMagnitude, IndexCodec::EliasFano);
    let report = inspect(&payload(&format));
    assert!(report.ok && failed_check(&report).is_none(), "{report:?}");
    assert_eq!(report.bytes, format.payload_len(false) as u64);
    // Four blocks of the matrix (64, 24, 16 and 6 elements, 5 sent of each), three elements of the vector.
    assert_eq!(report.density, Some(23.0 / 113.0));
    assert_eq!(report.ratio, Some(113.0 * 4.0 / report.bytes as f64));
    let squares: f64 = report.tensors.iter().map(|t| t.norm * t.norm).sum();
    assert!((report.norm.unwrap() - squares.sqrt()).abs() < 1e-12);
    // Magnitudes are 1 and 2.
    assert!((23.0..=92.0).contains(&squares) && (squares - squares.round()).abs() < 1e-9);
    assert_eq!(report.tensors.iter().map(|t| t.nonzero).sum::<u64>(), 23);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["header"]["geometry"]["quantizer"], "signMagnitude");
    assert_eq!(json["header"]["run"], "run-7");
    assert_eq!(json["tensors"][0]["shape"], serde_json::json!([10, 11]));
}
