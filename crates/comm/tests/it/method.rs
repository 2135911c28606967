//! The methods as their users hold them: replicas stay equal, nothing is lost, and it learns.

use gristmill_comm::method::{
    Blocks, DeMo, DeMoOptions, DiLoCo, DiLoCoOptions, Method, SparseLoCo, SparseLoCoOptions,
};
use gristmill_comm::wire::{Address, Codec, DivideBy, Expect, Format, FormatSpec, Payload, address};
use gristmill_core::payload::{IndexCodec, Quantizer, settle};
use gristmill_core::rng::{Philox, uniform};
use gristmill_core::{CancelToken, Code, Control, DType, Device, Tensor};

const SHAPES: [(&str, &[usize]); 3] = [("embedding", &[130, 100]), ("norm", &[77]), ("scale", &[])];

type Named = Vec<(String, Tensor)>;

/// Standard normal numbers of a seed.
fn normal(seed: u64, n: usize) -> Vec<f32> {
    let random = Philox::new(seed, 9);
    let unit = |i: usize| f64::from(uniform(random.bits(i as u64)));
    let one = |i| (-2.0 * unit(2 * i).ln()).sqrt() * (std::f64::consts::TAU * unit(2 * i + 1)).cos();
    (0..n).map(|i| one(i) as f32).collect()
}

fn params(device: &Device, seed: u64) -> Named {
    let tensor = |(i, (name, shape)): (usize, (&str, &[usize]))| {
        let values = normal(seed + i as u64 * 1000, shape.iter().product());
        (name.to_owned(), device.tensor(values, shape.to_vec()).unwrap())
    };
    SHAPES.into_iter().enumerate().map(tensor).collect()
}

fn tensors(device: &Device, seed: u64) -> Vec<Tensor> {
    params(device, seed).into_iter().map(|p| p.1).collect()
}

fn bits(tensors: &[Tensor]) -> Vec<Vec<u8>> {
    tensors.iter().map(|t| t.read().unwrap()).collect()
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.to_vec().unwrap()
}

fn loco(device: &Device, start: &Named, options: &SparseLoCoOptions) -> SparseLoCo {
    SparseLoCo::new(device, start, options.clone()).unwrap()
}

/// Nobody stops it.
fn free() -> Control {
    Control::default()
}

#[test]
fn replicas_stay_equal_whatever_the_order_of_arrival() {
    let device = gristmill_cpu::open().unwrap();
    let start = params(&device, 1);
    for (i, &quantizer) in Quantizer::ALL.iter().enumerate() {
        let options = SparseLoCoOptions { quantizer, indices: IndexCodec::ALL[i % 2], ..Default::default() };
        let mut peers: Vec<_> = (0..5).map(|_| loco(&device, &start, &options)).collect();
        for round in 0..3 {
            let mut payloads: Vec<Vec<u8>> = Vec::new();
            for (i, peer) in peers.iter_mut().enumerate() {
                payloads.push(peer.encode(&tensors(&device, 100 * round + i as u64), &free()).unwrap());
            }
            let before = bits(peers[0].params());
            for (i, peer) in peers.iter_mut().enumerate() {
                payloads.rotate_left(i);
                peer.apply(&payloads, &free()).unwrap();
            }
            let after = bits(peers[0].params());
            assert_ne!(before, after);
            assert!(peers.iter().all(|p| bits(p.params()) == after), "{quantizer:?}");
        }
        let metering = peers[0].metering();
        assert_eq!((metering.encoded, metering.applied), (3, 3));
        assert!(metering.bytes_down >= 5 * metering.bytes_up && metering.density > 0.0);
        assert!(peers[0].residual_norm().unwrap().unwrap() > 0.0);
    }
    // The caller's own tensors are as they were.
    assert_eq!(bits(&tensors(&device, 1)), start.iter().map(|p| p.1.read().unwrap()).collect::<Vec<_>>());
}

