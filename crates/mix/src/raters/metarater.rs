//! How much each of several raters should count, learnt from training runs (Meta-rater: Zhuang and others,
//! *Meta-rater: A Multi-dimensional Data Selection Method for Pre-training Language Models*, 2025).
//!
//! Random weights, a small model trained on what each selects, a regression from weights to loss, the weights with
//! the lowest prediction: it is RegMix with raters for domains, and the same functions serve.

use std::path::Path;

use gristmill_core::{Code, Control, Error, Result, ResultExt};
use serde::{Deserialize, Serialize};

use crate::{
    FitOptions, FitReport, Matrix, MixtureModel, Objective, OptimizeOptions, Optimum, Runs, optimize_mixture,
};

/// Mean and spread of a column of scores: a state that merges.
///
/// ```
/// use gristmill_mix::Moments;
///
/// let mut left = Moments::default();
/// [2.0, 4.0].into_iter().for_each(|x| left.add(x));
/// let mut right = Moments::default();
/// [4.0, 6.0].into_iter().for_each(|x| right.add(x));
/// left.merge(&right);
/// assert_eq!((left.count, left.mean, left.deviation()), (4, 4.0, 2.0f64.sqrt()));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Moments {
    /// How many numbers.
    pub count: u64,
    /// Their mean; 0 of none.
    pub mean: f64,
    /// Sum of the squared distances from the mean.
    pub squares: f64,
}

impl Moments {
    /// Adds a number (Welford, 1962).
    pub fn add(&mut self, x: f64) {
        self.count += 1;
        let from = x - self.mean;
        self.mean += from / self.count as f64;
        self.squares += from * (x - self.mean);
    }

    /// Adds the numbers of another part (Chan, Golub and LeVeque, 1983).
    pub fn merge(&mut self, other: &Self) {
        let (n, m) = (self.count as f64, other.count as f64);
        if m == 0.0 {
            return;
        }
        let apart = other.mean - self.mean;
        self.count += other.count;
        self.mean += apart * m / (n + m);
        self.squares += other.squares + apart * apart * n * m / (n + m);
    }

    /// Standard deviation of all these numbers; 0 of none.
    pub fn deviation(&self) -> f64 {
        if self.count == 0 { 0.0 } else { (self.squares / self.count as f64).sqrt() }
    }
}

/// Reads runs of one CSV file: a column for the weight of each rater, which sum to one in every row, and a column
/// for every loss that was measured; columns `index` and `run` are passed over. A rater whose column is missing is
/// an error, so that a misspelt name is no loss.
///
/// # Errors
/// [`Code::MissingColumn`] for a rater without a column and for a file without losses; those of [`Runs::new`].
pub fn read_rater_runs(path: impl AsRef<Path>, raters: &[String]) -> Result<Runs> {
    let path = path.as_ref();
    parse(path, raters).at_path(path.display().to_string())
}

fn parse(path: &Path, raters: &[String]) -> Result<Runs> {
    let file = std::fs::File::open(path).map_err(|e| Error::io(path.display().to_string(), "open", e))?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file);
    let damaged = |e: csv::Error| {
        let row = e.position().map(|p| p.record().saturating_sub(1));
        let e = Error::new(Code::CorruptData, format!("this is no CSV table: {e}"));
        row.into_iter().fold(e, Error::at_row)
    };
    let header = reader.headers().map_err(damaged)?.clone();
    let find = |name: &String| {
        header.iter().position(|h| h == name).ok_or_else(|| {
            Error::new(Code::MissingColumn, format!("no column for the weights of the rater {name:?}"))
                .at_column(name)
                .hint(format!("columns: {}", header.iter().collect::<Vec<_>>().join(", ")))
        })
    };
    let ours = raters.iter().map(find).collect::<Result<Vec<_>>>()?;
    let losses: Vec<usize> = (0..header.len())
        .filter(|at| !ours.contains(at) && !["index", "run"].contains(&&header[*at]))
        .collect();
    if losses.is_empty() {
        return Err(Error::new(Code::MissingColumn, "there is no column with a loss beside the weights"));
    }
    let (mut weights, mut measured, mut rows) = (Vec::new(), Vec::new(), 0);
    for record in reader.records() {
        let record = record.map_err(damaged)?;
        let number = |at: usize| {
            record[at].parse::<f64>().map_err(|_| {
                Error::new(Code::InvalidValue, format!("{:?} is no number", &record[at]))
                    .at_row(rows)
                    .at_column(&header[at])
            })
        };
        for &at in &ours {
            weights.push(number(at)?);
        }
        for &at in &losses {
            measured.push(number(at)?);
        }
        rows += 1;
    }
    let rows = rows as usize;
    let names = losses.iter().map(|&at| header[at].to_owned()).collect();
    Runs::new(
        raters.to_vec(),
        Matrix::new(rows, raters.len(), weights)?,
        names,
        Matrix::new(rows, losses.len(), measured)?,
    )
}

/// Fits the regression and takes the weights with the lowest predicted loss, as an [`Optimum`] in which raters stand
/// where domains do: with intervals over bootstrap samples of the runs, and a word where the optimum lies outside of
/// what the runs covered. The draws are even over all weights, whatever the runs had.
///
/// # Errors
/// Those of [`MixtureModel::fit`] and of [`optimize_mixture`].
pub fn fit_rater_weights(
    runs: &Runs,
    target: &str,
    fit: &FitOptions,
    search: &OptimizeOptions,
    control: &Control,
) -> Result<(Optimum, FitReport)> {
    let model = MixtureModel::fit(runs, target, fit, control)?;
    let raters = runs.domains().len();
    let even = vec![1.0 / raters as f64; raters];
    // Dirichlet(1, …, 1) is uniform on the simplex.
    let search = OptimizeOptions { strength: search.strength * raters as f64, ..search.clone() };
    let optimum = optimize_mixture(&[Objective { model: &model, weight: 1.0 }], &even, &search, control)?;
    Ok((optimum, model.report().clone()))
}

