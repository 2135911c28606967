//! Several scores of one pool to one (Meta-rater).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;

use gristmill_core::{Code, Control, Counts, Error, Result, ResultExt};
use gristmill_data::{InputPrint, Job, JobOptions, JobSpec, SidecarWriter, Tables, read_tables};
use gristmill_mix::{
    FitOptions, Moments, OptimizeOptions, SampleOptions, fit_rater_weights, read_rater_runs, sample_mixtures,
};
use serde_json::{Value, json};

use super::aside::replace;
use super::identity::{read_state, write_state};
use super::input::sha256_of;
use super::options::{CombineOptions, Method, Raters};
use super::pipeline::{Lane, each_shard, lock, threads};
use super::scorer::{Report, shard_number, sidecar_schema};
use super::scoring::{STEP, collect, sidecar_of};
use super::select::SCORES;
use super::summary::{CombineSummary, RaterReport, Reason, SUMMARY_SCHEMA, ShardCounts, Tally, Timings};
use crate::sidecar::{Sidecar, SidecarBuilder, spec_of};
use crate::{Keep, Part, ScoreSpec, Sums};

/// The scores of one rater.
struct Rater {
    name: String,
    scores: String,
    job: Job,
    folder: &'static str,
    spec: ScoreSpec,
}

/// Scores of one pool, by several raters.
struct Panel {
    raters: Vec<Rater>,
    pool: Vec<InputPrint>,
    /// How the pool is read, as score jobs write it down.
    reading: Value,
    /// What the scores are, for the identity of what follows from them.
    identity: Value,
}

/// Combines scores by given weights, or by those that training runs say lower the loss most; or draws weights for
/// such runs.
///
/// Every score is taken by its distance from its mean over the pool, in standard deviations, turned round where
/// low is good; a document that lacks one of them has no combined score.
///
/// # Errors
/// [`Code::JobMismatch`] when the scores are not of one pool or not complete; [`Code::InvalidValue`] for a rater whose
/// scores are all the same; those of runs (with file, row and column) and of options, reading and writing.
pub fn run(options: CombineOptions, control: &Control) -> Result<CombineSummary> {
    let threads = threads(options.threads)?;
    let asked = [options.runs.is_some(), options.weights.is_some(), options.sample.is_some()];
    if asked.iter().filter(|a| **a).count() != 1 {
        let message = "give runs to learn weights from, weights, or how many weights to sample: one of them";
        return Err(Error::invalid_argument("runs", message));
    }
    let mut timings = Timings::default();
    let panel = Panel::open(&options.scores)?;
    let names: Vec<String> = panel.raters.iter().map(|r| r.name.clone()).collect();
    if let Some(n) = options.sample {
        return draw(&options, &panel, n, timings);
    }

    let (weights, learnt) = match (&options.weights, &options.runs) {
        (Some(weights), _) => (given(weights, &names)?, None),
        (None, Some(path)) => {
            let runs = read_rater_runs(path, &names)?;
            let target = match (&options.loss, runs.targets()) {
                (Some(loss), _) => loss.clone(),
                (None, [only]) => only.clone(),
                (None, several) => {
                    return Err(Error::invalid_argument("loss", "there are several losses: name one")
                        .hint(format!("losses: {}", several.join(", "))));
                }
            };
            let fit = FitOptions { seed: options.seed, ..Default::default() };
            let search = OptimizeOptions { seed: options.seed, ..Default::default() };
            let found = timings.time("fit", || fit_rater_weights(&runs, &target, &fit, &search, control));
            let (optimum, report) = found.at_path(path.clone())?;
            (optimum.weights(), Some((optimum, report)))
        }
        (None, None) => return Err(Error::new(Code::Internal, "nothing says how to weigh")),
    };
    let moments = timings.time("moments", || panel.moments(threads, control))?;
    for (rater, moments) in panel.raters.iter().zip(&moments) {
        if moments.deviation() <= 0.0 {
            let message = format!("all {} scores of {:?} are the same", moments.count, rater.name);
            return Err(Error::new(Code::InvalidValue, message)
                .at_path(&rater.scores)
                .at_column(&rater.name)
                .hint("a rater that tells nothing apart cannot be normalised: leave it out"));
        }
    }
    let part = |((rater, moments), &weight): ((&Rater, &Moments), &f64)| Part {
        rater: rater.name.clone(),
        weight,
        keep: rater.spec.keep,
        mean: moments.mean,
        deviation: moments.deviation(),
    };
    let parts: Vec<Part> = panel.raters.iter().zip(&moments).zip(&weights).map(part).collect();
    let spec = ScoreSpec { parts: Some(parts), ..ScoreSpec::of(Method::Combined) };
    let config = json!({
        "version": 1,
        "score": spec,
        "models": {},
        "pool": panel.reading,
        "combined": panel.identity,
        "runs": options.runs.as_deref().map(sha256_of).transpose()?,
    });
    let mut job = JobSpec::new("score", config);
    job.inputs.insert("pool".into(), panel.pool.clone());
    let job = Job::open(&options.output, job, JobOptions { fresh: options.fresh, ..Default::default() })?;
    let combining = Combining { panel: &panel, job: &job, spec: &spec };
    let done = timings.time("combine", || combining.run(threads, control))?;
    let (report, shards) = collect(&job, panel.pool.len(), done)?;
    job.remove_temporaries()?;
    let (best, worst) = report.extremes.into_examples(|s| panel.pool[s as usize].name.clone());
    let (optimum, fit) = learnt.unzip();
    Ok(CombineSummary {
        schema: SUMMARY_SCHEMA,
        output: job.output().to_owned(),
        raters: panel.report(Some(&moments), Some(&weights)),
        drawn: None,
        fit,
        optimum,
        counts: report.tally,
        shards,
        best,
        worst,
        timings: timings.into_phases(),
    })
}

