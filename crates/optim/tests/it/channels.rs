//! APOLLO and Fira: as they are written down, and what is known of them.

use gristmill_core::{Code, DType, Device, Tensor};
use gristmill_optim::linalg::orthonormalize;
use gristmill_optim::{
    Algorithm, ApolloOptions, FiraOptions, GaLoreOptions, Group, Optimizer, OptimizerOptions, ProjType,
    Projector, RandomProjector, Refresh, ScaleType, StateType,
};
use serde::Deserialize;
use std::collections::BTreeMap;

use crate::{devices, distance, host, numbers, one, tensor};

const LR: f64 = 0.01;
const DECAY: f64 = 0.1;
const SHAPES: [[usize; 2]; 3] = [[20, 12], [12, 20], [9, 9]];

/// What of both papers there is to choose.
#[derive(Clone, Copy, Debug, Default)]
struct Variant {
    whole: bool,
    front: bool,
    unlimited: bool,
    /// Fira, with this factor.
    alpha: Option<f64>,
    parity: bool,
}

/// The algorithms of both papers, entry by entry in `f64`, for a basis `p` of `[side, rank]` that stays. Beside the weight,
/// the norms of what it moved by along the channels, before the learning rate.
fn literal(
    weight: &[f32],
    [rows, columns]: [usize; 2],
    p: &[f32],
    rank: usize,
    gradients: &[Vec<f32>],
    scale: f64,
    v: Variant,
) -> (Vec<f32>, Vec<f64>) {
    let right = rows >= columns;
    let (channels, side) = if right { (rows, columns) } else { (columns, rows) };
    // Entry k of channel c of a matrix in the weight's layout.
    let at = |c: usize, k: usize| if right { c * columns + k } else { k * columns + c };
    let p = |k: usize, d: usize| f64::from(p[k * rank + d]);
    let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
    let mut w: Vec<f64> = weight.iter().map(|&x| x.into()).collect();
    let (mut m, mut s) = (vec![0.0; channels * rank], vec![0.0; channels * rank]);
    let (mut previous, mut sizes) = (None, Vec::new());
    for (before, g) in gradients.iter().enumerate() {
        let t = before as i32 + 1;
        let g = |c: usize, k: usize| f64::from(g[at(c, k)]);
        let (first, second) = (1.0 - 0.9f64.powi(t), (1.0 - 0.999f64.powi(t)).sqrt());
        let eps = if v.parity { 1e-6 } else { 1e-6 * second };
        let (mut r, mut n) = (vec![0.0; channels * rank], vec![0.0; channels * rank]);
        for c in 0..channels {
            for d in 0..rank {
                let i = c * rank + d;
                r[i] = (0..side).map(|k| g(c, k) * p(k, d)).sum::<f64>();
                m[i] = 0.9 * m[i] + 0.1 * r[i];
                s[i] = 0.999 * s[i] + 0.001 * r[i] * r[i];
                n[i] = m[i] / (s[i].sqrt() + eps);
            }
        }
        let back = |x: &[f64], c: usize, k: usize| (0..rank).map(|d| x[c * rank + d] * p(k, d)).sum::<f64>();
        let mut d = vec![0.0; channels * side];
        for c in 0..channels {
            let of = |x: &[f64]| if v.whole { norm(x) } else { norm(&x[c * rank..][..rank]) };
            let factor = of(&n) / (of(&r) + 1e-8);
            for k in 0..side {
                let scaled = g(c, k) - v.alpha.map_or(0.0, |alpha| alpha * back(&r, c, k));
                d[c * side + k] = factor * scaled;
            }
        }
        if v.front {
            d.iter_mut().for_each(|x| *x *= scale.sqrt());
        }
        if !v.unlimited {
            if let Some(previous) = previous {
                let limit: f64 = norm(&d) / (previous + 1e-8);
                let limit = limit.max(1.01) / 1.01;
                d.iter_mut().for_each(|x| *x /= limit);
            }
            previous = Some(norm(&d));
        }
        sizes.push(norm(&d));
        if !v.front {
            d.iter_mut().for_each(|x| *x *= scale.sqrt());
        }
        let step = LR * second / first;
        for c in 0..channels {
            for k in 0..side {
                let inside = v.alpha.map_or(0.0, |alpha| alpha * back(&n, c, k));
                let w = &mut w[at(c, k)];
                let by = step * (d[c * side + k] + inside);
                *w = if v.parity { (1.0 - LR * DECAY) * (*w - by) } else { (1.0 - LR * DECAY) * *w - by };
            }
        }
    }
    (w.iter().map(|&x| x as f32).collect(), sizes)
}