#[cfg(test)]
mod tests {
    use rand_distr::{Distribution, StandardNormal};

    use super::*;
    use crate::{SampleOptions, rng, sample_mixtures};

    #[test]
    fn moments_are_those_of_two_passes_in_any_parts() {
        let mut rng = rng::stream(4, "test", 0);
        let normal = |rng: &mut _| -> f64 { StandardNormal.sample(rng) };
        let values: Vec<f64> = (0..1000).map(|_| 1e6 + 3.0 * normal(&mut rng)).collect();
        let mean = values.iter().sum::<f64>() / 1000.0;
        let deviation = (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 1000.0).sqrt();
        let mut all = Moments::default();
        for part in values.chunks(170) {
            let mut one = Moments::default();
            part.iter().for_each(|&x| one.add(x));
            all.merge(&one);
        }
        all.merge(&Moments::default());
        assert!((all.mean - mean).abs() < 1e-8 && (all.deviation() - deviation).abs() < 1e-8, "{all:?}");
        assert_eq!(Moments::default().deviation(), 0.0);
    }

    /// Documents with four ratings and a hidden value that weighs them; what a selection is worth is the mean
    /// value of the tenth with the highest weighted rating, seen through noise.
    #[test]
    fn recovers_planted_weights() {
        const N: usize = 4000;
        let planted = [0.55, 0.3, 0.15, 0.0];
        let mut rng = rng::stream(11, "test", 0);
        let mut normal = || -> f64 { StandardNormal.sample(&mut rng) };
        let ratings: Vec<[f64; 4]> = (0..N).map(|_| std::array::from_fn(|_| normal())).collect();
        let dot = |w: &[f64], r: &[f64; 4]| w.iter().zip(r).map(|(w, r)| w * r).sum::<f64>();
        let options = SampleOptions { n: 256, ..Default::default() };
        let weights = sample_mixtures(&[0.25; 4], &options).unwrap().weights;
        let mut losses = Vec::new();
        for w in weights.iter_rows() {
            let mut order: Vec<usize> = (0..N).collect();
            order.sort_by(|a, b| dot(w, &ratings[*b]).total_cmp(&dot(w, &ratings[*a])));
            let value =
                order[..N / 10].iter().map(|&i| dot(&planted, &ratings[i])).sum::<f64>() / (N / 10) as f64;
            losses.push(4.0 - value + 0.005 * normal());
        }
        let names = ["a", "b", "c", "d"].map(String::from).to_vec();
        let losses = Matrix::new(256, 1, losses).unwrap();
        let runs = Runs::new(names, weights, vec!["loss".into()], losses).unwrap();
        let fit = FitOptions { bags: 4, ..Default::default() };
        let (optimum, report) =
            fit_rater_weights(&runs, "loss", &fit, &OptimizeOptions::default(), &Control::default()).unwrap();
        let found = optimum.weights();
        let length = |w: &[f64]| w.iter().map(|x| x * x).sum::<f64>().sqrt();
        let cosine =
            found.iter().zip(planted).map(|(a, b)| a * b).sum::<f64>() / length(&found) / length(&planted);
        assert!(cosine > 0.95, "{found:?}: {cosine}");
        assert!(report.held_out.unwrap().spearman > 0.9);
        assert!(optimum.gain.low > 0.0, "better than equal weights: {:?}", optimum.gain);
    }

    #[test]
    fn runs_are_read_by_the_names_of_the_raters() {
        let dir = tempfile::tempdir().unwrap();
        let raters = ["edu".to_owned(), "ppl".to_owned()];
        let read = |text: &str| {
            let path = dir.path().join("runs.csv");
            std::fs::write(&path, text).unwrap();
            read_rater_runs(path, &raters)
        };
        let runs = read("run,ppl,edu,hellaswag,arc\n1,0.25,0.75,3.5,2\n2,1,0,3.25,2.5\n").unwrap();
        assert_eq!((runs.weights().row(0), runs.losses().row(1)), (&[0.75, 0.25][..], &[3.25, 2.5][..]));
        assert_eq!(runs.targets(), ["hellaswag", "arc"]);
        for (text, code, row) in [
            ("ppl,educ,loss\n1,0,2\n", Code::MissingColumn, None),
            ("ppl,edu\n1,0\n", Code::MissingColumn, None),
            ("ppl,edu,loss\n1,0,2\n1,0.5,2\n", Code::InvalidValue, Some(1)),
            ("ppl,edu,loss\n1,0,x\n", Code::InvalidValue, Some(0)),
            ("ppl,edu,loss\n1,0,-2\n", Code::InvalidValue, Some(0)),
            ("ppl,edu,loss\n1,0\n", Code::CorruptData, Some(0)),
            ("ppl,edu,loss\n", Code::EmptyInput, None),
        ] {
            let e = read(text).unwrap_err();
            assert_eq!((e.code(), e.location().row), (code, row), "{text:?}: {e}");
        }
        assert_eq!(read_rater_runs("/no/such.csv", &raters).unwrap_err().code(), Code::NotFound);
    }
}