/// Random weights, as a table to which a column with a loss is to be added.
fn draw(options: &CombineOptions, panel: &Panel, n: usize, mut timings: Timings) -> Result<CombineSummary> {
    let raters = panel.raters.len();
    let even = vec![1.0 / raters as f64; raters];
    let sample = SampleOptions { n, seed: options.seed, ..Default::default() };
    let mixtures = timings.time("sample", || sample_mixtures(&even, &sample))?;
    let mut text = String::from("run");
    panel.raters.iter().for_each(|r| _ = write!(text, ",{}", quoted(&r.name)));
    text.push('\n');
    for (run, row) in mixtures.weights.iter_rows().enumerate() {
        let sum: f64 = row.iter().sum();
        _ = write!(text, "{run}");
        row.iter().for_each(|w| _ = write!(text, ",{}", w / sum));
        text.push('\n');
    }
    replace(&options.output, text.as_bytes())?;
    Ok(CombineSummary {
        schema: SUMMARY_SCHEMA,
        output: options.output.clone(),
        raters: panel.report(None, None),
        drawn: Some(mixtures.weights.rows() as u64),
        fit: None,
        optimum: None,
        counts: Tally::default(),
        shards: ShardCounts { total: panel.pool.len() as u64, ..ShardCounts::default() },
        best: Vec::new(),
        worst: Vec::new(),
        timings: timings.into_phases(),
    })
}

/// A field of CSV.
fn quoted(name: &str) -> String {
    match name.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", name.replace('"', "\"\"")),
        false => name.to_owned(),
    }
}

