use gristmill_core::{DType, Device, Tensor};
use gristmill_optim::linalg::orthonormalize;
use gristmill_optim::{
    AdamOptions, Algorithm, ApolloOptions, CondaOptions, FiraOptions, GaLoreOptions, Group, ModelConfig,
    MuonOptions, Optimizer, OptimizerOptions, ProjType, Projector, RandomProjector, Refresh, StateType,
    memory_of,
};

use crate::{devices, distance, host, one, tensor};

fn galore(options: GaLoreOptions) -> Algorithm {
    Algorithm::GaLore(options)
}

/// A gradient whose singular vectors are those of the axes, of distinct magnitudes.
fn diagonal(device: &Device, rows: usize, columns: usize) -> Tensor {
    let entry = |i: usize| if i / columns == i % columns { 1.0 + (i / columns) as f32 } else { 0.0 };
    device.tensor((0..rows * columns).map(entry).collect(), [rows, columns]).unwrap()
}

#[test]
fn in_the_basis_of_the_axes_low_rank_adam_is_adam() {
    for device in devices() {
        for (rows, columns) in [(12, 8), (8, 12), (8, 8)] {
            let start = tensor(&device, 1, &[rows, columns]);
            let run = |algorithm: Algorithm| {
                let weight = start.copy().unwrap();
                let mut optimizer = one(&device, algorithm, &weight, |_| {});
                let mut gradients = vec![diagonal(&device, rows, columns)];
                gradients.extend((0..5).map(|t| tensor(&device, 20 + t, &[rows, columns])));
                for gradient in gradients {
                    optimizer.step(&[gradient]).unwrap();
                }
                host(&weight)
            };
            let adam = run(Algorithm::AdamW);
            // A basis that is off by rounding would not do: Adam makes a step of full size of the smallest entry.
            let refresh = Refresh::Exact;
            let options = GaLoreOptions { rank: 8, scale: 1.0, refresh, ..GaLoreOptions::default() };
            let far = distance(&run(galore(options)), &adam);
            assert!(far < 1e-5, "{rows}x{columns}: {far:e}");
            let far = distance(
                &run(Algorithm::Conda(CondaOptions { scale: 1.0, ..CondaOptions::default() })),
                &adam,
            );
            assert!(far < 1e-5, "{rows}x{columns}: {far:e}");
        }
    }
}

/// With an `eps` beyond every second moment Adam is gradient descent with a momentum, which does not see the axes: then a
/// subspace that is the whole space changes nothing, until momenta of one basis meet another; without momenta never.
#[test]
fn descent_in_the_whole_space_is_descent() {
    const EPS: f64 = 1e6;
    let kinds = [ProjType::Std, ProjType::ReverseStd, ProjType::Left, ProjType::Right, ProjType::Full];
    for device in devices() {
        for (kind, [rows, columns], beta, gap) in kinds
            .iter()
            .flat_map(|&kind| [[12, 12], [12, 8], [8, 12]].map(|shape| (kind, shape)))
            .flat_map(|(kind, shape)| [(0.9, 100), (0.0, 2)].map(|(beta, gap)| (kind, shape, beta, gap)))
        {
            // Of one side only the smaller has a basis of the whole space in so many dimensions.
            let whole = match kind {
                ProjType::Std => true,
                ProjType::ReverseStd | ProjType::Full => rows == columns,
                ProjType::Left => rows <= columns,
                ProjType::Right => columns <= rows,
            };
            if !whole {
                continue;
            }
            let weight = tensor(&device, 1, &[rows, columns]);
            let mut expected: Vec<f64> = host(&weight).iter().map(|&w| f64::from(w)).collect();
            let mut momentum = vec![0.0; expected.len()];
            let options = GaLoreOptions {
                rank: 12,
                scale: 1.0,
                proj_type: kind,
                update_proj_gap: gap,
                ..GaLoreOptions::default()
            };
            let mut optimizer = one(&device, galore(options), &weight, |group| {
                group.adam = AdamOptions { lr: 0.1 * EPS, betas: [beta, 0.9], eps: EPS, ..group.adam };
            });
            for t in 1..=6u64 {
                let gradient = tensor(&device, 40 + t, &[rows, columns]);
                for ((w, m), g) in expected.iter_mut().zip(&mut momentum).zip(host(&gradient)) {
                    *m = beta * *m + (1.0 - beta) * f64::from(g);
                    *w -= 0.1 * *m / (1.0 - beta.powi(t as i32));
                }
                let report = optimizer.step(&[gradient]).unwrap();
                assert_eq!(report.refreshed, usize::from((t - 1) % gap == 0));
            }
            let expected: Vec<f32> = expected.iter().map(|&w| w as f32).collect();
            let far = distance(&host(&weight), &expected);
            assert!(far < 1e-5, "{kind:?} {rows}x{columns} {beta}: {far:e}");
        }
    }
}