/// Gradients of which later ones are larger and go one way, so that the limiter has something to do.
fn gradients([rows, columns]: [usize; 2], count: u64) -> Vec<Vec<f32>> {
    let one = |t: u64| numbers(300 + t.min(4), rows * columns).iter().map(|x| x * (1.0 + t as f32)).collect();
    (0..count).map(one).collect()
}

fn optimizer(device: &Device, algorithm: Algorithm, weight: &Tensor, parity: bool) -> Optimizer {
    let mut group = Group::new(algorithm, vec![("w".into(), weight.clone())]);
    (group.adam.lr, group.adam.eps, group.adam.weight_decay) = (LR, 1e-6, DECAY);
    let options = OptimizerOptions { parity, ..OptimizerOptions::default() };
    Optimizer::new(device, vec![group], options).unwrap()
}

/// Weights after these steps, from a basis that is given.
fn run(
    device: &Device,
    algorithm: Algorithm,
    shape: [usize; 2],
    p: &Tensor,
    gradients: &[Vec<f32>],
    parity: bool,
) -> Vec<f32> {
    let weight = tensor(device, 1, &shape);
    let mut optimizer = optimizer(device, algorithm, &weight, parity);
    optimizer.set_projector("w", std::slice::from_ref(p)).unwrap();
    for gradient in gradients {
        let report = optimizer.step(&[device.tensor(gradient.clone(), shape).unwrap()]).unwrap();
        assert!(report.applied && report.refreshed == 0);
    }
    host(&weight)
}

#[test]
fn apollo_is_as_written_down() {
    for device in devices() {
        for shape in SHAPES {
            let side = shape[0].min(shape[1]);
            let start = host(&tensor(&device, 1, &shape));
            for (i, variant) in [
                Variant::default(),
                Variant { parity: true, ..Variant::default() },
                Variant { whole: true, ..Variant::default() },
                Variant { front: true, parity: true, ..Variant::default() },
                Variant { unlimited: true, ..Variant::default() },
                Variant { whole: true, front: true, ..Variant::default() },
            ]
            .into_iter()
            .enumerate()
            {
                let (rank, scale) = if variant.whole { (1, 128.0) } else { (4, 0.25 * (i + 1) as f64) };
                let p = tensor(&device, 7, &[side, rank]);
                let options = ApolloOptions {
                    rank,
                    scale,
                    scale_type: if variant.whole { ScaleType::Tensor } else { ScaleType::Channel },
                    scale_front: variant.front,
                    disable_nl: variant.unlimited,
                    projector: RandomProjector::Given,
                    ..ApolloOptions::default()
                };
                let gradients = gradients(shape, 9);
                let got = run(&device, Algorithm::Apollo(options), shape, &p, &gradients, variant.parity);
                let (want, _) = literal(&start, shape, &host(&p), rank, &gradients, scale, variant);
                let far = distance(&got, &want);
                assert!(far < 1e-5, "{shape:?} {variant:?}: {far:e}");
            }
        }
    }
}

#[test]
fn fira_is_as_written_down() {
    for device in devices() {
        for shape in SHAPES {
            let side = shape[0].min(shape[1]);
            let start = host(&tensor(&device, 1, &shape));
            let skewed = tensor(&device, 7, &[side, 4]);
            let basis = orthonormalize(&skewed).unwrap();
            for (p, alpha, variant) in [
                (&basis, 0.25, Variant::default()),
                (&basis, 1.0, Variant { parity: true, ..Variant::default() }),
                (&basis, 0.5, Variant { unlimited: true, ..Variant::default() }),
                // As after rounding to few bits, and worse.
                (&skewed, 0.75, Variant::default()),
            ] {
                let variant = Variant { alpha: Some(alpha), ..variant };
                let options = FiraOptions {
                    rank: 4,
                    scale: alpha,
                    refresh: Refresh::Given,
                    disable_nl: variant.unlimited,
                    ..FiraOptions::default()
                };
                let gradients = gradients(shape, 9);
                let got = run(&device, Algorithm::Fira(options), shape, p, &gradients, variant.parity);
                let (want, _) = literal(&start, shape, &host(p), 4, &gradients, 1.0, variant);
                let far = distance(&got, &want);
                assert!(far < 2e-5, "{shape:?} {variant:?}: {far:e}");
            }
        }
    }
}

