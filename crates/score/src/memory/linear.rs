//! A linear function of TF-IDF-weighted hashed n-grams as the source of scores: the classifier, and ratings.

use std::io::Write;

use gristmill_core::{Code, Error, Result};
use gristmill_mix::{Linear, Platt, TfIdf, term_frequency};
use gristmill_ngram::hashed::{Features, HashedSpec};
use gristmill_ngram::normalize::NormalizerSpec;
use serde::{Deserialize, Serialize};

use super::{LossModel, Scratch};
use crate::methods::{Method, Sums};
use crate::spec::{ScoreSpec, Windows};

/// How a file begins.
const MAGIC: &[u8; 8] = b"GMLINEAR";
/// A header is a line of JSON; longer ones are damage.
const LONGEST_HEADER: u64 = 1 << 16;

/// What stands before the numbers of a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Header {
    version: u32,
    method: Method,
    features: HashedSpec,
    intercept: f64,
    calibration: Platt,
}

/// Rates a document by `slope (w·x / |x| + intercept) + offset`, where `x` has
/// `(1 + ln(count)) · idf` for the bucket of each n-gram.
///
/// Under `classifier` the rating is the log-odds of the target, and the loss is that of the label "target":
/// `ln(1 + e^-rating)`. Under `bradley-terry` the rating itself is the score.
#[derive(Debug, Clone)]
pub struct HashedLinear {
    header: Header,
    features: Features,
    /// Inverse document frequency and weight of each bucket, side by side: they are wanted together.
    table: Vec<[f32; 2]>,
}

impl HashedLinear {
    /// From what was fitted.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for a method without such a model, or tables of another size than the features.
    pub fn new(
        method: Method,
        features: Features,
        tfidf: &TfIdf,
        model: &Linear,
        calibration: Platt,
    ) -> Result<Self> {
        if !matches!(method, Method::Classifier | Method::BradleyTerry) {
            return Err(Error::invalid_argument("method", format!("{method} is no linear function")));
        }
        let buckets = features.spec().buckets;
        if tfidf.idf.len() != buckets || model.weights.len() != buckets || !tfidf.sublinear {
            return Err(Error::invalid_argument("buckets", "the tables are not those of the features"));
        }
        let table = tfidf.idf.iter().zip(&model.weights).map(|(&idf, &w)| [idf, w as f32]).collect();
        let features_spec = features.spec().clone();
        let intercept = model.intercept;
        let header = Header { version: 1, method, features: features_spec, intercept, calibration };
        Ok(Self { header, features, table })
    }

    /// Writes the file form: a magic number, the length of the header, the header as JSON, and the table as pairs
    /// of little-endian `f32`.
    pub fn write(&self, mut out: impl Write) -> std::io::Result<()> {
        let header = serde_json::to_vec(&self.header)?;
        out.write_all(MAGIC)?;
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        for chunk in self.table.chunks(4096) {
            let bytes: Vec<u8> = chunk.iter().flatten().flat_map(|x| x.to_le_bytes()).collect();
            out.write_all(&bytes)?;
        }
        Ok(())
    }

