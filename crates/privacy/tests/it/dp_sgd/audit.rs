//! An audit from end to end: logistic regression is trained many times, with a certain record in the data and without it, and
//! an attacker who sees the final weights guesses which it was. How often the guess is right bounds epsilon from below
//! (Jagielski, Ullman and Oprea 2020), by the intervals of Clopper and Pearson. The bound must not exceed what the accountant
//! reports; where the noise is taken away it must, or the audit would find nothing whatever happened.

use gristmill_core::Device;
use gristmill_privacy::dp_sgd::{Clipping, DpSgd, DpSgdOptions, Linear, NoiseSource};
use gristmill_privacy::{Method, PoissonOptions, PoissonSampler};

use super::oracle::Numbers;

const FEATURES: usize = 4;
const EXAMPLES: usize = 24;
const STEPS: usize = 3;
const RATE: f64 = 0.5;
const SIGMA: f64 = 1.2;
const DELTA: f64 = 1e-3;
const RUNS: usize = 500;
/// Both rates of a bound hold together with this probability of being wrong.
const WRONG: f64 = 0.02;

/// The other records: points with labels, none of which uses the last feature. The canary is nothing but that.
fn data(with_canary: bool) -> (Vec<[f32; FEATURES]>, Vec<f32>) {
    let mut numbers = Numbers(5);
    let (mut points, mut labels) = (Vec::new(), Vec::new());
    for _ in 0..EXAMPLES {
        let point = [numbers.next(), numbers.next(), 1.0, 0.0];
        labels.push(f32::from(u8::from(point[0] > point[1])));
        points.push(point);
    }
    if with_canary {
        points.push([0.0, 0.0, 0.0, 30.0]);
        labels.push(1.0);
    }
    (points, labels)
}

/// Trains, and says how the weight of the canary's feature came out. `known` is noise that the attacker knows of and takes
/// away again.
fn train(device: &Device, seed: u64, with_canary: bool, known: bool) -> f64 {
    let (points, labels) = data(with_canary);
    let options = DpSgdOptions {
        clipping: Clipping::Flat { max_grad_norm: 1.0 },
        noise_multiplier: SIGMA,
        sample_rate: RATE,
        expected_batch_size: RATE * EXAMPLES as f64,
        rng: NoiseSource::Reproducible,
        seed: Some(seed),
        layers: Some(["w".into()].into()),
    };
    let mut dp = DpSgd::new(device, options.clone()).unwrap();
    let mut noise = known.then(|| DpSgd::new(device, options).unwrap());
    let sampling =
        PoissonOptions { examples: points.len() as u64, sample_rate: RATE, seed: Some(seed), multiple: 1 };
    let mut sampler = PoissonSampler::new(&sampling).unwrap();
    let mut weights = [0_f32; FEATURES];
    let mut score = 0.0;
    for _ in 0..STEPS {
        let batch = sampler.next_batch().indices;
        let x: Vec<f32> = batch.iter().flat_map(|&i| points[i as usize]).collect();
        let error = |&i: &u32| {
            let logit: f32 = points[i as usize].iter().zip(&weights).map(|(x, w)| x * w).sum();
            1.0 / (1.0 + (-logit).exp()) - labels[i as usize]
        };
        let dy: Vec<f32> = batch.iter().map(error).collect();
        let layer = |rows: usize| Linear {
            x: device.tensor(x[..rows * FEATURES].to_vec(), [rows, FEATURES]).unwrap(),
            dy: device.tensor(dy[..rows].to_vec(), [rows, 1]).unwrap(),
            bias: false,
            offsets: None,
            method: None,
        };
        dp.linear("w", layer(batch.len())).unwrap();
        let gradient = dp.step().unwrap()["w"].weight.to_vec::<f32>().unwrap();
        let taken_away = noise.as_mut().map(|dp| {
            dp.linear("w", layer(0)).unwrap();
            dp.step().unwrap()["w"].weight.to_vec::<f32>().unwrap()
        });
        for (j, weight) in weights.iter_mut().enumerate() {
            *weight -= 0.1 * gradient[j];
        }
        score -= f64::from(gradient[FEATURES - 1] - taken_away.map_or(0.0, |noise| noise[FEATURES - 1]));
    }
    assert_eq!(dp.accountant().steps(), STEPS as u64);
    score
}

/// The probability of at most `k` of `n`.
fn binomial(k: usize, n: usize, p: f64) -> f64 {
    let ln_choose = |i: usize| {
        libm::lgamma(n as f64 + 1.0) - libm::lgamma(i as f64 + 1.0) - libm::lgamma((n - i) as f64 + 1.0)
    };
    let term = |i: usize| (ln_choose(i) + i as f64 * p.ln() + (n - i) as f64 * (-p).ln_1p()).exp();
    (0..=k).map(term).sum()
}

/// The greatest probability with which `k` of `n` is not too few to be believed.
fn at_most(k: usize, n: usize, wrong: f64) -> f64 {
    let (mut low, mut high) = (k as f64 / n as f64, 1.0);
    if k == n {
        return 1.0;
    }
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if binomial(k, n, middle) > wrong { low = middle } else { high = middle }
    }
    high
}

/// A bound on epsilon from below, of scores with the canary and without. Where to cut is decided on the first half of the
/// runs, so that the intervals of the second half hold.
fn lower_bound(with: &[f64], without: &[f64]) -> f64 {
    let half = with.len() / 2;
    let above = |scores: &[f64], cut: f64| scores.iter().filter(|s| **s > cut).count();
    let bound = |with: &[f64], without: &[f64], cut: f64| {
        let n = with.len();
        let right = 1.0 - at_most(n - above(with, cut), n, WRONG / 2.0);
        let wrong = at_most(above(without, cut), n, WRONG / 2.0);
        ((right - DELTA).max(1e-9) / wrong).ln()
    };
    let cuts = with[..half].iter().chain(&without[..half]);
    let best = cuts.copied().max_by(|a, b| {
        bound(&with[..half], &without[..half], *a).total_cmp(&bound(&with[..half], &without[..half], *b))
    });
    bound(&with[half..], &without[half..], best.unwrap())
}

#[test]
fn what_an_attacker_finds_out_is_less_than_what_is_reported_and_more_without_noise() {
    let device = gristmill_cpu::open().unwrap();
    let reported = {
        let mut accountant = gristmill_privacy::Accountant::new();
        accountant.record(gristmill_privacy::Mechanism::new(SIGMA, RATE).unwrap(), STEPS as u64);
        accountant.epsilon(DELTA, Method::Pld).unwrap().epsilon
    };
    let attack = |known: bool, runs: usize| {
        // No two runs have a seed in common.
        let scores = |canary: bool| -> Vec<f64> {
            let first = if canary { 1_000_000 } else { 2_000_000 };
            (0..runs as u64).map(|run| train(&device, first + run, canary, known)).collect()
        };
        lower_bound(&scores(true), &scores(false))
    };
    let protected = attack(false, RUNS);
    assert!(protected <= reported, "{protected} found, {reported} reported");
    // It is no blind audit: it comes up to a good part of the figure.
    assert!(protected > 0.2 * reported, "{protected} found, {reported} reported");
    let exposed = attack(true, RUNS);
    assert!(exposed > reported, "without noise {exposed} found, {reported} reported");
}
