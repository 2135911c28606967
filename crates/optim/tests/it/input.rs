use gristmill_core::{Code, DType, Tensor};
use gristmill_optim::{
    Algorithm, ApolloOptions, CondaOptions, FiraOptions, GaLoreOptions, Group, MuonOptions, Optimizer,
    OptimizerOptions, Refresh, Schedule, StateType,
};

use crate::{devices, host, one, tensor};

#[test]
fn gradients_that_are_not_finite_leave_everything_as_it_was() {
    for device in devices() {
        for algorithm in [
            Algorithm::AdamW,
            Algorithm::GaLore(GaLoreOptions { rank: 3, ..GaLoreOptions::default() }),
            Algorithm::Conda(CondaOptions::default()),
            Algorithm::Muon(MuonOptions::default()),
            Algorithm::Apollo(ApolloOptions { rank: 3, ..ApolloOptions::default() }),
            Algorithm::Fira(FiraOptions { rank: 3, ..FiraOptions::default() }),
        ] {
            let weight = tensor(&device, 1, &[8, 6]);
            let mut optimizer = one(&device, algorithm, &weight, |group| group.adam.weight_decay = 0.1);
            optimizer.step(&[tensor(&device, 2, &[8, 6])]).unwrap();
            let (before, state) = (host(&weight), optimizer.save().unwrap());
            for wrong in [f32::NAN, f32::INFINITY] {
                let mut values = host(&tensor(&device, 3, &[8, 6]));
                values[17] = wrong;
                let report = optimizer.step(&[device.tensor(values, [8, 6]).unwrap()]).unwrap();
                assert!(!report.applied && report.step == 1);
            }
            assert_eq!(host(&weight), before);
            let report = optimizer.step(&[tensor(&device, 4, &[8, 6])]).unwrap();
            assert_eq!((report.skipped, report.step, report.applied), (2, 2, true));
            assert_ne!(optimizer.save().unwrap(), state);
        }
    }
}