/// What a payload leaves of these values of a tensor.
fn without(payload: &[u8], peer: &SparseLoCo, i: usize, mut values: Vec<f32>) -> Vec<f32> {
    let format = peer.format();
    let opened = Payload::open(payload, &Expect::format(format)).unwrap();
    let Codec::Sparse(layout) = *format.codec() else { panic!("a dense payload") };
    let chunking = format.tensors()[i].chunking();
    let bytes = opened.tensor(i).as_chunks::<4>().0;
    let word = |w: usize| u32::from_le_bytes(bytes[w]);
    let levels = layout.check_levels(&word).unwrap();
    for c in 0..chunking.chunks() {
        let at = layout.tensor_words() + c * layout.words_per_chunk();
        let chunk = chunking.chunk(c);
        let take = |p: usize, v: f32| {
            let (row, column) = (chunk.row + p / chunk.columns, chunk.column + p % chunk.columns);
            let x = &mut values[row * chunking.columns() + column];
            *x = settle(*x - v);
        };
        layout.decode_chunk(&|w| word(at + w), chunk.elements(), &levels, take).unwrap();
    }
    values
}

#[test]
fn what_is_not_sent_is_kept_and_comes_with_the_next_round() {
    let device = gristmill_cpu::open().unwrap();
    let start = params(&device, 1);
    for &quantizer in Quantizer::ALL {
        let options = SparseLoCoOptions { quantizer, ..Default::default() };
        let mut peer = loco(&device, &start, &options);
        let mut kept: Vec<Vec<f32>> = start.iter().map(|(_, t)| vec![0.0; t.len()]).collect();
        for round in 0..3 {
            let local = tensors(&device, 50 + round);
            let payload = peer.encode(&local, &free()).unwrap();
            for (i, kept) in kept.iter_mut().enumerate() {
                let moved = numbers(&peer.params()[i]).into_iter().zip(numbers(&local[i]));
                let all = moved.zip(&*kept).map(|((b, l), e)| settle(settle(0.95f32 * e) + settle(b - l)));
                *kept = without(&payload, &peer, i, all.collect());
                assert_eq!(numbers(&peer.residual()[i]), *kept, "{quantizer:?} {round} {i}");
            }
        }
    }
}

#[test]
fn a_diverged_peer_says_where_and_loses_nothing() {
    let device = gristmill_cpu::open().unwrap();
    let mut peer = loco(&device, &params(&device, 1), &SparseLoCoOptions::default());
    peer.encode(&tensors(&device, 2), &free()).unwrap();
    let before = (bits(peer.residual()), bits(peer.params()));
    for wrong in [f32::NAN, f32::INFINITY, -3e9] {
        let mut local = tensors(&device, 3);
        let mut values = numbers(&local[0]);
        values[129 * 100 + 70] = wrong;
        local[0] = device.tensor(values, [130, 100]).unwrap();
        let e = peer.encode(&local, &free()).unwrap_err();
        assert_eq!(
            (e.code(), e.location().column.as_deref()),
            (Code::InvalidValue, Some("embedding")),
            "{e}"
        );
        assert!(e.location().row.is_some() && e.hint_text().is_some());
        assert_eq!((bits(peer.residual()), bits(peer.params())), before);
    }
    assert!(peer.encode(&tensors(&device, 3), &free()).is_ok());
}

#[test]
fn a_resumed_replica_is_the_uninterrupted_one() {
    let device = gristmill_cpu::open().unwrap();
    let start = params(&device, 1);
    let methods: [&dyn Fn() -> Box<dyn Method>; 3] = [
        &|| Box::new(loco(&device, &start, &SparseLoCoOptions::default())),
        &|| Box::new(DeMo::new(&device, &start, DeMoOptions::default()).unwrap()),
        &|| Box::new(DiLoCo::new(&device, &start, DiLoCoOptions::default()).unwrap()),
    ];
    for make in methods {
        let round = |peer: &mut dyn Method, i: u64| {
            let payloads = [peer.encode(&tensors(&device, 20 + i), &free()).unwrap()];
            peer.apply(&payloads, &free()).unwrap();
            payloads
        };
        let (mut whole, mut first, mut second) = (make(), make(), make());
        for i in 0..2 {
            assert_eq!(round(&mut *whole, i), round(&mut *first, i));
        }
        let state = first.save().unwrap();
        second.load(&state).unwrap();
        for i in 2..4 {
            assert_eq!(round(&mut *whole, i), round(&mut *second, i));
        }
        assert_eq!(bits(whole.params()), bits(second.params()));
        let before = second.save().unwrap();
        assert_eq!(whole.save().unwrap(), before);
        for cut in [0, 7, 8, 60, state.len() - 1] {
            assert!(second.load(&state[..cut]).is_err(), "{cut}");
            assert_eq!(second.save().unwrap(), before);
        }
        for byte in 0..80 {
            let mut bad = state.clone();
            bad[byte] ^= 0x15;
            let _ = second.load(&bad);
        }
        let two: Named = params(&device, 1).into_iter().take(2).collect();
        let mut other = loco(&device, &two, &SparseLoCoOptions::default());
        assert_eq!(other.load(&state).unwrap_err().code(), Code::ShapeMismatch);
    }
}

