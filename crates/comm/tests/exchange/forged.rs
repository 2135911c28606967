//! Each field that can be forged is refused, by the reason that is its own.

use ed25519_dalek::SigningKey;
use gristmill_comm::wire::{
    Codec, DivideBy, Expect, Format, Hash, Payload, Reason, TensorEntry, address as readdress, inspect, seal,
};
use gristmill_core::payload::{IndexCodec, PayloadLayout, Quantizer};
use gristmill_core::{Code, Error};

use crate::support::*;

fn expect(format: &Format) -> Expect<'_> {
    Expect { run: Some("run-7"), round: Some(3), peer: Some("a"), base: Some(BASE), ..Expect::format(format) }
}

fn reason(bytes: &[u8], expect: &Expect<'_>) -> Option<Reason> {
    Payload::open(bytes, expect).err().map(|refusal| refusal.reason)
}

/// What is forged, how, and what must be said. All checksums and hashes are made to fit again.
type Forgery = (&'static str, fn(&mut [u8]), Reason);

const HEADER_FORGERIES: &[Forgery] = &[
    ("magic", |b| b[0] ^= 1, Reason::Magic),
    ("line ends", |b| b[6] = b'\n', Reason::Magic),
    ("version", |b| b[8] = 2, Reason::Version),
    ("codec", |b| b[10] = 9, Reason::Codec),
    ("codec dense with a geometry", |b| b[10] = 0, Reason::Reserved),
    ("quantiser unknown", |b| b[11] = 200, Reason::Geometry),
    ("quantiser other", |b| b[11] = 4, Reason::Geometry),
    ("index codec", |b| b[12] = 2, Reason::Geometry),
    ("divisor unknown", |b| b[13] = 2, Reason::DivideBy),
    ("divisor other", |b| b[13] = 1, Reason::DivideBy),
    ("flags", |b| b[14] = 2, Reason::Reserved),
    ("signed without signature", |b| b[14] = 1, Reason::Length),
    ("reserved byte", |b| b[15] = 1, Reason::Reserved),
    ("chunk zero", |b| b[16..20].fill(0), Reason::Geometry),
    ("chunk huge", |b| b[16..20].fill(0xFF), Reason::Geometry),
    ("chunk other", |b| b[16] = 63, Reason::Geometry),
    ("k zero", |b| b[20..24].fill(0), Reason::Geometry),
    ("k huge", |b| b[20..24].fill(0xFF), Reason::Geometry),
    ("k other", |b| b[20] = 4, Reason::Geometry),
    ("number of tensors", |b| b[24] ^= 1, Reason::Counts),
    ("number of tensors huge", |b| b[24..28].fill(0xFF), Reason::Counts),
    ("length of the table", |b| b[28] ^= 1, Reason::Length),
    ("length of the table huge", |b| b[28..32].fill(0xFF), Reason::Length),
    ("values", |b| b[32] ^= 1, Reason::Counts),
    ("chunks", |b| b[40] ^= 1, Reason::Counts),
    ("length of the body", |b| b[48] ^= 4, Reason::Length),
    ("length of the body huge", |b| b[48..56].fill(0xFF), Reason::Length),
    ("round", |b| b[56] ^= 1, Reason::OtherRound),
    ("run", |b| b[68] = b'8', Reason::OtherRun),
    ("run with a byte behind its end", |b| b[100] = b'x', Reason::Reserved),
    ("run not UTF-8", |b| b[64] = 0xFF, Reason::Reserved),
    ("run with a slash", |b| b[65] = b'/', Reason::Reserved),
    ("run empty", |b| b[64..128].fill(0), Reason::OtherRun),
    ("peer", |b| b[128] = b'b', Reason::OtherPeer),
    ("peer of dots", |b| b[128..130].fill(b'.'), Reason::Reserved),
    ("base", |b| b[192] ^= 1, Reason::BaseMismatch),
    ("hash of the table", |b| b[224] ^= 1, Reason::TableMismatch),
    ("key without signature", |b| b[256] = 1, Reason::Reserved),
    ("table", |b| b[HEADER + 4] ^= 1, Reason::TableMismatch),
];

#[test]
fn every_field_of_the_header() {
    let format = sparse(Quantizer::SignMagnitude, IndexCodec::EliasFano);
    let good = payload(&format);
    assert_eq!(reason(&good, &expect(&format)), None);
    for (name, forge, expected) in HEADER_FORGERIES {
        let mut bytes = good.clone();
        forge(&mut bytes);
        reseal(&format, &mut bytes);
        assert_eq!(reason(&bytes, &expect(&format)), Some(*expected), "{name}");
        let _ = inspect(&bytes);
    }
}

#[test]
fn no_byte_of_the_header_is_free() {
    let format = sparse(Quantizer::SignMagnitude, IndexCodec::EliasFano);
    let good = payload(&format);
    for at in 0..HEADER {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            reseal(&format, &mut bytes);
            assert!(reason(&bytes, &expect(&format)).is_some(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn damage_on_the_way() {
    let format = dense(700_000);
    let good = seal(&format, &address(3, "a", BASE), [vec![0; 2_800_000].as_slice()], None).unwrap();
    let body = good.len() - 32 - 2_800_000;
    for (name, at, expected) in [
        ("first MiB", body, Reason::BlockChecksum),
        ("last MiB", good.len() - 33, Reason::BlockChecksum),
        ("a checksum", body - 1, Reason::BlockChecksum),
        ("the hash", good.len() - 1, Reason::Hash),
    ] {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        assert_eq!(reason(&bytes, &expect(&format)), Some(expected), "{name}");
    }
    let mut bytes = good.clone();
    bytes[body + (2 << 20) + 5] ^= 1;
    let refusal = Payload::open(&bytes, &expect(&format)).unwrap_err();
    assert_eq!(refusal.to_string(), "BLOCK_CHECKSUM: MiB 2 of the body is damaged");
    for len in [0, 7, 8, HEADER - 1, HEADER, good.len() - 1] {
        let expected = if len < 8 { Reason::Magic } else { Reason::Length };
        assert_eq!(reason(&good[..len], &expect(&format)), Some(expected), "{len} bytes");
    }
    let longer = [good.as_slice(), &[0]].concat();
    assert_eq!(reason(&longer, &expect(&format)), Some(Reason::Length));
}

/// Words of the first chunk of a sparse payload.
fn with_chunk(format: &Format, edit: impl FnOnce(&PayloadLayout, &mut [u32])) -> Vec<u8> {
    let Codec::Sparse(layout) = format.codec() else { panic!("not sparse") };
    let mut bytes = payload(format);
    let start = bytes.len() - 32 - format.body_len() + 4 * layout.tensor_words();
    let place = start..start + 4 * layout.words_per_chunk();
    let chunks = bytes[place.clone()].chunks_exact(4);
    let mut words: Vec<u32> = chunks.map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect();
    edit(layout, &mut words);
    bytes[place].copy_from_slice(&words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<_>>());
    reseal(format, &mut bytes);
    bytes
}

#[test]
fn every_field_of_a_chunk() {
    let fano = sparse(Quantizer::SignMagnitude, IndexCodec::EliasFano);
    let packed = sparse(Quantizer::SignMagnitude, IndexCodec::Packed12);
    let int8 = sparse(Quantizer::Int8, IndexCodec::Packed12);
    let whole = sparse(Quantizer::None, IndexCodec::Packed12);
    let levels = sparse(Quantizer::Reference, IndexCodec::Packed12);
    let positions = |positions: [usize; 5]| {
        move |layout: &PayloadLayout, words: &mut [u32]| {
            layout.pack_chunk(0x4000_3F80, positions.map(|p| (p, 0)), words);
        }
    };
    let cases = [
        ("duplicate", &packed, with_chunk(&packed, positions([1, 2, 2, 3, 4])), Reason::IndicesNotAscending),
        ("descending", &packed, with_chunk(&packed, positions([1, 3, 2, 4, 5])), Reason::IndicesNotAscending),
        ("outside", &packed, with_chunk(&packed, positions([1, 2, 3, 4, 64])), Reason::Position),
        ("one bit more", &fano, with_chunk(&fano, |l, w| w[l.highs().start] = !0), Reason::Population),
        (
            "one bit less",
            &fano,
            with_chunk(&fano, |l, w| w[l.highs().start] &= w[l.highs().start] - 1),
            Reason::Population,
        ),
        ("scale NaN", &fano, with_chunk(&fano, |_, w| w[0] = 0x7FC0_3F80), Reason::Scale),
        ("scale infinite", &fano, with_chunk(&fano, |_, w| w[0] = 0x7F80_3F80), Reason::Scale),
        ("scale too large", &fano, with_chunk(&fano, |_, w| w[0] = 0x7F00_3F80), Reason::Scale),
        ("scale negative", &fano, with_chunk(&fano, |_, w| w[0] = 0xBF80_BF80), Reason::Scale),
        ("step NaN", &int8, with_chunk(&int8, |_, w| w[0] = f32::NAN.to_bits()), Reason::Scale),
        ("code", &int8, with_chunk(&int8, |_, w| w[1] = 0x80), Reason::Code),
        ("value NaN", &whole, with_chunk(&whole, |_, w| w[0] = f32::NAN.to_bits()), Reason::Value),
        ("value huge", &whole, with_chunk(&whole, |_, w| w[0] = 1e30f32.to_bits()), Reason::Value),
        ("padding", &packed, with_chunk(&packed, |l, w| w[l.codes().end - 1] |= 1 << 31), Reason::Padding),
    ];
    for (name, format, bytes, expected) in &cases {
        assert_eq!(reason(bytes, &expect(format)), Some(*expected), "{name}");
        assert_eq!(failed_check(&inspect(bytes)), Some(("body", expected.as_str())), "{name}");
    }
    let mut bytes = payload(&levels);
    let start = bytes.len() - 32 - levels.body_len();
    bytes[start..start + 4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    reseal(&levels, &mut bytes);
    assert_eq!(reason(&bytes, &expect(&levels)), Some(Reason::Value), "level");

    let format = dense(4);
    for bad in [f32::NAN, f32::NEG_INFINITY, 2e9] {
        let body = [1.0, bad, 2.0, 3.0f32].map(f32::to_le_bytes).concat();
        let bytes = seal(&format, &address(3, "a", BASE), [body.as_slice()], None).unwrap();
        assert_eq!(reason(&bytes, &expect(&format)), Some(Reason::Value));
    }
}

#[test]
fn other_tensors_of_the_same_size() {
    let format = |name: &str, shape: &[usize]| {
        Format::new(Codec::Dense, DivideBy::Peers, vec![TensorEntry::of(name, shape, 64).unwrap()]).unwrap()
    };
    let ours = format("w", &[6]);
    for theirs in [format("v", &[6]), format("w", &[7])] {
        let body = vec![0; theirs.body_len()];
        let bytes = seal(&theirs, &address(3, "a", BASE), [body.as_slice()], None).unwrap();
        assert_eq!(reason(&bytes, &expect(&theirs)), None);
        assert_eq!(reason(&bytes, &expect(&ours)), Some(Reason::TableMismatch));
    }
    let sparse = sparse(Quantizer::None, IndexCodec::EliasFano);
    assert_eq!(reason(&payload(&sparse), &expect(&ours)), Some(Reason::Codec));
}

#[test]
fn signatures() {
    let format = dense(4);
    let [mine, other] = [1, 2].map(|seed| SigningKey::from_bytes(&[seed; 32]));
    let public = mine.verifying_key().to_bytes();
    let body = [0; 16];
    let seal = |key| seal(&format, &address(3, "a", BASE), [&body[..]], key).unwrap();
    let expect = Expect { key: Some(&public), ..expect(&format) };
    let signed = seal(Some(&mine));
    assert_eq!(signed.len(), format.payload_len(true));
    assert_eq!(reason(&signed, &expect), None);
    assert_eq!(reason(&seal(None), &expect), Some(Reason::Unsigned));
    assert_eq!(reason(&seal(Some(&other)), &expect), Some(Reason::Signer));
    let mut forged = signed.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(reason(&forged, &expect), Some(Reason::Signature));
    assert_eq!(failed_check(&inspect(&forged)), Some(("signature", "SIGNATURE")));
    // Another's payload under one's own name: the signature is of all that is in it.
    let mut renamed = signed.clone();
    renamed[128] = b'b';
    let end = renamed.len() - 96;
    let hash = Hash::of(&renamed[..end]);
    renamed[end..end + 32].copy_from_slice(&hash.0);
    assert_eq!(reason(&renamed, &Expect { peer: Some("b"), ..expect }), Some(Reason::Signature));
    // A key that is no point of the curve, or one of small order, under which a signature may fit anything.
    for weak in [[0xFF; 32], std::array::from_fn(|i| u8::from(i == 0))] {
        let mut bytes = signed.clone();
        bytes[256..288].copy_from_slice(&weak);
        let hash = Hash::of(&bytes[..end]);
        bytes[end..end + 32].copy_from_slice(&hash.0);
        assert_eq!(reason(&bytes, &Expect { key: Some(&weak), ..expect }), Some(Reason::Signature));
    }
    let moved = readdress(&signed, &address(4, "a", BASE), Some(&mine)).unwrap();
    assert_eq!(reason(&moved, &Expect { round: Some(4), ..expect }), None);
}

#[test]
fn a_refusal_is_a_typed_error() {
    let format = dense(4);
    let bytes = seal(&format, &address(2, "a", BASE), [&[0; 16][..]], None).unwrap();
    let e = Error::from(Payload::open(&bytes, &expect(&format)).unwrap_err());
    assert_eq!(e.code(), Code::JobMismatch);
    assert_eq!(e.to_string(), "the payload is refused: OTHER_ROUND: a payload of round 2");
    let names: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|r| r.as_str()).collect();
    assert_eq!(names.len(), Reason::ALL.len());
}

#[test]
fn what_cannot_be_sealed() {
    let format = dense(4);
    let code = |bodies: Vec<&[u8]>| seal(&format, &address(0, "a", BASE), bodies, None).map_err(|e| e.code());
    assert_eq!(code(vec![&[0; 15]]), Err(Code::ShapeMismatch));
    assert_eq!(code(vec![]), Err(Code::ShapeMismatch));
    assert_eq!(code(vec![&[0; 16], &[0; 16]]), Err(Code::ShapeMismatch));
    let twice = || TensorEntry::of("w", &[4], 64).unwrap();
    let e = Format::new(Codec::Dense, DivideBy::Peers, vec![twice(), twice()]).unwrap_err();
    assert_eq!(e.code(), Code::InvalidArgument);
    assert!(Format::new(Codec::Dense, DivideBy::Peers, vec![]).is_err());
    assert!(TensorEntry::of("", &[4], 64).is_err());
    let layout = PayloadLayout::new(32, 4, Quantizer::None, IndexCodec::Packed12).unwrap();
    assert!(Format::new(Codec::Sparse(layout), DivideBy::Peers, vec![twice()]).is_err(), "longer chunks");
}