#[test]
fn a_basis_that_was_found_is_as_good_as_one_that_was_given() {
    for device in devices() {
        for (shape, projector) in
            [([20, 12], Projector::F32), ([12, 20], Projector::Bf16), ([20, 12], Projector::Int4)]
        {
            let weights = [0, 1].map(|_| tensor(&device, 1, &shape));
            let found = FiraOptions { rank: 4, projector, ..FiraOptions::default() };
            let given = FiraOptions { refresh: Refresh::Given, projector: Projector::F32, ..found };
            let mut found = optimizer(&device, Algorithm::Fira(found), &weights[0], false);
            let mut given = optimizer(&device, Algorithm::Fira(given), &weights[1], false);
            for (t, gradient) in gradients(shape, 4).into_iter().enumerate() {
                let gradient = device.tensor(gradient, shape).unwrap();
                found.step(std::slice::from_ref(&gradient)).unwrap();
                if t == 0 {
                    let basis = found.projector("w").unwrap()[0].cast(DType::F32).unwrap();
                    given.set_projector("w", &[basis]).unwrap();
                }
                given.step(&[gradient]).unwrap();
            }
            let far = distance(&host(&weights[0]), &host(&weights[1]));
            assert!(far < 1e-5, "{projector:?}: {far:e}");
        }
    }
}

#[test]
fn a_packed_basis_of_galore_does_what_its_numbers_do() {
    for device in devices() {
        for (shape, proj_type) in
            [([40, 30], ProjType::Std), ([30, 40], ProjType::Std), ([40, 30], ProjType::Full)]
        {
            let weights = [0, 1].map(|_| tensor(&device, 1, &shape));
            let packed =
                GaLoreOptions { rank: 11, proj_type, projector: Projector::Int4, ..Default::default() };
            let given = GaLoreOptions { refresh: Refresh::Given, projector: Projector::F32, ..packed };
            let mut packed = optimizer(&device, Algorithm::GaLore(packed), &weights[0], false);
            let mut given = optimizer(&device, Algorithm::GaLore(given), &weights[1], false);
            for (t, gradient) in gradients(shape, 4).into_iter().enumerate() {
                let gradient = device.tensor(gradient, shape).unwrap();
                packed.step(std::slice::from_ref(&gradient)).unwrap();
                if t == 0 {
                    given.set_projector("w", &packed.projector("w").unwrap()).unwrap();
                }
                given.step(&[gradient]).unwrap();
            }
            assert_eq!(host(&weights[0]), host(&weights[1]), "{shape:?} {proj_type:?}");
        }
    }
}

#[test]
fn one_channel_is_the_whole() {
    for device in devices() {
        let apollo = |scale_type, p: &Tensor, shape: [usize; 2], gradients: &[Vec<f32>]| {
            let projector = RandomProjector::Given;
            let options = ApolloOptions { rank: 3, scale_type, projector, ..ApolloOptions::default() };
            run(&device, Algorithm::Apollo(options), shape, p, gradients, false)
        };
        // A single channel, and several of which one has all of the gradient.
        let only_third = |mut g: Vec<f32>| {
            g.iter_mut().enumerate().for_each(|(i, x)| *x = if i / 5 == 2 { *x } else { 0.0 });
            g
        };
        let third: Vec<_> = gradients([8, 5], 6).into_iter().map(only_third).collect();
        for (shape, gradients) in [([1, 1], gradients([1, 1], 6)), ([8, 5], third)] {
            let p = tensor(&device, 7, &[shape[1], 3.min(shape[1])]);
            let each = apollo(ScaleType::Channel, &p, shape, &gradients);
            let whole = apollo(ScaleType::Tensor, &p, shape, &gradients);
            assert!(distance(&each, &whole) < 1e-6, "{shape:?}");
        }
    }
}