#[test]
fn a_payload_that_does_not_belong_is_refused_before_anything_changes() {
    let device = gristmill_cpu::open().unwrap();
    let new = |seed: u64| loco(&device, &params(&device, seed), &SparseLoCoOptions::default());
    let (mut a, mut b, mut stranger) = (new(1), new(1), new(2));
    let good = a.encode(&tensors(&device, 3), &free()).unwrap();
    let foreign = stranger.encode(&tensors(&device, 3), &free()).unwrap();
    let before = bits(b.params());
    let mut damaged = good.clone();
    damaged[good.len() / 2] ^= 1;
    for bad in [foreign, damaged, good[..good.len() - 1].to_vec(), Vec::new()] {
        let e = b.apply(&[good.clone(), bad], &free()).unwrap_err();
        assert_eq!(e.location().row, Some(1), "{e}");
        assert_eq!(bits(b.params()), before);
    }
    assert_eq!(b.apply(&[], &free()).unwrap_err().code(), Code::EmptyInput);
    b.apply(std::slice::from_ref(&good), &free()).unwrap();
    // Once more: the parameters are no longer those that it was made from.
    let after = bits(b.params());
    assert!(b.apply(&[good], &free()).is_err());
    assert_eq!(bits(b.params()), after);
}

#[test]
fn who_shouts_is_heard_no_louder_than_the_median() {
    let device = gristmill_cpu::open().unwrap();
    let start = vec![("w".to_owned(), device.zeros(DType::F32, [4096]).unwrap())];
    let local = |scale: f32| device.tensor(normal(4, 4096).iter().map(|x| scale * x).collect(), [4096]);
    let greatest = |clip: bool| {
        let options = SparseLoCoOptions { clip, divide_by: DivideBy::Peers, ..Default::default() };
        let mut peers: Vec<_> = (0..3).map(|_| loco(&device, &start, &options)).collect();
        let say =
            |(peer, scale): (&mut SparseLoCo, f32)| peer.encode(&[local(scale).unwrap()], &free()).unwrap();
        let payloads: Vec<_> = peers.iter_mut().zip([1.0, 1.0, 1e6]).map(say).collect();
        peers[0].apply(&payloads, &free()).unwrap();
        numbers(&peers[0].params()[0]).iter().fold(0f32, |m, x| m.max(x.abs()))
    };
    assert!(greatest(false) > 1e5);
    assert!(greatest(true) < 5.0);
}

#[test]
fn sending_everything_is_plain_averaging() {
    let device = gristmill_cpu::open().unwrap();
    let start = vec![("w".to_owned(), device.tensor(normal(1, 100), [100]).unwrap())];
    let options = SparseLoCoOptions {
        chunk: 10,
        top_k: 10,
        quantizer: Quantizer::None,
        divide_by: DivideBy::Peers,
        clip: false,
        ..Default::default()
    };
    let plain = DiLoCoOptions { outer_lr: 1.0, momentum: 0.0 };
    let sparse: &dyn Fn() -> Box<dyn Method> = &|| Box::new(loco(&device, &start, &options));
    let dense: &dyn Fn() -> Box<dyn Method> = &|| Box::new(DiLoCo::new(&device, &start, plain).unwrap());
    let [a, b] = [sparse, dense].map(|make| {
        let mut peers: Vec<_> = (0..4).map(|_| make()).collect();
        let local = |i: usize| device.tensor(normal(10 + i as u64, 100), [100]).unwrap();
        let payloads: Vec<_> =
            peers.iter_mut().enumerate().map(|(i, p)| p.encode(&[local(i)], &free()).unwrap()).collect();
        peers[0].apply(&payloads, &free()).unwrap();
        numbers(&peers[0].params()[0])
    });
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5));
}

