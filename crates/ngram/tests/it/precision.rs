//! What a selection is worth: precision on labelled text (`test/corpora`), for each kind of it as the target.
//!
//! The sample of a kind is held out of the pool and comes from other sources; as many documents are taken as
//! are relevant, so precision equals recall.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use gristmill_core::Control;
use gristmill_ngram::adapt::{Adapter, Options, PairScratch};
use gristmill_ngram::hashed::{BucketCounts, Features, HashedSpec, ImportanceWeights};
use gristmill_ngram::normalize::{Normalizer, Scratch};
use serde::Deserialize;

#[derive(Deserialize)]
struct Document {
    text: String,
    label: String,
}

/// Figures of DSIR's package on the same documents; `test/corpora/dsir_reference.py` made them.
#[derive(Deserialize)]
struct Reference {
    corpora: String,
    kinds: BTreeMap<String, Figures>,
    average: Figures,
}

#[derive(Deserialize)]
struct Figures {
    random: f64,
    sum: f64,
    mean: f64,
}

struct Corpora {
    pool: Vec<Document>,
    targets: BTreeMap<String, Vec<Document>>,
    reference: Reference,
}

/// The labelled pool, made by `test/corpora/prepare.mjs` from packages that `npm ci` installs. `None`, with
/// the reason on stderr, where they are not installed.
///
/// # Panics
/// When they are not, and `$GRISTMILL_REQUIRE`, a list separated by commas, has `corpora` in it.
fn corpora() -> Option<Corpora> {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test/corpora");
    let made = Command::new("node").arg(scripts.join("prepare.mjs")).output();
    let reason = match &made {
        Ok(output) if output.status.success() => None,
        Ok(output) if output.status.code() == Some(3) => {
            Some(String::from_utf8_lossy(&output.stderr).into_owned())
        }
        Ok(output) => panic!("prepare.mjs failed: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => Some(format!("node does not run: {error}")),
    };
    if let Some(reason) = reason {
        let required = std::env::var("GRISTMILL_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|name| name.trim() == "corpora"), "{reason}");
        eprintln!("skipped: {reason}");
        return None;
    }
    let manifest = PathBuf::from(String::from_utf8(made.unwrap().stdout).unwrap().trim());
    let folder = manifest.parent().unwrap();
    let mut pool = Vec::new();
    for shard in listing(&folder.join("pool")) {
        pool.extend(documents(&shard));
    }
    let targets = listing(&folder.join("target")).into_iter().map(|path| {
        let sample = documents(&path);
        (sample[0].label.clone(), sample)
    });
    let targets = targets.collect();
    let reference = std::fs::read(scripts.join("dsir_reference.json")).unwrap();
    let reference: Reference = serde_json::from_slice(&reference).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    assert_eq!(
        manifest["content"], reference.corpora,
        "the corpora changed: run test/corpora/dsir_reference.py again"
    );
    Some(Corpora { pool, targets, reference })
}

fn listing(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn documents(path: &Path) -> Vec<Document> {
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

impl Corpora {
    fn relevant(&self, kind: &str) -> usize {
        self.pool.iter().filter(|d| d.label == kind).count()
    }

    fn precision(&self, kind: &str, scores: &[f64]) -> f64 {
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        let relevant = self.relevant(kind);
        let hits = order[..relevant].iter().filter(|at| self.pool[**at].label == kind).count();
        hits as f64 / relevant as f64
    }

    /// Precision of importance weights, as sums and per n-gram.
    fn importance(&self, kind: &str, spec: HashedSpec) -> [f64; 2] {
        let features = Features::new(spec).unwrap();
        let mut scratch = Scratch::default();
        let mut count = |documents: &[Document]| {
            let mut counts = BucketCounts::new(&features);
            for document in documents {
                counts.add(&features, &document.text, &mut scratch).unwrap();
            }
            counts
        };
        let (target, raw) = (count(&self.targets[kind]), count(&self.pool));
        let weights = ImportanceWeights::new(features, &target, &raw).unwrap();
        let scores = self.pool.iter().map(|d| weights.score(&d.text, &mut scratch).unwrap());
        let (sums, means): (Vec<f64>, Vec<f64>) = scores.map(|s| (s.sum, s.mean())).unzip();
        [self.precision(kind, &sums), self.precision(kind, &means)]
    }

    /// Precision of loss reduction with order and weight chosen, and what was chosen.
    fn loss_reduction(&self, kind: &str, options: &Options) -> (f64, String) {
        let mut adapter = Adapter::new(Normalizer::default(), options.clone()).unwrap();
        self.targets[kind].iter().for_each(|d| adapter.add_target(&d.text).unwrap());
        self.pool.iter().for_each(|d| adapter.add_pool(&d.text).unwrap());
        let fit = adapter.finish(&Control::default()).unwrap();
        let tried = fit.choice.candidates.iter().map(|c| format!("{}:{:.4}", c.order, c.discrimination.auc));
        let how = format!(
            "order {} weight {:.3} lookalikes {} ({})",
            fit.choice.order,
            fit.choice.weight,
            fit.lookalikes,
            tried.collect::<Vec<_>>().join(" ")
        );
        let adapted = fit.into_adapted(serde_json::Map::new()).unwrap();
        let mut scratch = PairScratch::default();
        let scores: Vec<f64> = self
            .pool
            .iter()
            .map(|d| adapted.score_text_with(&d.text, &mut scratch).unwrap().loss_reduction())
            .collect();
        (self.precision(kind, &scores), how)
    }
}

#[test]
fn loss_reduction_finds_each_kind_of_text() {
    let Some(corpora) = corpora() else { return };
    assert!(corpora.targets.len() >= 6);
    let mut all = Vec::new();
    for (kind, figures) in &corpora.reference.kinds {
        let random = corpora.relevant(kind) as f64 / corpora.pool.len() as f64;
        assert!((random - figures.random).abs() < 1e-4 && random < 0.2, "{kind}: {random}");
        let (precision, how) = corpora.loss_reduction(kind, &Options::default());
        println!(
            "{kind:10} precision {precision:.3}, random {random:.3}, dsir {:.3} {:.3}; {how}",
            figures.sum, figures.mean
        );
        assert!(precision >= 4.0 * random, "{kind}: {precision} beside {random}");
        all.push(precision);
    }
    let mean = all.iter().sum::<f64>() / all.len() as f64;
    let dsir = &corpora.reference.average;
    println!(
        "mean       precision {mean:.4}, random {:.3}, dsir {:.3} {:.3}",
        dsir.random, dsir.sum, dsir.mean
    );
    assert!(mean >= dsir.mean.max(dsir.sum) + 0.1, "{mean}");
    // 0.950 when this was written.
    assert!(mean >= 0.94, "{mean}");
}

#[test]
fn importance_weights_equal_the_reference_and_the_default_is_better() {
    let Some(corpora) = corpora() else { return };
    let (mut sums, mut means) = (0.0, 0.0);
    for (kind, figures) in &corpora.reference.kinds {
        let [sum, mean] = corpora.importance(kind, HashedSpec::reference());
        // Equal weights may be taken in another order, and the last bits of a sum differ.
        let slack = 2.0 / corpora.relevant(kind) as f64;
        assert!((sum - figures.sum).abs() <= slack, "{kind}: {sum} {}", figures.sum);
        assert!((mean - figures.mean).abs() <= slack, "{kind}: {mean} {}", figures.mean);
        let [sum, mean] = corpora.importance(kind, HashedSpec::default());
        println!("{kind:10} sum {sum:.3} ({:.3}), per n-gram {mean:.3} ({:.3})", figures.sum, figures.mean);
        sums += sum;
        means += mean;
    }
    let n = corpora.reference.kinds.len() as f64;
    println!("mean       sum {:.4}, per n-gram {:.4}", sums / n, means / n);
    assert!(sums / n > corpora.reference.average.sum + 0.05);
    assert!(means / n > corpora.reference.average.mean + 0.05);
}