/// Given weights in the order of the raters; they need not sum to one.
fn given(weights: &BTreeMap<String, f64>, names: &[String]) -> Result<Vec<f64>> {
    let refuse = |message: String| Err(Error::invalid_argument("weights", message));
    if let Some(unknown) = weights.keys().find(|name| !names.contains(name)) {
        return refuse(format!("there is no rater {unknown:?} among {}", names.join(", ")));
    }
    if let Some((name, weight)) = weights.iter().find(|(_, w)| !(w.is_finite() && **w >= 0.0)) {
        return refuse(format!("a weight of {weight} for {name:?}"));
    }
    if weights.values().all(|w| *w == 0.0) {
        return refuse("no rater has a positive weight".into());
    }
    Ok(names.iter().map(|name| weights.get(name).copied().unwrap_or(0.0)).collect())
}

impl Panel {
    fn open(scores: &Raters) -> Result<Self> {
        let named = match scores {
            Raters::Each(each) => each.clone(),
            Raters::Directory(directory) => subdirectories(directory)?,
        };
        if named.len() < 2 {
            let message = format!("{} scores: there is nothing to combine", named.len());
            return Err(Error::invalid_argument("scores", message));
        }
        let mut raters: Vec<Rater> = Vec::new();
        let mut first: Option<(Vec<InputPrint>, Value)> = None;
        let mut identity = serde_json::Map::new();
        for (name, path) in named {
            let (job, there) = Job::inspect(&path)?;
            let folder = match there.kind.as_str() {
                "score" => "",
                "select" => SCORES,
                other => {
                    let message = format!("a {other} job has no scores");
                    return Err(Error::new(Code::InvalidArgument, message).at_path(&path));
                }
            };
            let pool = there.inputs.get("pool").cloned().unwrap_or_default();
            let reading = there.config["pool"].clone();
            match &first {
                None => first = Some((pool, reading)),
                Some(first) if *first == (pool, reading) => {}
                Some(_) => {
                    let message = format!(
                        "the scores of {name:?} are not of the pool that {:?} scored",
                        raters[0].name
                    );
                    return Err(Error::new(Code::JobMismatch, message).at_path(&path));
                }
            }
            let spec: ScoreSpec = serde_json::from_value(there.config["score"].clone()).map_err(|e| {
                Error::new(Code::CorruptData, format!("the job's description is damaged: {e}")).at_path(&path)
            })?;
            spec.validate()?;
            identity.insert(
                name.clone(),
                json!({ "config": there.config, "target": there.inputs.get("target") }),
            );
            raters.push(Rater { name, scores: path, job, folder, spec });
        }
        let (pool, reading) = first.unwrap_or_default();
        let panel = Self { raters, pool, reading, identity: Value::Object(identity) };
        for rater in &panel.raters {
            let done = rater.job.committed(STEP, panel.pool.len())?;
            if let Some(open) = done.iter().position(|done| !done) {
                let message = format!("{:?} has no scores of {} yet", rater.name, panel.pool[open].name);
                return Err(Error::new(Code::JobMismatch, message)
                    .at_path(&rater.scores)
                    .hint("finish scoring first"));
            }
        }
        Ok(panel)
    }

    fn tables(&self, rater: &Rater, shard: usize) -> Result<Tables> {
        let path = rater.job.path_of(&sidecar_of(rater.folder, &self.pool[shard].name));
        let tables = read_tables(&path)?;
        if spec_of(tables.schema()).at_path(&path)? != rater.spec {
            let message = "this score file was made under another specification";
            return Err(Error::new(Code::JobMismatch, message).at_path(path));
        }
        Ok(tables)
    }

    /// Mean and spread of each rater's scores, added up in the order of the shards.
    fn moments(&self, threads: usize, control: &Control) -> Result<Vec<Moments>> {
        let shards: Vec<usize> = (0..self.pool.len()).collect();
        let by_shard = Mutex::new(vec![Vec::new(); shards.len()]);
        each_shard(&shards, threads, control, |shard, lane| {
            let mut all = Vec::new();
            for rater in &self.raters {
                let mut moments = Moments::default();
                for batch in self.tables(rater, shard)? {
                    lane.check()?;
                    let rows = Sidecar::new(&rater.spec, &batch?)?;
                    (0..rows.len())
                        .map(|i| rows.score(i))
                        .filter(|s| s.is_finite())
                        .for_each(|s| moments.add(s));
                }
                all.push(moments);
            }
            lock(&by_shard)[shard] = all;
            Ok(())
        })?;
        let mut sums = vec![Moments::default(); self.raters.len()];
        for shard in by_shard.into_inner().unwrap_or_else(|e| e.into_inner()) {
            sums.iter_mut().zip(&shard).for_each(|(sum, one)| sum.merge(one));
        }
        Ok(sums)
    }

