//! Skill-It on data like its LEGO: a chain of signs, each the one before it or its opposite; skill `i` is to tell
//! the sign of variable `i`. The model is a net with a layer per variable, so that a skill can only be learnt when
//! the one before it is: training at equal steps, the sampler that follows the losses learns the last skill
//! better than the uniform one.

use gristmill_mix::{MixtureSampler, SamplerOptions, SkillGraph, SkillOptions};

/// Variables, and skills.
const K: usize = 5;
/// Hidden units.
const D: usize = 6;
const STEPS: usize = 200;
const BATCH: usize = 32;
const UPDATE_EVERY: usize = 20;
const EVALUATE_EVERY: usize = 20;
const RATE: f64 = 0.02;
/// Each layer: a row per hidden unit over the hidden units before, the input and a constant.
const LAYER: usize = D * (D + 2);
/// All layers, and the answer's weights over the hidden units and a constant.
const PARAMETERS: usize = K * LAYER + D + 1;

struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.next()).sum::<f64>() - 6.0
    }

    fn signs(&mut self) -> [f64; K] {
        std::array::from_fn(|_| if self.next() < 0.5 { -1.0 } else { 1.0 })
    }
}

struct Net {
    w: Vec<f64>,
    moments: Vec<[f64; 2]>,
    step: i32,
}

impl Net {
    fn new(random: &mut Random) -> Self {
        let w = (0..PARAMETERS).map(|i| random.normal() * if i < K * LAYER { 0.7 } else { 0.5 }).collect();
        Self { w, moments: vec![[0.0; 2]; PARAMETERS], step: 0 }
    }

    /// The hidden units after each layer up to the one of `skill`, and the answer's logit.
    fn forward(&self, x: &[f64; K], skill: usize) -> (Vec<[f64; D]>, f64) {
        let mut hidden = vec![[0.0; D]];
        for i in 0..=skill {
            let before = hidden[i];
            hidden.push(std::array::from_fn(|u| {
                let row = &self.w[i * LAYER + u * (D + 2)..][..D + 2];
                let sum: f64 = row.iter().zip(before).map(|(w, h)| w * h).sum();
                (sum + row[D] * x[i] + row[D + 1]).tanh()
            }));
        }
        let answer = &self.w[K * LAYER..];
        let logit = answer.iter().zip(hidden[skill + 1]).map(|(w, h)| w * h).sum::<f64>() + answer[D];
        (hidden, logit)
    }

    /// Adds the gradient of the loss of one example over `n`.
    fn backward(&self, x: &[f64; K], skill: usize, n: usize, gradient: &mut [f64]) {
        let (hidden, logit) = self.forward(x, skill);
        let truth = f64::from(u8::from(sign(x, skill) > 0.0));
        let error = (1.0 / (1.0 + (-logit).exp()) - truth) / n as f64;
        let answer = K * LAYER;
        let mut pull: [f64; D] = std::array::from_fn(|u| error * self.w[answer + u]);
        (0..D).for_each(|u| gradient[answer + u] += error * hidden[skill + 1][u]);
        gradient[answer + D] += error;
        for i in (0..=skill).rev() {
            let mut before = [0.0; D];
            for u in 0..D {
                let inner = pull[u] * (1.0 - hidden[i + 1][u] * hidden[i + 1][u]);
                let at = i * LAYER + u * (D + 2);
                for v in 0..D {
                    gradient[at + v] += inner * hidden[i][v];
                    before[v] += inner * self.w[at + v];
                }
                gradient[at + D] += inner * x[i];
                gradient[at + D + 1] += inner;
            }
            pull = before;
        }
    }

    /// A step of Adam.
    fn update(&mut self, gradient: &[f64]) {
        self.step += 1;
        let bias = [1.0 - 0.9f64.powi(self.step), 1.0 - 0.999f64.powi(self.step)];
        for ((w, m), g) in self.w.iter_mut().zip(&mut self.moments).zip(gradient) {
            m[0] = 0.9 * m[0] + 0.1 * g;
            m[1] = 0.999 * m[1] + 0.001 * g * g;
            *w -= RATE * (m[0] / bias[0]) / ((m[1] / bias[1]).sqrt() + 1e-8);
        }
    }
}