    /// Reads the file form.
    ///
    /// # Errors
    /// [`Code::InvalidModel`] for anything that [`write`](Self::write) does not write.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let bad = |why: String| Error::new(Code::InvalidModel, why);
        let short = || bad("the file ends early".into());
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| bad("this is no rater".into()))?;
        let (length, rest) = rest.split_first_chunk::<8>().ok_or_else(short)?;
        let length = u64::from_le_bytes(*length);
        if length > LONGEST_HEADER {
            return Err(bad(format!("a header of {length} bytes")));
        }
        let (header, rest) = rest.split_at_checked(length as usize).ok_or_else(short)?;
        let header: Header =
            serde_json::from_slice(header).map_err(|e| bad(format!("the header is damaged: {e}")))?;
        let Header { version, method, intercept, calibration, .. } = &header;
        if *version != 1 {
            return Err(Error::new(Code::Unsupported, format!("a rater of version {version}")));
        }
        let numbers = [*intercept, calibration.slope, calibration.offset];
        if !matches!(method, Method::Classifier | Method::BradleyTerry)
            || numbers.iter().any(|x| !x.is_finite())
        {
            return Err(bad("the header contradicts itself".into()));
        }
        let features = Features::new(header.features.clone())?;
        if rest.len() as u64 != 8 * features.spec().buckets as u64 {
            return Err(bad(format!("{} bytes for {} buckets", rest.len(), features.spec().buckets)));
        }
        let number = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        let table: Vec<[f32; 2]> = rest.chunks_exact(8).map(|b| [number(&b[..4]), number(&b[4..])]).collect();
        if let Some(at) = table.iter().position(|pair| pair.iter().any(|x| !x.is_finite())) {
            return Err(bad(format!("bucket {at} has no finite weight")));
        }
        Ok(Self { header, features, table })
    }

    /// The rating of a text, with its numbers of words and of n-grams; no rating for a text without words.
    fn rate(&self, text: &str, scratch: &mut Scratch) -> Result<(u64, u64, Option<f64>)> {
        let Scratch { words, ids, counter, .. } = scratch;
        ids.clear();
        let n_words = self.features.for_each_bucket(text, words, |bucket| ids.push(bucket as u32))?;
        let (mut dot, mut square) = (0.0, 0.0);
        for &(bucket, count) in counter.count(ids) {
            let [idf, weight] = self.table[bucket as usize].map(f64::from);
            let value = term_frequency(count, true) * idf;
            dot += value * weight;
            square += value * value;
        }
        let margin = (square > 0.0).then(|| dot / square.sqrt() + self.header.intercept);
        Ok((n_words, ids.len() as u64, margin.map(|m| self.header.calibration.log_odds(m))))
    }
}

impl LossModel for HashedLinear {
    fn models(&self) -> usize {
        self.header.method.roles().len()
    }

    fn normalizer(&self) -> Option<&NormalizerSpec> {
        Some(self.features.normalizer().spec())
    }

    fn supports(&self, spec: &ScoreSpec) -> Result<()> {
        if spec.name != self.header.method || spec.windows != Windows::Document {
            let message = format!("this model gives whole documents a score of {}", self.header.method);
            return Err(Error::new(Code::Unsupported, message));
        }
        if spec.features.as_ref() != Some(&self.header.features) {
            return Err(Error::invalid_argument("features", "the model was made from other features"));
        }
        Ok(())
    }

    fn text(&self, _: &ScoreSpec, text: &str, scratch: &mut Scratch) -> Result<Sums> {
        let (words, ngrams, rating) = self.rate(text, scratch)?;
        let count = |n: u64| {
            u32::try_from(n)
                .map_err(|_| Error::new(Code::InvalidValue, format!("{n} n-grams in one document")))
        };
        let (n_tokens, n_scored) = (count(words)?, count(ngrams)?);
        let sum = match self.header.method {
            // ln(1 + e^-t), without overflow.
            Method::Classifier => rating.map(|t| (-t).max(0.0) + libm::log1p(libm::exp(-t.abs()))),
            _ => rating,
        };
        Ok(Sums { n_tokens, n_scored, n_bytes: 0, nll: [sum.unwrap_or(f64::NAN), 0.0] })
    }