    fn report(&self, moments: Option<&[Moments]>, weights: Option<&[f64]>) -> Vec<RaterReport> {
        let one = |(n, rater): (usize, &Rater)| {
            let moments = moments.map_or_else(Moments::default, |m| m[n]);
            RaterReport {
                rater: rater.name.clone(),
                scores: rater.scores.clone(),
                method: rater.spec.name,
                documents: moments.count,
                mean: moments.mean,
                deviation: moments.deviation(),
                weight: weights.map(|w| w[n]),
            }
        };
        self.raters.iter().enumerate().map(one).collect()
    }
}

/// The outputs of jobs below a directory, by their names.
fn subdirectories(directory: &str) -> Result<BTreeMap<String, String>> {
    if directory.contains("://") {
        return Err(Error::new(Code::Unsupported, "the raters of an object store are named one by one")
            .at_path(directory)
            .at_column("scores"));
    }
    let fault = |e| Error::io(directory, "list", e);
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).map_err(fault)? {
        let path = entry.map_err(fault)?.path();
        if let (true, Some(name), Some(text)) = (
            path.join("_gristmill/job.json").is_file(),
            path.file_name().and_then(|n| n.to_str()),
            path.to_str(),
        ) {
            found.insert(name.to_owned(), text.to_owned());
        }
    }
    Ok(found)
}

struct Combining<'a> {
    panel: &'a Panel,
    job: &'a Job,
    spec: &'a ScoreSpec,
}

