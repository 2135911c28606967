use gristmill_core::ops::{MatmulOptions, RtnRule};
use gristmill_core::{Code, DType};
use gristmill_optim::osp::{
    Projected, ScaleNorm, SsNormOptions, embedding_projection, excess_kurtosis, merge_embedding_projection,
    ss_norm, ss_norm_grad,
};
use gristmill_optim::{Algorithm, MuonOptions, MuonScaling};

use crate::{devices, distance, host, one, tensor};

#[test]
fn one_number_scales_all_columns() {
    for device in devices() {
        let x = tensor(&device, 1, &[5, 12]);
        let gamma = device.tensor(vec![1.75f32], [1]).unwrap();
        for by in [ScaleNorm::Rms, ScaleNorm::Length] {
            let options = SsNormOptions { by, eps: 0.0 };
            let got = host(&ss_norm(&x, &gamma, options).unwrap());
            for (row, got) in host(&x).chunks(12).zip(got.chunks(12)) {
                let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
                let size = if by == ScaleNorm::Rms { length / 12f32.sqrt() } else { length };
                let want: Vec<f32> = row.iter().map(|x| 1.75 * x / size).collect();
                assert!(distance(got, &want) < 1e-6);
            }
        }
        let wrong = tensor(&device, 1, &[12]);
        let error = ss_norm(&x, &wrong, SsNormOptions::default()).unwrap_err();
        assert_eq!((error.code(), error.location().column.as_deref()), (Code::ShapeMismatch, Some("gamma")));
    }
}

#[test]
fn gradients_of_single_scale_norms_are_those_of_differences() {
    const D: usize = 9;
    let loss = |x: &[f64], gamma: f64, dy: &[f64], options: SsNormOptions| {
        let mut loss = 0.0;
        for (x, dy) in x.chunks(D).zip(dy.chunks(D)) {
            let mean = x.iter().map(|x| x * x).sum::<f64>() / D as f64 + f64::from(options.eps);
            let size = if options.by == ScaleNorm::Rms { mean.sqrt() } else { (mean * D as f64).sqrt() };
            loss += x.iter().zip(dy).map(|(x, dy)| gamma * x / size * dy).sum::<f64>();
        }
        loss
    };
    for device in devices() {
        for by in [ScaleNorm::Rms, ScaleNorm::Length] {
            let options = SsNormOptions { by, eps: 1e-3 };
            let (x, dy) = (tensor(&device, 1, &[4, D]), tensor(&device, 2, &[4, D]));
            let gamma = device.tensor(vec![0.8f32], [1]).unwrap();
            let grads = ss_norm_grad(&x, &gamma, &dy, options).unwrap();
            let wide = |t: &gristmill_core::Tensor| host(t).into_iter().map(f64::from).collect::<Vec<_>>();
            let (at, dy, g) = (wide(&x), wide(&dy), f64::from(0.8f32));
            let (dx, dgamma) = (wide(&grads.x), wide(&grads.gamma));
            let size = dx.iter().fold(0f64, |max, x| max.max(x.abs()));
            for i in 0..at.len() {
                let moved = |step: f64| {
                    let mut x = at.clone();
                    x[i] += step;
                    loss(&x, g, &dy, options)
                };
                let want = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!((dx[i] - want).abs() < 1e-5 * size, "{} {want}", dx[i]);
            }
            let want = (loss(&at, g + 1e-5, &dy, options) - loss(&at, g - 1e-5, &dy, options)) / 2e-5;
            assert_eq!(dgamma.len(), 1);
            assert!((dgamma[0] - want).abs() < 1e-5 * want.abs().max(0.1), "{} {want}", dgamma[0]);
        }
    }
}

#[test]
fn projections_of_embeddings_are_orthogonal_and_merge() {
    let mut before: Option<Vec<f32>> = None;
    for device in devices() {
        let p = embedding_projection(&device, 24, 5).unwrap();
        let gram = p.matmul(&p, MatmulOptions { trans_b: true, ..Default::default() }).unwrap();
        let identity: Vec<f32> = (0..24 * 24).map(|i| f32::from(u8::from(i / 24 == i % 24))).collect();
        assert!(distance(&host(&gram), &identity) < 1e-5);
        assert!(distance(&host(&embedding_projection(&device, 24, 6).unwrap()), &host(&p)) > 0.1);
        // Other devices give the same matrix, within rounding.
        if let Some(before) = &before {
            assert!(distance(&host(&p), before) < 1e-4);
        }
        before = Some(host(&p));
        let (table, head) = (tensor(&device, 1, &[30, 24]), tensor(&device, 2, &[30, 24]));
        let linear = |x: &gristmill_core::Tensor, w: &gristmill_core::Tensor| {
            x.matmul(w, MatmulOptions { trans_b: true, ..Default::default() }).unwrap()
        };
        let merged = merge_embedding_projection(&table, &p, Projected::Embedding).unwrap();
        assert!(distance(&host(&merged), &host(&linear(&table, &p))) < 1e-6);
        // Logits of hidden states that were projected, and of those that were not.
        let x = tensor(&device, 3, &[7, 24]);
        let merged = merge_embedding_projection(&head, &p, Projected::Head).unwrap();
        assert!(distance(&host(&linear(&x, &merged)), &host(&linear(&linear(&x, &p), &head))) < 1e-5);
    }
}

