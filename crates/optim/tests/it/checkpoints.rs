use gristmill_core::{Code, DType, Device, Tensor};
use gristmill_optim::{
    Algorithm, ApolloOptions, CondaOptions, FiraOptions, GaLoreOptions, Group, MuonOptions, Optimizer,
    OptimizerOptions, ProjType, Projector, RandomProjector, StateType,
};

use crate::{devices, distance, host, tensor};

/// A matrix in each kind of state, and a vector; the gap ends between the save and the end.
fn optimizer(device: &Device, dtype: DType, state: StateType, seed: u64) -> (Optimizer, Vec<Tensor>) {
    let shapes: [&[usize]; 10] = [
        &[70, 66],
        &[66, 70],
        &[40, 30],
        &[70, 66],
        &[33],
        &[70, 66],
        &[66, 70],
        &[40, 30],
        &[70, 66],
        &[66, 70],
    ];
    let make = |(i, shape): (usize, &&[usize])| {
        let weight = tensor(device, i as u64, shape);
        if dtype == DType::F32 { weight } else { weight.cast(dtype).unwrap() }
    };
    let weights: Vec<Tensor> = shapes.iter().enumerate().map(make).collect();
    let galore =
        GaLoreOptions { rank: 64, update_proj_gap: 5, cos_threshold: Some(0.4), ..GaLoreOptions::default() };
    let other = GaLoreOptions { rank: 9, proj_type: ProjType::Full, projector: Projector::Bf16, ..galore };
    let conda = CondaOptions { update_proj_gap: 4, ..CondaOptions::default() };
    let algorithms = [
        Algorithm::GaLore(galore),
        Algorithm::GaLore(other),
        Algorithm::Conda(conda),
        Algorithm::Muon(MuonOptions::default()),
        Algorithm::AdamW,
        Algorithm::Apollo(ApolloOptions { rank: 64, update_proj_gap: 5, ..ApolloOptions::default() }),
        Algorithm::Apollo(ApolloOptions { rank: 9, projector: RandomProjector::Bf16, ..Default::default() }),
        Algorithm::Apollo(ApolloOptions { update_proj_gap: 2, ..ApolloOptions::mini() }),
        Algorithm::GaLore(GaLoreOptions { projector: Projector::Int4, update_proj_gap: 100, ..galore }),
        Algorithm::Fira(FiraOptions { rank: 9, projector: Projector::Int4, ..FiraOptions::default() }),
    ];
    let group = |(i, algorithm): (usize, Algorithm)| {
        let mut group = Group::new(algorithm, vec![(format!("w{i}"), weights[i].clone())]);
        group.adam.lr = 0.01;
        group.adam.state = if matches!(algorithm, Algorithm::Conda(_)) { StateType::F32 } else { state };
        group
    };
    let groups = algorithms.into_iter().enumerate().map(group).collect();
    let options = OptimizerOptions { max_grad_norm: Some(5.0), seed, ..OptimizerOptions::default() };
    (Optimizer::new(device, groups, options).unwrap(), weights)
}

fn run(optimizer: &mut Optimizer, weights: &[Tensor], steps: std::ops::Range<u64>) {
    for t in steps {
        let gradients: Vec<_> = weights
            .iter()
            .enumerate()
            .map(|(i, w)| tensor(w.device(), 100 + 10 * t + i as u64, w.shape()))
            .collect();
        assert!(optimizer.step(&gradients).unwrap().applied);
    }
}

#[test]
fn resuming_is_as_if_nothing_had_been() {
    for device in devices() {
        for (dtype, state) in
            [(DType::F32, StateType::F32), (DType::Bf16, StateType::Bf16), (DType::F32, StateType::Int8)]
        {
            let (mut straight, weights) = optimizer(&device, dtype, state, 77);
            run(&mut straight, &weights, 0..3);
            let saved = straight.save().unwrap();
            let at_save: Vec<_> = weights.iter().map(|w| w.read().unwrap()).collect();
            run(&mut straight, &weights, 3..6);
            for other in devices() {
                // What is drawn goes by the state, not by what was asked for.
                let (mut resumed, again) = optimizer(&other, dtype, state, 5);
                for (weight, bytes) in again.iter().zip(&at_save) {
                    weight.write(Box::new(bytes.clone())).unwrap();
                }
                resumed.load(&saved).unwrap();
                assert_eq!(resumed.save().unwrap(), saved);
                run(&mut resumed, &again, 3..6);
                assert_eq!(resumed.steps(), 6);
                let same = other.info().kind == device.info().kind;
                for (i, (a, b)) in again.iter().zip(&weights).enumerate() {
                    if same {
                        assert_eq!(a.read().unwrap(), b.read().unwrap(), "w{i} {dtype} {state:?}");
                    } else if dtype == DType::F32 && i != 3 {
                        let far = distance(&host(a), &host(b));
                        assert!(far < 2e-4, "w{i} {state:?}: {far:e}");
                    }
                }
                if same {
                    assert_eq!(resumed.save().unwrap(), straight.save().unwrap());
                }
            }
        }
    }
}

#[test]
fn states_of_something_else_are_refused_and_change_nothing() {
    let device = gristmill_cpu::open().unwrap();
    let (mut one, weights) = optimizer(&device, DType::F32, StateType::Int8, 1);
    run(&mut one, &weights, 0..2);
    let good = one.save().unwrap();
    let length = u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let text = |change: &dyn Fn(String) -> String| {
        let header = change(String::from_utf8(good[8..8 + length].to_vec()).unwrap());
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &good[8 + length..]].concat()
    };
    let mut nan = good.clone();
    // The last scale of the last basis, before three zeros of its groups.
    let place = nan.len() - 3 * 4 - 4;
    nan[place..place + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let (mut other, _) = optimizer(&device, DType::F32, StateType::F32, 1);
    let cases: Vec<(Vec<u8>, Code)> = vec![
        (Vec::new(), Code::CorruptData),
        (good[..5].to_vec(), Code::CorruptData),
        (good[..good.len() - 1].to_vec(), Code::CorruptData),
        ([good.clone(), vec![0]].concat(), Code::CorruptData),
        (u64::MAX.to_le_bytes().to_vec(), Code::CorruptData),
        ([&8u64.to_le_bytes()[..], b"{\"a\":1}}"].concat(), Code::CorruptData),
        (text(&|h| h.replace("gristmill-optim/1", "gristmill-optim/2")), Code::CorruptData),
        (text(&|h| h.replace("\"w4.exp_avg\"", "\"w4.stranger\"")), Code::CorruptData),
        (text(&|h| h.replace("\\\"gap\\\":5", "\\\"gap\\\":0")), Code::CorruptData),
        (text(&|h| h.replace("\\\"w4\\\"", "\\\"w5\\\"")), Code::InvalidArgument),
        (
            text(&|h| h.replace("\\\"name\\\":\\\"muon\\\"", "\\\"name\\\":\\\"adamw\\\"")),
            Code::InvalidArgument,
        ),
        (text(&|h| h.replace("[33]", "[11,3]")), Code::ShapeMismatch),
        (other.save().unwrap(), Code::CorruptData),
        (nan, Code::InvalidValue),
    ];
    let before = one.save().unwrap();
    for (i, (state, code)) in cases.into_iter().enumerate() {
        let refused = one.load(&state).unwrap_err();
        assert_eq!(refused.code(), code, "case {i}: {refused}");
        assert_eq!(one.save().unwrap(), before, "case {i}");
    }
    assert!(other.load(&good).is_err());
    one.load(&good).unwrap();
}