#[test]
fn payloads_of_two_rounds_or_twice_of_one_peer_are_refused() {
    let device = gristmill_cpu::open().unwrap();
    let start = params(&device, 1);
    let mut peer = loco(&device, &start, &SparseLoCoOptions::default());
    let mut say = |seed: u64, run: &str, round: u64, name: &str| {
        let payload = peer.encode(&tensors(&device, seed), &free()).unwrap();
        let base = peer.hash().unwrap();
        let to = Address { run: run.into(), round, peer: name.into(), base };
        address(&payload, &to, None).unwrap()
    };
    let first = say(3, "run", 0, "a");
    let (again, later) = (say(4, "run", 0, "a"), say(5, "run", 1, "b"));
    let (elsewhere, other) = (say(6, "walk", 0, "b"), say(7, "run", 0, "b"));
    let open = peer.encode(&tensors(&device, 8), &free()).unwrap();
    let before = bits(peer.params());
    for (bad, code, says) in [
        (again, Code::JobMismatch, "DUPLICATE"),
        (later, Code::JobMismatch, "OTHER_ROUND"),
        (elsewhere, Code::JobMismatch, "OTHER_RUN"),
    ] {
        let e = peer.apply(&[open.clone(), first.clone(), bad], &free()).unwrap_err();
        assert_eq!((e.code(), e.location().row), (code, Some(2)), "{e}");
        assert!(e.to_string().contains(says), "{e}");
        assert_eq!(bits(peer.params()), before);
    }
    peer.apply(&[first, open, other], &free()).unwrap();
}

#[test]
fn what_is_stopped_changes_nothing() {
    let device = gristmill_cpu::open().unwrap();
    let start = params(&device, 1);
    let mut peer = loco(&device, &start, &SparseLoCoOptions::default());
    let payloads = [peer.encode(&tensors(&device, 2), &free()).unwrap()];
    let before = peer.save().unwrap();
    let token = CancelToken::default();
    token.cancel();
    let stopped = Control::with_cancel(token);
    assert_eq!(peer.encode(&tensors(&device, 3), &stopped).unwrap_err().code(), Code::Aborted);
    assert_eq!(peer.apply(&payloads, &stopped).unwrap_err().code(), Code::Aborted);
    assert_eq!(peer.save().unwrap(), before);
    peer.apply(&payloads, &free()).unwrap();
}

