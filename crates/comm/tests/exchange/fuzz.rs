//! A million mutated payloads: each is refused or decodes within bounds, and none panics.

use gristmill_comm::wire::{Codec, Expect, Payload, inspect};
use gristmill_core::payload::{IndexCodec, LARGEST, Quantizer};

use crate::support::*;

/// A sequence of random numbers.
struct Dice(u64, u64);

impl Dice {
    fn throw(&mut self, below: usize) -> usize {
        self.1 += 1;
        (random(self.0, self.1) % below as u64) as usize
    }
}

/// Changes some bytes, in ways that a parser is likely to trip over.
fn mutate(bytes: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..=dice.throw(4) {
        let at = match dice.throw(3) {
            0 => dice.throw(bytes.len().min(HEADER)),
            _ => dice.throw(bytes.len()),
        };
        match dice.throw(7) {
            0 => bytes[at] ^= 1 << dice.throw(8),
            1 => bytes[at] = [0, 1, 0x7F, 0x80, 0xFF][dice.throw(5)],
            2 => bytes[at] = dice.throw(256) as u8,
            3 => {
                let n = [2, 4, 8][dice.throw(3)].min(bytes.len() - at);
                bytes[at..at + n].fill([0, 0xFF][dice.throw(2)]);
            }
            4 => {
                let from = dice.throw(bytes.len());
                let n = dice.throw(16).min(bytes.len() - at.max(from));
                bytes.copy_within(from..from + n, at);
            }
            5 if dice.throw(8) == 0 => bytes.truncate(at.max(1)),
            6 if dice.throw(8) == 0 => bytes.insert(at, dice.throw(256) as u8),
            _ => bytes[at] = bytes[at].wrapping_add(1),
        }
    }
}

#[test]
fn a_million_mutations() {
    const TRIES: usize = 1_000_000;
    let seed = std::env::var("GRISTMILL_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let formats: Vec<_> = Quantizer::ALL
        .iter()
        .flat_map(|&q| IndexCodec::ALL.iter().map(move |&c| sparse(q, c)))
        .chain([dense(40)])
        .collect();
    let good: Vec<_> = formats
        .iter()
        .map(|format| match format.codec() {
            Codec::Sparse(_) => payload(format),
            Codec::Dense => {
                let open = dense_payload(format, BASE, &[1.5; 40]);
                gristmill_comm::wire::address(&open, &address(3, "a", BASE), None).unwrap()
            }
        })
        .collect();
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get().min(8));
    let counts = std::thread::scope(|s| {
        let run = |t: usize| {
            let (formats, good) = (&formats, &good);
            s.spawn(move || {
                let mut dice = Dice(seed + t as u64, 0);
                let mut counts = [0usize; 3];
                for i in (t..TRIES).step_by(threads) {
                    let (format, good) = (&formats[i % formats.len()], &good[i % good.len()]);
                    let mut bytes = good.clone();
                    mutate(&mut bytes, &mut dice);
                    // Half of them with hashes that fit, so that the checks behind these are reached.
                    let sealed = i / formats.len() % 2 == 0 && bytes.len() == good.len();
                    if sealed {
                        reseal(format, &mut bytes);
                    }
                    let expect = Expect {
                        run: Some("run-7"),
                        round: Some(3),
                        peer: Some("a"),
                        base: Some(BASE),
                        ..Expect::format(format)
                    };
                    let opened = Payload::open(&bytes, &expect);
                    match &opened {
                        Ok(_) if bytes == *good => counts[0] += 1,
                        Ok(payload) => {
                            assert!(sealed, "a change that no hash shows");
                            assert_eq!(payload.tensors().map(<[u8]>::len).sum::<usize>(), format.body_len());
                            counts[1] += 1;
                        }
                        Err(_) => counts[2] += 1,
                    }
                    if i % 8 == 0 {
                        let report = inspect(&bytes);
                        assert!(report.ok || opened.is_err());
                        let most = f64::from(LARGEST) * (format.values() as f64).sqrt();
                        assert!(report.norm.is_none_or(|norm| norm <= most || opened.is_err()));
                    }
                }
                counts
            })
        };
        let threads: Vec<_> = (0..threads).map(run).collect();
        threads
            .into_iter()
            .map(|t| t.join().unwrap())
            .fold([0; 3], |a, b| [a[0] + b[0], a[1] + b[1], a[2] + b[2]])
    });
    let [same, taken, refused] = counts;
    println!("{same} unchanged, {taken} that say something else and are well-formed, {refused} refused");
    assert_eq!(same + taken + refused, TRIES);
    assert!(taken > TRIES / 100 && refused > TRIES / 2);
}

#[test]
fn bytes_at_random() {
    let format = dense(40);
    let mut dice = Dice(5, 0);
    for len in 0..3000 {
        let mut bytes: Vec<u8> = (0..len).map(|_| dice.throw(256) as u8).collect();
        assert!(Payload::open(&bytes, &Expect::format(&format)).is_err());
        assert!(!inspect(&bytes).ok);
        // Behind a good magic and version.
        let start = b"\x89GRIST\r\n\x01\x00";
        let n = len.min(start.len());
        bytes[..n].copy_from_slice(&start[..n]);
        assert!(Payload::open(&bytes, &Expect::format(&format)).is_err());
        assert!(!inspect(&bytes).ok);
    }
}