#[test]
fn clipping_is_by_the_norm_of_all() {
    for device in devices() {
        let run = |max_grad_norm: Option<f64>, factor: f32| {
            let weights = [tensor(&device, 1, &[8, 6]), tensor(&device, 2, &[5])];
            let named = weights.iter().enumerate().map(|(i, w)| (format!("w{i}"), w.clone())).collect();
            let group = Group::new(Algorithm::AdamW, named);
            let options = OptimizerOptions { max_grad_norm, ..OptimizerOptions::default() };
            let mut optimizer = Optimizer::new(&device, vec![group], options).unwrap();
            let mut norm = 0.0;
            for t in 0..3 {
                let gradients: Vec<Tensor> = [(10 + t, vec![8, 6]), (20 + t, vec![5])]
                    .map(|(seed, shape)| tensor(&device, seed, &shape).scale(factor).unwrap())
                    .to_vec();
                norm = optimizer.step(&gradients).unwrap().grad_norm.unwrap();
            }
            (weights.iter().flat_map(host).collect::<Vec<f32>>(), norm)
        };
        let (plain, norm) = run(None, 1.0);
        let (clipped, same) = run(Some(0.5), 1.0);
        assert!((norm - same).abs() < 1e-6 && norm > 1.0);
        assert_ne!(plain, clipped);
        // What is clipped does not depend on how large it was.
        let (large, _) = run(Some(0.5), 3.0);
        assert!(crate::distance(&large, &clipped) < 1e-5);
    }
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let device = gristmill_cpu::open().unwrap();
    let weight = tensor(&device, 1, &[8, 6]);
    let make = |algorithm: Algorithm, params: Vec<(&str, Tensor)>, change: &dyn Fn(&mut Group)| {
        let params = params.into_iter().map(|(n, t)| (n.to_owned(), t)).collect();
        let mut group = Group::new(algorithm, params);
        change(&mut group);
        Optimizer::new(&device, vec![group], OptimizerOptions::default()).map(|_| ()).unwrap_err()
    };
    let galore = |change: &dyn Fn(&mut GaLoreOptions)| {
        let mut options = GaLoreOptions::default();
        change(&mut options);
        Algorithm::GaLore(options)
    };
    let w = || vec![("w", weight.clone())];
    let none: &dyn Fn(&mut Group) = &|_| {};
    for (error, code, whence) in [
        (make(galore(&|o| o.rank = 0), w(), none), Code::InvalidArgument, "rank"),
        (make(galore(&|o| o.update_proj_gap = 0), w(), none), Code::InvalidArgument, "updateProjGap"),
        (make(galore(&|o| o.scale = f64::NAN), w(), none), Code::InvalidArgument, "scale"),
        (make(Algorithm::AdamW, w(), &|g| g.adam.lr = -1.0), Code::InvalidArgument, "lr"),
        (make(Algorithm::AdamW, w(), &|g| g.adam.betas[1] = 1.0), Code::InvalidArgument, "betas"),
        (make(Algorithm::AdamW, w(), &|g| g.adam.eps = 0.0), Code::InvalidArgument, "eps"),
        (
            make(Algorithm::AdamW, w(), &|g| {
                g.adam.schedule = Schedule::Linear { warmup: 9, total: 3, floor: 0.0 }
            }),
            Code::InvalidArgument,
            "schedule",
        ),
        (
            make(Algorithm::Muon(MuonOptions { ns_steps: 1 << 31, ..Default::default() }), w(), none),
            Code::InvalidArgument,
            "nsSteps",
        ),
        (
            make(Algorithm::Conda(CondaOptions::default()), w(), &|g| g.adam.state = StateType::Int8),
            Code::InvalidArgument,
            "state",
        ),
    ] {
        assert_eq!((error.code(), error.location().column.as_deref()), (code, Some(whence)), "{error}");
    }
    // More dimensions than there are: with a warning, or not at all.
    let over = one(&device, galore(&|o| o.rank = 7), &weight, |_| {});
    assert_eq!(over.warnings(), ["w: a rank of 7 is more than its smaller side: 6 is used"]);
    assert!(one(&device, galore(&|o| o.rank = 6), &weight, |_| {}).warnings().is_empty());
    let strict = make(galore(&|o| (o.rank, o.clamp_rank) = (7, false)), w(), none);
    assert_eq!((strict.code(), strict.location().column.as_deref()), (Code::InvalidArgument, Some("rank")));
    assert_eq!(strict.location().path.as_deref(), Some("w"));
    let vector = tensor(&device, 1, &[8]);
    let integers = device.zeros(DType::U32, [8, 6]).unwrap();
    let elsewhere = tensor(&gristmill_cpu::open().unwrap(), 1, &[8, 6]);
    let part = weight.narrow(2, 3).unwrap();
    for (error, code, name) in [
        (make(galore(&|_| {}), vec![("v", vector)], none), Code::ShapeMismatch, "v"),
        (make(Algorithm::AdamW, vec![("i", integers)], none), Code::DtypeMismatch, "i"),
        (make(Algorithm::AdamW, vec![("far", elsewhere)], none), Code::DeviceMismatch, "far"),
        (
            make(Algorithm::AdamW, vec![("w", weight.clone()), ("part", part)], none),
            Code::InvalidArgument,
            "part",
        ),
        (
            make(Algorithm::AdamW, vec![("w", weight.clone()), ("w", tensor(&device, 2, &[3]))], none),
            Code::InvalidArgument,
            "w",
        ),
    ] {
        assert_eq!((error.code(), error.location().path.as_deref()), (code, Some(name)), "{error}");
    }
    let mut optimizer = one(&device, galore(&|o| o.refresh = Refresh::Given), &weight, |_| {});
    let before = host(&weight);
    let gradient = tensor(&device, 2, &[8, 6]);
    for (gradients, code) in [
        (vec![], Code::InvalidArgument),
        (vec![gradient.reshape([6, 8]).unwrap()], Code::ShapeMismatch),
        (vec![device.zeros(DType::U8, [8, 6]).unwrap()], Code::DtypeMismatch),
        // Without a basis.
        (vec![gradient], Code::InvalidArgument),
    ] {
        assert_eq!(optimizer.step(&gradients).unwrap_err().code(), code);
    }
    assert_eq!(host(&weight), before);
    assert_eq!(optimizer.set_projector("x", &[]).unwrap_err().code(), Code::InvalidArgument);
    let wrong = tensor(&device, 2, &[8, 6]);
    assert_eq!(optimizer.set_projector("w", &[wrong]).unwrap_err().code(), Code::ShapeMismatch);
}