#[test]
fn blocks_of_odd_matrices_are_chosen_by_name() {
    let device = gristmill_cpu::open().unwrap();
    let start = params(&device, 1);
    let blocks = Blocks::from([("embedding".to_owned(), [26, 50])]);
    let options = SparseLoCoOptions { blocks, ..Default::default() };
    let mut peer = loco(&device, &start, &options);
    let cut = *peer.format().tensors()[0].chunking();
    assert_eq!((cut.block_rows(), cut.block_columns(), cut.chunks()), (26, 50, 10));
    let spec = serde_json::to_string(&FormatSpec::from(peer.format())).unwrap();
    assert!(spec.contains(r#""block":[26,50]"#) && spec.matches("block").count() == 1, "{spec}");
    assert_eq!(&Format::try_from(serde_json::from_str::<FormatSpec>(&spec).unwrap()).unwrap(), peer.format());
    let payload = peer.encode(&tensors(&device, 2), &free()).unwrap();
    assert_eq!(without(&payload, &peer, 0, vec![0.0; 13_000]).iter().filter(|x| **x != 0.0).count(), 640);
    peer.apply(&[payload], &free()).unwrap();
    let wrong = |name: &str, block| {
        let options = SparseLoCoOptions { blocks: [(name.to_owned(), block)].into(), ..Default::default() };
        SparseLoCo::new(&device, &start, options).err().unwrap().location().column.clone().unwrap()
    };
    assert_eq!(wrong("head", [2, 2]), "blocks");
    assert_eq!(wrong("embedding", [0, 4]), "chunking");
    assert_eq!(wrong("embedding", [65, 64]), "chunking");
    let dense = DiLoCo::new(&device, &start, DiLoCoOptions::default()).unwrap();
    assert_eq!(&Format::try_from(FormatSpec::from(dense.format())).unwrap(), dense.format());
}

#[test]
fn the_next_local_training_starts_from_what_is_shared() {
    let device = gristmill_cpu::open().unwrap();
    let start = params(&device, 1);
    let mut peer = loco(&device, &start, &SparseLoCoOptions::default());
    let hash = peer.hash().unwrap();
    let local = tensors(&device, 2);
    let payload = peer.encode(&local, &free()).unwrap();
    peer.apply(&[payload], &free()).unwrap();
    assert_ne!(peer.hash().unwrap(), hash);
    peer.copy_to(&local).unwrap();
    assert_eq!(bits(&local), bits(peer.params()));
    assert_eq!(peer.copy_to(&local[..2]).unwrap_err().code(), Code::ShapeMismatch);
    let metering = peer.metering();
    assert!(metering.seal_seconds > 0.0 && metering.seal_seconds <= metering.encode_seconds);
    assert!(metering.verify_seconds > 0.0 && metering.verify_seconds <= metering.apply_seconds);
}

#[test]
fn options_out_of_their_range_are_named() {
    let device = gristmill_cpu::open().unwrap();
    let start = params(&device, 1);
    let refused = |options: SparseLoCoOptions| {
        let e = SparseLoCo::new(&device, &start, options).err().unwrap();
        assert_eq!(e.code(), Code::InvalidArgument);
        e.location().column.clone().unwrap()
    };
    let default = SparseLoCoOptions::default();
    assert_eq!(refused(SparseLoCoOptions { top_k: 0, ..default.clone() }), "topK");
    assert_eq!(refused(SparseLoCoOptions { top_k: 5000, ..default.clone() }), "topK");
    assert_eq!(refused(SparseLoCoOptions { chunk: 0, ..default.clone() }), "chunk");
    assert_eq!(refused(SparseLoCoOptions { outer_lr: f32::NAN, ..default.clone() }), "outerLr");
    assert_eq!(refused(SparseLoCoOptions { error_feedback: 1.5, ..default.clone() }), "errorFeedback");
    let demo = |options| DeMo::new(&device, &start, options).err().unwrap().location().column.clone();
    assert_eq!(demo(DeMoOptions { lr: -1.0, ..Default::default() }).as_deref(), Some("lr"));
    assert_eq!(demo(DeMoOptions { decay: 2.0, ..Default::default() }).as_deref(), Some("decay"));
    let mut peer = loco(&device, &start, &default);
    assert_eq!(peer.encode(&[], &free()).unwrap_err().code(), Code::ShapeMismatch);
    let mut wrong = tensors(&device, 1);
    wrong.swap(0, 1);
    assert_eq!(peer.encode(&wrong, &free()).unwrap_err().location().column.as_deref(), Some("embedding"));
}

/// Linear regression on signs, some of which say more than others, with noise that no model explains; as eight peers
/// see it.
///
/// One problem, with spreads, noise and rates chosen so that both halves of the claim show on it at once: it says that error
/// feedback does what it is for, not that 5% holds for any model. The loss that is compared has the noise in it, which
/// is 1 for everybody.
struct Problem {
    truth: Vec<f32>,
    spread: Vec<f32>,
}

const WIDTH: usize = 1024;
const PEERS: usize = 8;
const ROUNDS: usize = 150;
const STEPS: usize = 10;
const BATCH: usize = 16;
const NOISE: f32 = 1.0;
const POWER: f32 = 0.8;
const INNER_LR: f32 = 0.02;

impl Problem {
    fn new() -> Self {
        let scaled = |values: Vec<f32>, weights: &[f32], norm: f32| -> Vec<f32> {
            let squares: f32 = values.iter().zip(weights).map(|(v, w)| (v * w).powi(2)).sum();
            values.iter().map(|v| v * norm / squares.sqrt()).collect()
        };
        let power = (0..WIDTH).map(|i| (1.0 + i as f32).powf(-POWER)).collect();
        let spread = scaled(power, &[1.0; WIDTH], 8.0);
        Self { truth: scaled(normal(5, WIDTH), &spread, 1.0), spread }
    }

    /// Local training: some steps of gradient descent, each on examples of its own.
    fn train(&self, mut w: Vec<f32>, seed: u64) -> Vec<f32> {
        let random = Philox::new(seed, 3);
        let noise = normal(seed, STEPS * BATCH);
        for step in 0..STEPS {
            let mut gradient = vec![0.0; WIDTH];
            for (example, noise) in noise.iter().enumerate().skip(step * BATCH).take(BATCH) {
                let mut x = self.spread.clone();
                for (word, x) in x.chunks_mut(32).enumerate() {
                    let signs = random.bits((example * WIDTH / 32 + word) as u64);
                    x.iter_mut()
                        .enumerate()
                        .for_each(|(i, x)| *x = f32::from_bits(x.to_bits() | (signs >> i & 1) << 31));
                }
                let error: f32 = x.iter().zip(&w).zip(&self.truth).map(|((x, w), t)| x * (w - t)).sum();
                let error = (error - NOISE * noise) / BATCH as f32;
                gradient.iter_mut().zip(&x).for_each(|(g, x)| *g += error * x);
            }
            w.iter_mut().zip(&gradient).for_each(|(w, g)| *w -= INNER_LR * g);
        }
        w
    }

    /// The squared error that is expected of a new example.
    fn loss(&self, w: &[f32]) -> f32 {
        let of = |((w, t), s): ((&f32, &f32), &f32)| ((w - t) * s).powi(2);
        NOISE * NOISE + w.iter().zip(&self.truth).zip(&self.spread).map(of).sum::<f32>()
    }

    /// The loss after the rounds of a method. All replicas are equal, as other tests show, so one set of parameters
    /// stands for them, and each peer keeps what it has left unsent.
    fn run(&self, make: &dyn Fn(&Device, &Named) -> Box<dyn Method>) -> f32 {
        let device = gristmill_cpu::open().unwrap();
        let start = vec![("w".to_owned(), device.zeros(DType::F32, [WIDTH]).unwrap())];
        let mut peers: Vec<_> = (0..PEERS).map(|_| make(&device, &start)).collect();
        for round in 0..ROUNDS {
            let say = |(i, peer): (usize, &mut Box<dyn Method>)| {
                let local = self.train(numbers(&peer.params()[0]), (round * PEERS + i) as u64);
                peer.encode(&[device.tensor(local, [WIDTH]).unwrap()], &free()).unwrap()
            };
            let payloads: Vec<_> = peers.iter_mut().enumerate().map(say).collect();
            peers.iter_mut().for_each(|peer| peer.apply(&payloads, &free()).unwrap());
        }
        self.loss(&numbers(&peers[0].params()[0]))
    }
}

#[test]
fn a_sixtieth_of_the_entries_learns_as_much_as_all_of_them_but_not_without_what_was_unsent() {
    let problem = Problem::new();
    let options = SparseLoCoOptions { chunk: WIDTH, top_k: WIDTH / 64, ..Default::default() };
    let sparse =
        |options: &SparseLoCoOptions| problem.run(&|device, start| Box::new(loco(device, start, options)));
    let dense =
        problem.run(&|device, start| Box::new(DiLoCo::new(device, start, DiLoCoOptions::default()).unwrap()));
    let (with, without) =
        (sparse(&options), sparse(&SparseLoCoOptions { error_feedback: 0.0, ..options.clone() }));
    println!("DiLoCo {dense}, SparseLoCo {with}, without error feedback {without}");
    assert!(with < 1.05 * dense, "{with} against {dense}");
    assert!(without > 1.05 * dense, "{without} against {dense}");
}