#[test]
fn updates_grow_by_one_percent_at_the_most() {
    let shape = [20, 12];
    for device in devices() {
        let p = orthonormalize(&tensor(&device, 7, &[12, 4])).unwrap();
        let gradients = gradients(shape, 12);
        let start = host(&tensor(&device, 1, &shape));
        let grown = |unlimited| {
            let variant = Variant { unlimited, alpha: Some(0.5), ..Variant::default() };
            let (_, sizes) = literal(&start, shape, &host(&p), 4, &gradients, 1.0, variant);
            sizes.windows(2).map(|w| w[1] / w[0]).fold(0.0, f64::max)
        };
        let (free, limited) = (grown(true), grown(false));
        assert!(free > 1.05 && limited < 1.01 * (1.0 + 1e-6), "{free} {limited}");
        // The size that is kept in a state is that of the update.
        let weight = tensor(&device, 1, &shape);
        let options =
            ApolloOptions { rank: 4, projector: RandomProjector::Given, ..ApolloOptions::default() };
        let mut optimizer = optimizer(&device, Algorithm::Apollo(options), &weight, false);
        optimizer.set_projector("w", std::slice::from_ref(&p)).unwrap();
        let mut sizes: Vec<f64> = Vec::new();
        for gradient in &gradients {
            optimizer.step(&[device.tensor(gradient.clone(), shape).unwrap()]).unwrap();
            let saved = optimizer.save().unwrap();
            // Behind the moments, before the basis.
            let end = saved.len() - 4 * 12 * 4;
            sizes.push(f32::from_le_bytes(saved[end - 4..end].try_into().unwrap()).into());
        }
        let (_, want) = literal(&start, shape, &host(&p), 4, &gradients, 1.0, Variant::default());
        for (got, want) in sizes.iter().zip(&want) {
            assert!((got / want - 1.0).abs() < 1e-5, "{sizes:?} {want:?}");
        }
        assert!(sizes.windows(2).all(|w| w[1] <= w[0] * 1.01 * (1.0 + 1e-6)));
    }
}

#[test]
fn after_a_gradient_of_zeros_updates_have_their_size_again() {
    let device = gristmill_cpu::open().unwrap();
    let weight = tensor(&device, 1, &[20, 12]);
    let mut optimizer = one(
        &device,
        Algorithm::Apollo(ApolloOptions { rank: 4, ..ApolloOptions::default() }),
        &weight,
        |group| group.adam.lr = LR,
    );
    let gradient = tensor(&device, 2, &[20, 12]);
    let moved = |optimizer: &mut Optimizer, gradient: &Tensor| {
        let before = host(&weight);
        optimizer.step(std::slice::from_ref(gradient)).unwrap();
        host(&weight).iter().zip(before).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
    };
    let first = moved(&mut optimizer, &gradient);
    assert_eq!(moved(&mut optimizer, &device.zeros(DType::F32, [20, 12]).unwrap()), 0.0);
    let then = moved(&mut optimizer, &gradient);
    assert!(then > first / 4.0, "{first} {then}");
}

#[test]
fn random_bases_come_from_seeds_and_change_with_the_gap() {
    for device in devices() {
        let shape = [64, 40];
        let make = |projector, seed, start: u64| {
            let options =
                ApolloOptions { rank: 16, update_proj_gap: 3, projector, ..ApolloOptions::default() };
            let weight = tensor(&device, start, &shape);
            let group = Group::new(Algorithm::Apollo(options), vec![("w".into(), weight.clone())]);
            let shared = OptimizerOptions { seed, ..OptimizerOptions::default() };
            (Optimizer::new(&device, vec![group], shared).unwrap(), weight)
        };
        let (mut seeded, a) = make(RandomProjector::Seeded, 5, 1);
        let (mut stored, b) = make(RandomProjector::F32, 5, 1);
        let (mut other, c) = make(RandomProjector::Seeded, 6, 1);
        let (mut bases, mut refreshed) = (Vec::new(), Vec::new());
        for t in 0..7 {
            let gradient = tensor(&device, 20 + t, &shape);
            refreshed.push(seeded.step(std::slice::from_ref(&gradient)).unwrap().refreshed);
            stored.step(std::slice::from_ref(&gradient)).unwrap();
            other.step(&[gradient]).unwrap();
            bases.push(host(&seeded.projector("w").unwrap()[0]));
        }
        assert_eq!(refreshed, [1, 0, 0, 1, 0, 0, 1]);
        assert_eq!(host(&a), host(&b), "drawn again, it is the same");
        assert_ne!(host(&a), host(&c));
        assert!(bases[0] == bases[2] && bases[0] != bases[3] && bases[3] != bases[6]);
        for basis in &bases {
            let variance = basis.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / basis.len() as f64;
            assert!((variance * 16.0 - 1.0).abs() < 0.2, "{variance}");
        }
        let (seeded, stored) = (seeded.memory(), stored.memory());
        assert_eq!((seeded.projectors, stored.projectors), (0, 4 * 40 * 16));
        assert_eq!((seeded.moments, seeded.scales), (8 * 64 * 16, 4));
    }
}

