//! Batches: who is in them how often, and that nothing repeats.

use gristmill_privacy::{PoissonOptions, PoissonSampler};

const OPTIONS: PoissonOptions =
    PoissonOptions { examples: 200_000, sample_rate: 0.01, seed: Some(3), multiple: 1 };

fn sampler(options: PoissonOptions) -> PoissonSampler {
    PoissonSampler::new(&options).unwrap()
}

#[test]
fn sizes_are_binomial_and_every_example_is_as_likely() {
    let options = PoissonOptions { examples: 70_001, sample_rate: 0.02, ..OPTIONS };
    let mut sampler = sampler(options);
    let (n, q, steps) = (70_001.0, 0.02, 400.0);
    let mut counts = vec![0_u32; 70_001];
    let mut sizes = Vec::new();
    for step in 0..400 {
        let batch = sampler.next_batch();
        assert_eq!(batch.step, step);
        assert!(batch.indices.is_sorted_by(|a, b| a < b));
        batch.indices.iter().for_each(|i| counts[*i as usize] += 1);
        sizes.push(batch.private_size as f64);
    }
    let mean = sizes.iter().sum::<f64>() / steps;
    let variance = sizes.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / (steps - 1.0);
    let expected = n * q * (1.0 - q);
    assert!((mean - n * q).abs() < 5.0 * (expected / steps).sqrt(), "{mean}");
    assert!((variance / expected - 1.0).abs() < 5.0 * (2.0 / steps).sqrt(), "{variance} for {expected}");
    // Per example: the chi-square statistic of binomial counts, whose own standard deviation is sqrt(2 n).
    let chi: f64 = counts.iter().map(|c| (f64::from(*c) - steps * q).powi(2) / (steps * q * (1.0 - q))).sum();
    assert!((chi - n).abs() < 6.0 * (2.0 * n).sqrt(), "{chi} for {n}");
    // Neighbours are in a batch together as often as independent ones.
    let mut together = 0_u32;
    for _ in 0..400 {
        together += sampler.next_batch().indices.windows(2).filter(|w| w[0] + 1 == w[1]).count() as u32;
    }
    let pairs = steps * n * q * q;
    assert!((f64::from(together) - pairs).abs() < 6.0 * pairs.sqrt(), "{together} for {pairs}");
}

#[test]
fn a_restored_sampler_goes_on_and_repeats_nothing() {
    for seed in [Some(3), None] {
        let mut before = sampler(PoissonOptions { seed, ..OPTIONS });
        let first = before.next_batch();
        let text = serde_json::to_string(&before).unwrap();
        let mut after: PoissonSampler = serde_json::from_str(&text).unwrap();
        let (second, again) = (before.next_batch(), after.next_batch());
        assert_eq!(second, again);
        assert_ne!(first.indices, second.indices);
        assert_eq!((after.steps(), second.step), (2, 1));
        assert!(
            !format!("{after:?}").contains(&text[text.len() - 40..text.len() - 20]),
            "the key is printed"
        );
    }
}

#[test]
fn seeds_repeat_and_secret_keys_do_not() {
    assert_eq!(sampler(OPTIONS).next_batch(), sampler(OPTIONS).next_batch());
    let other = PoissonOptions { seed: Some(4), ..OPTIONS };
    assert_ne!(sampler(OPTIONS).next_batch().indices, sampler(other).next_batch().indices);
    let secret = PoissonOptions { seed: None, ..OPTIONS };
    assert_ne!(sampler(secret).next_batch().indices, sampler(secret).next_batch().indices);
}

#[test]
fn the_ends_of_the_sample_rate_are_nobody_and_everybody() {
    for (sample_rate, size) in [(0.0, 0), (1.0, 100_000), (2f64.powi(-70), 0), (1.0 - f64::EPSILON, 100_000)]
    {
        let mut sampler = sampler(PoissonOptions { examples: 100_000, sample_rate, ..OPTIONS });
        let batch = sampler.next_batch();
        assert_eq!((batch.private_size, batch.indices.len(), batch.weights.len()), (size, size, size));
    }
}

#[test]
fn padding_has_weight_zero_and_an_empty_batch_the_least_shape() {
    let mut padded = sampler(PoissonOptions { multiple: 256, ..OPTIONS });
    let (batch, plain) = (padded.next_batch(), sampler(OPTIONS).next_batch());
    let size = batch.private_size;
    assert_eq!(batch.indices.len(), size.next_multiple_of(256));
    assert_eq!(batch.indices[..size], plain.indices);
    assert!(
        batch.weights[..size].iter().all(|w| *w == 1.0) && batch.weights[size..].iter().all(|w| *w == 0.0)
    );
    let mut nobody = sampler(PoissonOptions { multiple: 256, sample_rate: 0.0, ..OPTIONS });
    let batch = nobody.next_batch();
    assert_eq!((batch.indices.len(), batch.weights.iter().sum::<f32>()), (256, 0.0));
}

#[test]
fn options_out_of_range_and_damaged_states_are_refused() {
    for (options, name) in [
        (PoissonOptions { examples: 0, ..OPTIONS }, "examples"),
        (PoissonOptions { examples: (1 << 32) + 1, ..OPTIONS }, "examples"),
        (PoissonOptions { sample_rate: 1.5, ..OPTIONS }, "sampleRate"),
        (PoissonOptions { sample_rate: f64::NAN, ..OPTIONS }, "sampleRate"),
        (PoissonOptions { multiple: 0, ..OPTIONS }, "multiple"),
    ] {
        assert_eq!(PoissonSampler::new(&options).unwrap_err().location().column.as_deref(), Some(name));
    }
    let text = serde_json::to_string(&sampler(OPTIONS)).unwrap();
    for (from, to) in
        [("sampler/1", "sampler/9"), ("0300", "03zz"), ("0300", "03"), ("0.01", "7"), ("\"key\"", "\"kei\"")]
    {
        assert!(text.contains(from), "{text}");
        assert!(
            serde_json::from_str::<PoissonSampler>(&text.replacen(from, to, 1)).is_err(),
            "{from} to {to}"
        );
    }
}