impl Combining<'_> {
    /// Combines the shards that are not committed yet; returns how many those were.
    fn run(&self, threads: usize, control: &Control) -> Result<u64> {
        let committed = self.job.committed(STEP, self.panel.pool.len())?;
        let todo: Vec<usize> = (0..committed.len()).filter(|&s| !committed[s]).collect();
        each_shard(&todo, threads, control, |shard, lane| self.shard(shard, lane))?;
        Ok(todo.len() as u64)
    }

    fn shard(&self, shard: usize, lane: Lane<'_>) -> Result<()> {
        let panel = self.panel;
        let InputPrint { name, fingerprint } = &panel.pool[shard];
        let input = json!({ "name": name, "fingerprint": fingerprint, "where": panel.reading["where"] });
        let schema = sidecar_schema(self.spec, &json!({}), &input, false);
        let file = self.job.temp_writer(&sidecar_of("", name))?;
        let path = file.path().to_owned();
        let metadata = schema.metadata().iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        let mut writer = SidecarWriter::create(file, &path, &schema, &metadata)?;

        // What was read, and what never had a score, is as the first rater counted it.
        let commit = panel.raters[0].job.commit_of(STEP, shard)?;
        let commit =
            commit.ok_or_else(|| Error::new(Code::JobMismatch, "the scores are gone").at_path(name))?;
        let first: Report = read_state(&panel.raters[0].job, commit.state)?;
        let mut report = Report { damaged: first.damaged, ..Report::default() };
        report.tally = Tally { scored: Counts::default(), ..first.tally };

        let mut columns =
            panel.raters.iter().map(|r| Rows::open(panel, r, shard)).collect::<Result<Vec<_>>>()?;
        let mut rows = SidecarBuilder::new(self.spec, schema.clone());
        let mut waiting = 0;
        while let Some(document) = self.next(&mut columns)? {
            let Document { id, row, sums, first_scored } = document;
            let score = rows.push(&id, row, &sums);
            let counts = Counts::one(sums.n_tokens.into(), sums.n_bytes.into());
            if !score.is_nan() {
                report.tally.scored += counts;
                report.extremes.offer(score, shard_number(shard)?, row, &id, "");
            } else if first_scored {
                report.tally.drop(Reason::NotANumber, counts);
            }
            waiting += 1;
            if waiting == 8192 {
                lane.check()?;
                writer.write(&rows.finish()?)?;
                waiting = 0;
            }
        }
        writer.write(&rows.finish()?)?;
        report.tally.check()?;
        self.job.commit(STEP, shard, vec![writer.finish()?.finish()?], write_state(&report)?)?;
        Ok(())
    }

    /// The next document, of which all raters must have the same.
    fn next(&self, columns: &mut [Rows]) -> Result<Option<Document>> {
        let mut document: Option<Document> = None;
        for (n, column) in columns.iter_mut().enumerate() {
            let at = column.next()?;
            match (n, at, &mut document) {
                (0, None, _) => {}
                (0, Some((rows, i)), none) => {
                    let first_scored = rows.sums(i).n_tokens > 0 && !rows.score(i).is_nan();
                    let sums = Sums { n_scored: 1, nll: [self.part(0, rows.score(i)), 0.0], ..rows.sums(i) };
                    *none =
                        Some(Document { id: rows.id(i).to_owned(), row: rows.row(i), sums, first_scored });
                }
                (_, None, None) => {}
                (_, Some((rows, i)), Some(d)) if rows.row(i) == d.row && rows.id(i) == d.id => {
                    d.sums.nll[0] += self.part(n, rows.score(i));
                }
                _ => {
                    let raters = &self.panel.raters;
                    let message = format!(
                        "{:?} and {:?} did not score the same documents",
                        raters[0].name, raters[n].name
                    );
                    return Err(Error::new(Code::JobMismatch, message).at_path(&raters[n].scores));
                }
            }
        }
        // A document without a token has no score, whatever a rater said of it.
        Ok(document.map(|mut d| {
            if d.sums.n_tokens == 0 || d.sums.nll[0].is_nan() {
                d.sums.n_scored = 0;
            }
            d
        }))
    }

    /// What one score adds: nothing at all where it has no weight, not even what is missing.
    fn part(&self, n: usize, score: f64) -> f64 {
        let Some(part) = self.spec.parts.as_ref().and_then(|parts| parts.get(n)) else { return f64::NAN };
        if part.weight == 0.0 {
            return 0.0;
        }
        let sign = if part.keep == Keep::Lowest { -1.0 } else { 1.0 };
        part.weight * sign * (score - part.mean) / part.deviation
    }
}

struct Document {
    id: String,
    row: u64,
    sums: Sums,
    /// Whether the first rater gave it a score, and counted it as scored.
    first_scored: bool,
}

/// The rows of one rater's score file.
struct Rows {
    spec: ScoreSpec,
    tables: Tables,
    batch: Option<Sidecar>,
    at: usize,
}

impl Rows {
    fn open(panel: &Panel, rater: &Rater, shard: usize) -> Result<Self> {
        Ok(Self { spec: rater.spec.clone(), tables: panel.tables(rater, shard)?, batch: None, at: 0 })
    }

    /// The next row, as a place in its batch.
    fn next(&mut self) -> Result<Option<(&Sidecar, usize)>> {
        while self.batch.as_ref().is_none_or(|batch| self.at == batch.len()) {
            match self.tables.next() {
                None => return Ok(None),
                Some(batch) => self.batch = Some(Sidecar::new(&self.spec, &batch?)?),
            }
            self.at = 0;
        }
        self.at += 1;
        Ok(self.batch.as_ref().map(|batch| (batch, self.at - 1)))
    }
}