#[test]
fn weights_of_bf16_move_as_those_of_f32() {
    for device in devices() {
        let fira = FiraOptions { rank: 6, ..FiraOptions::default() };
        for algorithm in [
            Algorithm::Apollo(ApolloOptions { rank: 6, ..ApolloOptions::default() }),
            Algorithm::Apollo(ApolloOptions::mini()),
            Algorithm::Fira(fira),
            Algorithm::Fira(FiraOptions { proj_type: ProjType::ReverseStd, ..fira }),
        ] {
            for shape in [[40, 30], [30, 40]] {
                let moved = |dtype: DType| {
                    let weight = tensor(&device, 1, &shape).cast(DType::Bf16).unwrap();
                    let weight = weight.cast(DType::F32).unwrap().cast(dtype).unwrap();
                    let before = host(&weight.cast(DType::F32).unwrap());
                    let mut optimizer = one(&device, algorithm, &weight, |group| {
                        (group.adam.lr, group.adam.state) = (0.02, StateType::F32);
                    });
                    for t in 0..8 {
                        let gradient = tensor(&device, 40 + t, &shape).cast(DType::Bf16).unwrap();
                        optimizer.step(&[gradient]).unwrap();
                    }
                    let after = host(&weight.cast(DType::F32).unwrap());
                    after.iter().zip(before).map(|(a, b)| f64::from(a - b)).collect::<Vec<_>>()
                };
                let (full, half) = (moved(DType::F32), moved(DType::Bf16));
                let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                let cosine = dot(&full, &half) / (dot(&full, &full) * dot(&half, &half)).sqrt();
                assert!(cosine > 0.99, "{algorithm:?} {shape:?} {cosine}");
            }
        }
    }
}

#[test]
fn clipped_gradients_move_weights_as_smaller_ones() {
    for device in devices() {
        let fira = Algorithm::Fira(FiraOptions { rank: 4, ..FiraOptions::default() });
        for algorithm in [Algorithm::Apollo(ApolloOptions { rank: 4, ..ApolloOptions::default() }), fira] {
            let run = |max_grad_norm: Option<f64>| {
                let weight = tensor(&device, 1, &[20, 12]);
                let group = Group::new(algorithm, vec![("w".into(), weight.clone())]);
                let shared = OptimizerOptions { max_grad_norm, ..OptimizerOptions::default() };
                let mut optimizer = Optimizer::new(&device, vec![group], shared).unwrap();
                for t in 0..5 {
                    let gradient = tensor(&device, 20 + t, &[20, 12]);
                    // Without a limit, the same that clipping does.
                    let norm = host(&gradient).iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
                    let by = if max_grad_norm.is_some() { 1.0 } else { (0.25 / (norm + 1e-6)) as f32 };
                    optimizer.step(&[gradient.scale(by).unwrap()]).unwrap();
                }
                host(&weight)
            };
            let far = distance(&run(Some(0.25)), &run(None));
            assert!(far < 1e-5, "{} {far:e}", algorithm.name());
        }
    }
}