    fn tokens(&self, _: &ScoreSpec, _: &[u32], _: &mut Scratch) -> Result<Sums> {
        Err(Error::new(Code::Unsupported, "hashed n-grams are made of words: score text"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(method: Method) -> HashedLinear {
        let spec = HashedSpec { buckets: 64, ..ScoreSpec::classifier_features() };
        let features = Features::new(spec).unwrap();
        let idf = (0..64).map(|b| 1.0 + b as f32 / 64.0).collect();
        let tfidf = TfIdf { idf, sublinear: true };
        let weights = (0..64).map(|b| f64::from(b - 30) / 16.0).collect();
        let linear = Linear { weights, intercept: 0.25, epochs: 1, converged: true, duals: Vec::new() };
        HashedLinear::new(method, features, &tfidf, &linear, Platt { slope: 2.0, offset: -0.5 }).unwrap()
    }

    /// The definition, with the features of a map.
    #[test]
    fn scores_follow_from_the_definition() {
        let (classifier, rater) = (model(Method::Classifier), model(Method::BradleyTerry));
        let mut scratch = Scratch::default();
        for text in ["a b a b a", "The mill grinds. The mill turns!", "x"] {
            let mut counts = std::collections::BTreeMap::new();
            let words = classifier
                .features
                .for_each_bucket(text, &mut scratch.words, |b| *counts.entry(b).or_insert(0.0) += 1.0)
                .unwrap();
            let value = |(&b, &n): (&usize, &f64)| (1.0 + n.ln()) * (1.0 + b as f64 / 64.0);
            let length = counts.iter().map(|c| value(c).powi(2)).sum::<f64>().sqrt();
            let dot: f64 = counts.iter().map(|c| value(c) / length * (*c.0 as f64 - 30.0) / 16.0).sum();
            let rating = 2.0 * (dot + 0.25) - 0.5;
            let spec = ScoreSpec {
                features: Some(classifier.header.features.clone()),
                ..ScoreSpec::of(Method::Classifier)
            };
            let sums = classifier.text(&spec, text, &mut scratch).unwrap();
            assert_eq!(u64::from(sums.n_tokens), words);
            assert!((spec.score(&sums) - 1.0 / (1.0 + (-rating).exp())).abs() < 1e-6, "{text}");
            let spec = ScoreSpec { name: Method::BradleyTerry, ..spec };
            let sums = rater.text(&spec, text, &mut scratch).unwrap();
            assert!((spec.score(&sums) - rating).abs() < 1e-5, "{text}");
        }
        let spec = ScoreSpec::of(Method::Classifier);
        assert!(spec.score(&classifier.text(&spec, " ", &mut scratch).unwrap()).is_nan());
        assert_eq!(classifier.supports(&spec).unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(classifier.supports(&ScoreSpec::of(Method::Dsir)).unwrap_err().code(), Code::Unsupported);
    }

    #[test]
    fn a_file_reads_back_and_damage_is_named() {
        let model = model(Method::Classifier);
        let mut bytes = Vec::new();
        model.write(&mut bytes).unwrap();
        let read = HashedLinear::from_bytes(&bytes).unwrap();
        assert_eq!((&read.header, &read.table), (&model.header, &model.table));

        let code = |bytes: &[u8]| HashedLinear::from_bytes(bytes).unwrap_err().code();
        for cut in [0, 7, 12, 20, 100, bytes.len() - 1] {
            assert_eq!(code(&bytes[..cut]), Code::InvalidModel, "{cut}");
        }
        assert_eq!(code(&[&bytes[..], &[0]].concat()), Code::InvalidModel, "longer");
        let mut huge = bytes.clone();
        huge[8..16].fill(0xff);
        assert_eq!(code(&huge), Code::InvalidModel);
        let mut nan = bytes.clone();
        let end = nan.len();
        nan[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
        assert_eq!(code(&nan), Code::InvalidModel);
        let text = String::from_utf8_lossy(&bytes[16..200]).replace("\"version\":1", "\"version\":9");
        let mut newer = bytes.clone();
        newer[16..30].copy_from_slice(&text.as_bytes()[..14]);
        assert_eq!(code(&newer), Code::Unsupported);
        assert!(
            HashedLinear::new(
                Method::Dsir,
                model.features.clone(),
                &TfIdf { idf: vec![1.0; 64], sublinear: true },
                &Linear {
                    weights: vec![0.0; 64],
                    intercept: 0.0,
                    epochs: 0,
                    converged: true,
                    duals: Vec::new()
                },
                Platt::default()
            )
            .is_err()
        );
    }
}