#[test]
fn tails_are_measured_and_a_rotation_takes_them_away() {
    for device in devices() {
        // By hand: three numbers and a zero; E[x⁴] = 18/4, std² = 6/4 − (2/4)² = 5/4.
        let x = device.tensor(vec![1f32, -1.0, 2.0, 0.0, 1.0, -1.0, 1.0, -1.0], [2, 4]).unwrap();
        let first = 4.5 / (1.25f64 * 1.25) - 3.0;
        assert!((excess_kurtosis(&[x.narrow(0, 1).unwrap()]).unwrap() - first.max(0.0)).abs() < 1e-5);
        // Two opposite numbers have the least there is, which counts for 0.
        let second = x.narrow(1, 1).unwrap();
        assert!((host(&second.kurtosis(false).unwrap())[0] + 2.0).abs() < 1e-6);
        assert_eq!(excess_kurtosis(std::slice::from_ref(&second)).unwrap(), 0.0);
        // Outliers in a column, which a Hadamard transform spreads.
        let mut values = host(&tensor(&device, 1, &[16, 256]));
        values.iter_mut().skip(7).step_by(256).for_each(|x| *x = 40.0);
        let x = device.tensor(values, [16, 256]).unwrap();
        let turned = x.hadamard(None).unwrap();
        let (before, after) = (
            excess_kurtosis(std::slice::from_ref(&x)).unwrap(),
            excess_kurtosis(std::slice::from_ref(&turned)).unwrap(),
        );
        assert!(before > 200.0 && after < 3.0, "{before} {after}");
        // And with them most of the error of four bits.
        let rule = RtnRule { symmetric: false, ..RtnRule::default() };
        let error = |x: &gristmill_core::Tensor, back: bool| {
            let q = x.quantize_rtn(rule, None).unwrap();
            let (q, x) =
                if back { (q.hadamard(None).unwrap(), x.hadamard(None).unwrap()) } else { (q, x.clone()) };
            host(&q).iter().zip(host(&x)).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>()
        };
        assert!(error(&turned, true) < 0.2 * error(&x, false));
        // It is its own inverse.
        assert!(distance(&host(&turned.hadamard(None).unwrap()), &host(&x)) < 1e-6);
        let constant = device.tensor(vec![3f32; 4], [1, 4]).unwrap();
        assert!(excess_kurtosis(&[x, constant]).unwrap().is_nan());
        assert_eq!(excess_kurtosis(&[]).unwrap_err().code(), Code::InvalidArgument);
    }
}

#[test]
fn vectors_move_by_their_direction() {
    for device in devices() {
        let muon = |vectors: bool| MuonOptions {
            vectors,
            nesterov: false,
            scaling: MuonScaling::Rms,
            ..MuonOptions::default()
        };
        let weight = tensor(&device, 1, &[25]);
        let before = host(&weight);
        let gradient = tensor(&device, 2, &[25]);
        let mut optimizer = one(&device, Algorithm::Muon(muon(true)), &weight, |group| group.adam.lr = 0.1);
        optimizer.step(std::slice::from_ref(&gradient)).unwrap();
        let g = host(&gradient);
        let length = g.iter().map(|g| g * g).sum::<f32>().sqrt();
        // 0.2 √25 = 1.
        let want: Vec<f32> = before.iter().zip(&g).map(|(w, g)| w - 0.1 * g / length).collect();
        assert!(distance(&host(&weight), &want) < 1e-6);
        // A gradient of zeros moves nothing that has no momentum.
        let still = tensor(&device, 1, &[25]);
        let mut optimizer = one(&device, Algorithm::Muon(muon(true)), &still, |_| {});
        assert!(optimizer.step(&[device.zeros(DType::F32, [25]).unwrap()]).unwrap().applied);
        assert_eq!(host(&still), before);
        let group = gristmill_optim::Group::new(Algorithm::Muon(muon(false)), vec![("v".into(), weight)]);
        let refused = gristmill_optim::Optimizer::new(&device, vec![group], Default::default());
        assert_eq!(refused.err().unwrap().code(), Code::ShapeMismatch);
    }
}