#[test]
fn what_apollo_and_fira_cannot_do_is_refused_by_name() {
    let device = gristmill_cpu::open().unwrap();
    let weight = tensor(&device, 1, &[8, 6]);
    let make = |algorithm| {
        let group = Group::new(algorithm, vec![("w".into(), weight.clone())]);
        Optimizer::new(&device, vec![group], OptimizerOptions::default())
    };
    let apollo = ApolloOptions { rank: 2, ..ApolloOptions::default() };
    let fira = FiraOptions { rank: 2, ..FiraOptions::default() };
    for (algorithm, whence) in [
        (Algorithm::Apollo(ApolloOptions { rank: 0, ..apollo }), "rank"),
        (Algorithm::Apollo(ApolloOptions { update_proj_gap: 0, ..apollo }), "updateProjGap"),
        (Algorithm::Apollo(ApolloOptions { scale: -1.0, ..apollo }), "scale"),
        (Algorithm::Apollo(ApolloOptions { rank: 7, clamp_rank: false, ..apollo }), "rank"),
        (Algorithm::Fira(FiraOptions { proj_type: ProjType::Full, ..fira }), "projType"),
        (Algorithm::Fira(FiraOptions { scale: f64::NAN, ..fira }), "scale"),
        (Algorithm::Fira(FiraOptions { cos_threshold: Some(2.0), ..fira }), "cosThreshold"),
    ] {
        let error = make(algorithm).map(|_| ()).unwrap_err();
        assert_eq!(
            (error.code(), error.location().column.as_deref()),
            (Code::InvalidArgument, Some(whence)),
            "{error}"
        );
    }
    let over = make(Algorithm::Apollo(ApolloOptions { rank: 7, ..apollo })).unwrap();
    assert_eq!(over.warnings(), ["w: a rank of 7 is more than its smaller side: 6 is used"]);
    let mut seeded = make(Algorithm::Apollo(apollo)).unwrap();
    let basis = tensor(&device, 2, &[6, 2]);
    let refused = seeded.set_projector("w", std::slice::from_ref(&basis)).unwrap_err();
    assert_eq!(
        (refused.code(), refused.location().column.as_deref()),
        (Code::InvalidArgument, Some("projector"))
    );
    let mut given =
        make(Algorithm::Apollo(ApolloOptions { projector: RandomProjector::Given, ..apollo })).unwrap();
    let gradient = tensor(&device, 3, &[8, 6]);
    assert_eq!(given.step(std::slice::from_ref(&gradient)).unwrap_err().code(), Code::InvalidArgument);
    // A state of another way to keep bases, or without its seed.
    seeded.step(std::slice::from_ref(&gradient)).unwrap();
    let saved = seeded.save().unwrap();
    let foreign = seeded.import(&saved).unwrap_err();
    assert_eq!((foreign.code(), foreign.location().path.as_deref()), (Code::Unsupported, Some("w")));
    let mut stored =
        make(Algorithm::Apollo(ApolloOptions { projector: RandomProjector::F32, ..apollo })).unwrap();
    assert_eq!(stored.load(&saved).unwrap_err().code(), Code::CorruptData);
    let length = u64::from_le_bytes(saved[..8].try_into().unwrap()) as usize;
    let header = String::from_utf8(saved[8..8 + length].to_vec()).unwrap();
    let without = header.replace(",\\\"seed\\\":0}", "}");
    assert_ne!(without, header);
    let state =
        [&(without.len() as u64).to_le_bytes()[..], without.as_bytes(), &saved[8 + length..]].concat();
    assert_eq!(seeded.load(&state).unwrap_err().code(), Code::CorruptData);
}

#[derive(Deserialize)]
struct Fixture {
    lr: f64,
    eps: f64,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    name: String,
    rows: usize,
    columns: usize,
    rank: usize,
    scale: f64,
    whole: bool,
    front: bool,
    weight_decay: f64,
    projectors: BTreeMap<u64, Vec<f32>>,
    weights: BTreeMap<u64, Vec<f32>>,
}

#[test]
fn twenty_steps_equal_those_of_the_formulas_in_pytorch() {
    let fixture: Fixture = serde_json::from_str(include_str!("../fixtures/channels.json")).unwrap();
    assert_eq!(fixture.cases.len(), 6);
    for device in devices() {
        for case in &fixture.cases {
            let &Case { rows, columns, rank, scale, .. } = case;
            let fira = FiraOptions { rank, scale, refresh: Refresh::Given, ..FiraOptions::default() };
            let apollo = ApolloOptions {
                rank,
                scale,
                scale_type: if case.whole { ScaleType::Tensor } else { ScaleType::Channel },
                scale_front: case.front,
                projector: RandomProjector::Given,
                ..ApolloOptions::default()
            };
            let algorithm = match &*case.name {
                "fira" => Algorithm::Fira(fira),
                _ => Algorithm::Apollo(apollo),
            };
            let weight = tensor(&device, 1000, &[rows, columns]);
            let mut group = Group::new(algorithm, vec![("w".into(), weight.clone())]);
            (group.adam.lr, group.adam.eps) = (fixture.lr, fixture.eps);
            group.adam.weight_decay = case.weight_decay;
            let parity = OptimizerOptions { parity: true, ..OptimizerOptions::default() };
            let mut optimizer = Optimizer::new(&device, vec![group], parity).unwrap();
            for step in 0..20u8 {
                if let Some(basis) = case.projectors.get(&step.into()) {
                    let basis = device.tensor(basis.clone(), [basis.len() / rank, rank]).unwrap();
                    optimizer.set_projector("w", &[basis]).unwrap();
                }
                let gradient = tensor(&device, step.into(), &[rows, columns]);
                optimizer.step(&[gradient.scale(f32::from(1 + step % 3)).unwrap()]).unwrap();
                if let Some(expected) = case.weights.get(&(u64::from(step) + 1)) {
                    let far = distance(&host(&weight), expected);
                    assert!(far < 1e-5, "{} {rows}x{columns} after {}: {far:e}", case.name, step + 1);
                }
            }
        }
    }
}