#[test]
fn the_first_step_has_the_length_of_a_sign() {
    for device in devices() {
        for (rows, columns) in [(30, 20), (20, 30)] {
            let weight = tensor(&device, 1, &[rows, columns]);
            let before = host(&weight);
            let options = GaLoreOptions { rank: 5, scale: 0.5, ..GaLoreOptions::default() };
            let mut optimizer = one(&device, galore(options), &weight, |group| {
                group.adam.lr = 0.1;
                group.adam.eps = 1e-30;
            });
            optimizer.step(&[tensor(&device, 2, &[rows, columns])]).unwrap();
            let moved: f64 = host(&weight).iter().zip(before).map(|(a, b)| f64::from(a - b).powi(2)).sum();
            let expected = 0.1 * 0.5 * (5.0f64 * 30.0).sqrt();
            assert!((moved.sqrt() / expected - 1.0).abs() < 1e-4, "{} {expected}", moved.sqrt());
        }
    }
}

#[test]
fn signs_of_a_basis_do_not_matter_unless_they_change() {
    let device = gristmill_cpu::open().unwrap();
    let shape = [14, 10];
    let basis = orthonormalize(&tensor(&device, 3, &[10, 4])).unwrap();
    let run = |signs: [f32; 2]| {
        let weight = tensor(&device, 1, &shape);
        let options = GaLoreOptions { rank: 4, refresh: Refresh::Given, ..GaLoreOptions::default() };
        let mut optimizer = one(&device, galore(options), &weight, |_| {});
        for t in 0..8 {
            if t % 4 == 0 {
                let basis = basis.scale(signs[t / 4]).unwrap();
                optimizer.set_projector("w", &[basis]).unwrap();
            }
            optimizer.step(&[tensor(&device, 10 + t as u64, &shape)]).unwrap();
        }
        host(&weight)
    };
    let plain = run([1.0, 1.0]);
    assert_eq!(run([-1.0, -1.0]), plain);
    assert!(distance(&run([1.0, -1.0]), &plain) > 1e-4);
}

#[test]
fn bases_are_found_when_they_are_due_and_moments_stay() {
    let device = gristmill_cpu::open().unwrap();
    let params: Vec<(String, Tensor)> =
        (0..3).map(|i| (format!("w{i}"), tensor(&device, i, &[9, 6]))).collect();
    let options = GaLoreOptions { rank: 2, update_proj_gap: 6, ..GaLoreOptions::default() };
    for stagger in [false, true] {
        let group = Group::new(galore(options), params.clone());
        let shared = OptimizerOptions { stagger, ..OptimizerOptions::default() };
        let mut optimizer = Optimizer::new(&device, vec![group], shared).unwrap();
        let mut refreshed = Vec::new();
        for t in 0..13 {
            let gradients: Vec<_> = (0..3).map(|i| tensor(&device, 100 + 3 * t + i, &[9, 6])).collect();
            refreshed.push(optimizer.step(&gradients).unwrap().refreshed);
        }
        let expected = match stagger {
            false => [3, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 3],
            true => [3, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1],
        };
        assert_eq!(refreshed, expected);
    }
    // A step of a gradient of zeros with a refresh: moments decay as without one.
    let run = |gap: u64| {
        let weight = tensor(&device, 1, &[9, 6]);
        let options = GaLoreOptions { rank: 2, update_proj_gap: gap, ..GaLoreOptions::default() };
        let mut optimizer = one(&device, galore(options), &weight, |_| {});
        optimizer.step(&[tensor(&device, 5, &[9, 6])]).unwrap();
        optimizer.step(&[device.zeros(DType::F32, [9, 6]).unwrap()]).unwrap();
        let saved = optimizer.save().unwrap();
        let moments = 2 * 9 * 2 * 4;
        // Tensors lie in the order of their parameter: moments, then the basis.
        saved[saved.len() - moments - 6 * 2 * 4..saved.len() - 6 * 2 * 4].to_vec()
    };
    assert_eq!(run(1), run(100));
}