/// The sign of a variable: the product of the steps up to it.
fn sign(x: &[f64; K], skill: usize) -> f64 {
    x[..=skill].iter().product()
}

/// Loss and accuracy of every skill on examples of their own.
fn evaluate(net: &Net) -> ([f64; K], [f64; K]) {
    let mut random = Random(99);
    let (mut losses, mut right) = ([0.0; K], [0.0; K]);
    let n = 256;
    for _ in 0..n {
        let x = random.signs();
        for skill in 0..K {
            let margin = net.forward(&x, skill).1 * sign(&x, skill);
            losses[skill] += (-margin).exp().ln_1p() / f64::from(n);
            right[skill] += f64::from(u8::from(margin > 0.0)) / f64::from(n);
        }
    }
    (losses, right)
}

fn train(mut sampler: MixtureSampler, follows: bool, seed: u64) -> ([f64; K], [f64; K], Vec<f64>) {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut net = Net::new(&mut random);
    for step in 0..STEPS {
        if follows && step % EVALUATE_EVERY == 0 {
            sampler.tell(&evaluate(&net).0).unwrap();
        }
        let mut gradient = vec![0.0; PARAMETERS];
        for skill in sampler.next_batch(BATCH).unwrap() {
            net.backward(&random.signs(), skill as usize, BATCH, &mut gradient);
        }
        net.update(&gradient);
    }
    let (losses, right) = evaluate(&net);
    (losses, right, sampler.weights().to_vec())
}

#[test]
fn the_last_skill_gains_from_following_the_losses() {
    let chain: Vec<(usize, usize)> = (0..K - 1).map(|i| (i, i + 1)).collect();
    let seeds = 24;
    let (mut wins, mut accuracy, mut loss) = (0, [0.0; 2], [0.0; 2]);
    for seed in 0..seeds {
        let uniform = train(MixtureSampler::fixed(&[1.0; K], seed).unwrap(), false, seed);
        let options = SamplerOptions {
            skill: SkillOptions { eta: 2.0, ..SkillOptions::default() },
            update_every: UPDATE_EVERY as u64,
            seed,
            ..SamplerOptions::default()
        };
        let graph = SkillGraph::from_edges(K, &chain).unwrap();
        let followed = train(MixtureSampler::skill_it(graph, options).unwrap(), true, seed);
        let weights = &followed.2;
        assert!(weights[0] < 0.2, "what is learnt first is trained on less in the end: {weights:?}");
        for (at, run) in [&uniform, &followed].into_iter().enumerate() {
            loss[at] += run.0[K - 1] / seeds as f64;
            accuracy[at] += run.1[K - 1] / seeds as f64;
        }
        wins += usize::from(followed.0[K - 1] < uniform.0[K - 1]);
    }
    eprintln!(
        "last skill, uniform and Skill-It: accuracy {accuracy:?}, loss {loss:?}, {wins} of {seeds} seeds"
    );
    assert!(2 * wins > seeds as usize, "{wins} of {seeds} seeds");
    assert!(accuracy[1] > accuracy[0] + 0.01, "{accuracy:?}");
    assert!(loss[1] < 0.9 * loss[0], "{loss:?}");
}

#[test]
fn the_gradient_is_that_of_the_loss() {
    let mut random = Random(5);
    let mut net = Net::new(&mut random);
    let x = random.signs();
    let mut gradient = vec![0.0; PARAMETERS];
    net.backward(&x, 3, 1, &mut gradient);
    for at in [0, 17, LAYER + 5, 3 * LAYER + D, K * LAYER + 2, PARAMETERS - 1] {
        let mut loss = |shift: f64| {
            net.w[at] += shift;
            let value = (-net.forward(&x, 3).1 * sign(&x, 3)).exp().ln_1p();
            net.w[at] -= shift;
            value
        };
        let slope = (loss(1e-5) - loss(-1e-5)) / 2e-5;
        assert!((slope - gradient[at]).abs() < 1e-8, "{at}: {slope} {}", gradient[at]);
    }
}