#[test]
fn states_of_8_bits_stay_close_and_take_a_quarter() {
    for device in devices() {
        let shape = [96, 80];
        let run = |state: StateType, algorithm: Algorithm| {
            let weight = tensor(&device, 1, &shape);
            let mut optimizer = one(&device, algorithm, &weight, |group| group.adam.state = state);
            for t in 0..10 {
                optimizer.step(&[tensor(&device, 10 + t, &shape)]).unwrap();
            }
            let start = host(&tensor(&device, 1, &shape));
            let moved: Vec<f32> = host(&weight).iter().zip(start).map(|(a, b)| a - b).collect();
            (moved, optimizer.memory())
        };
        let options = GaLoreOptions { rank: 64, projector: Projector::Bf16, ..GaLoreOptions::default() };
        for algorithm in [Algorithm::AdamW, galore(options)] {
            let (exact, full) = run(StateType::F32, algorithm);
            let (codes, small) = run(StateType::Int8, algorithm);
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
            let cosine = dot(&exact, &codes) / (dot(&exact, &exact) * dot(&codes, &codes)).sqrt();
            assert!(cosine > 0.98, "{} {cosine}", algorithm.name());
            assert_eq!((small.moments, small.scales), (full.moments / 4, full.moments / 256));
            let (half, _) = run(StateType::Bf16, algorithm);
            let cosine = dot(&exact, &half) / (dot(&exact, &exact) * dot(&half, &half)).sqrt();
            assert!(cosine > 0.999, "{} {cosine}", algorithm.name());
        }
    }
}

#[test]
fn memory_that_is_reported_is_memory_that_is_allocated() {
    let device = gristmill_cpu::open().unwrap();
    let config = ModelConfig {
        hidden_size: 64,
        intermediate_size: 176,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: Some(2),
        head_dim: None,
        vocab_size: 300,
        tie_word_embeddings: false,
    };
    let galore_of = |rank, proj_type| {
        galore(GaLoreOptions { rank, proj_type, projector: Projector::Bf16, ..GaLoreOptions::default() })
    };
    let apollo_stored = Algorithm::Apollo(ApolloOptions {
        rank: 16,
        projector: RandomProjector::Bf16,
        disable_nl: true,
        ..ApolloOptions::default()
    });
    for (algorithm, state) in [
        (Algorithm::AdamW, StateType::F32),
        (Algorithm::AdamW, StateType::Int8),
        (galore_of(16, ProjType::Std), StateType::Int8),
        (galore_of(1000, ProjType::ReverseStd), StateType::Bf16),
        (galore_of(8, ProjType::Full), StateType::F32),
        (Algorithm::Conda(CondaOptions::default()), StateType::F32),
        (Algorithm::Muon(MuonOptions::default()), StateType::Bf16),
        (Algorithm::Apollo(ApolloOptions { rank: 16, ..ApolloOptions::default() }), StateType::Int8),
        (apollo_stored, StateType::Bf16),
        (Algorithm::Apollo(ApolloOptions::mini()), StateType::F32),
        (
            galore(GaLoreOptions { rank: 9, projector: Projector::Int4, ..Default::default() }),
            StateType::Int8,
        ),
        (
            Algorithm::Fira(FiraOptions { rank: 9, projector: Projector::Int4, ..Default::default() }),
            StateType::F32,
        ),
        (Algorithm::Fira(FiraOptions { rank: 16, disable_nl: true, ..Default::default() }), StateType::Bf16),
    ] {
        let adam = AdamOptions { state, ..AdamOptions::default() };
        let mut groups = [algorithm, Algorithm::AdamW].map(|a| Group { adam, ..Group::new(a, Vec::new()) });
        let before = device.memory().live_bytes;
        for (name, shape, matrix) in config.params().unwrap() {
            let weight = device.zeros(DType::Bf16, shape).unwrap();
            groups[usize::from(!matrix)].params.push((name, weight));
        }
        let mut optimizer = Optimizer::new(&device, groups.to_vec(), OptimizerOptions::default()).unwrap();
        let gradients: Vec<_> = optimizer.params().map(|(_, w)| w.copy().unwrap()).collect();
        optimizer.step(&gradients).unwrap();
        let reported = memory_of(&config, DType::Bf16, &algorithm, &adam).unwrap();
        assert_eq!(optimizer.memory(), reported, "{}", algorithm.name());
        drop(gradients);
        device.synchronize().unwrap();
        // Beside it, the maps of codes.
        let allocated = device.memory().live_bytes - before;
        let maps = if state == StateType::Int8 { 2048 } else { 0 };
        assert_eq!(allocated, reported.weights + reported.state() + maps, "{}", algorithm.name());
    }
}
