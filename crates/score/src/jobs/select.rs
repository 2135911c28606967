//! Pool and target, or pool and scores, to a selected training set.

use gristmill_core::{Code, Control, Error, Result};
use gristmill_data::{Corpus, Job, JobOptions, JobSpec, OutputFormat, ReadOptions, RowColumns, WorkerShare};
use gristmill_select::{Budget, Criteria};
use serde_json::json;

use super::columns::Groups;
use super::curriculum::Ordering;
use super::fitting::{Asked, Fitting};
use super::identity::{self, scores_of};
use super::input;
use super::models::{Asked as Models, OpenDevice, TOGETHER, processor};
use super::options::{DuplicateIds, SelectOptions, SourceOptions};
use super::pipeline::threads;
use super::score::{NO_RATING, check_rated, rating_by};
use super::scorefiles::{Excluded, ScoreFiles};
use super::scorer::{Report, Scorer};
use super::scoring::{Scoring, collect};
use super::summary::{
    CurriculumReport, Fitted, ModelUsed, SUMMARY_SCHEMA, SelectSummary, ShardCounts, Timings,
};
use super::tokens::{Kept, TokensKept};
use super::writing::{Selected, Writing, added_fields};
use crate::memory::ModelOptions;
use crate::{Keep, ScoreSpec};

/// Where a selection keeps the scores that it is made from.
pub(crate) const SCORES: &str = "_scores/";

/// The step that settles the criteria.
const CUT: &str = "cut";
/// The step that leaves the report.
const REPORT: &str = "report";

/// Shards whose column names are looked at before the work begins.
const PEEKED: usize = 16;

/// Selects from a pool: by its likeness to a target sample, which takes fitting and scoring first, by models from
/// files, by scores that are there already, or by a column of ratings. A run that is stopped at any moment continues where it was.
///
/// # Errors
/// [`Code::TargetTooSmall`] when there is too little target text to learn from, [`Code::DuplicateId`] when two
/// documents share an id and nothing else was asked for, [`Code::JobMismatch`] when `output` holds another
/// job, and those of options, reading and writing.
pub fn run(options: SelectOptions, control: &Control) -> Result<SelectSummary> {
    run_on(options, processor, control)
}

/// [`run`] with transformers on a device that `open` opens.
///
/// # Errors
/// As [`run`], and those of the device.
pub fn run_on(options: SelectOptions, open: OpenDevice, control: &Control) -> Result<SelectSummary> {
    if options.rating_range.is_some() && options.rating.is_none() {
        return Err(Error::invalid_argument("ratingRange", NO_RATING));
    }
    let models = Models {
        models: ModelOptions {
            model: options.model.clone(),
            prior: options.prior.clone(),
            conditional: options.conditional.clone(),
            normalizer: options.normalizer.clone(),
            transformer: options.transformer.clone(),
        },
        method: options.method,
        cutoffs: None,
    };
    let named = models.models.named().next().is_some();
    let cached = options.token_cache.as_ref().map(|_| "tokenCache");
    if let (false, Some(option)) = (named, options.transformer.given().or(cached)) {
        return Err(Error::invalid_argument(option, "is of transformers, and none is named"));
    }
    let request = Request::of(&options, models.models.neural(), control)?;
    match (&options.target, &options.scores, &options.rating) {
        (Some(target), None, None) if !named => request.by_target(target),
        (None, Some(scores), None) if !named => request.by_scores(scores),
        (None, None, Some(column)) if !named => request.by_rating(column),
        (None, None, None) if named => request.by_models(&models, open),
        _ => Err(Error::invalid_argument(
            "target",
            "give a target sample, models, the scores of the pool, or a column with ratings, and one of them only",
        )),
    }
}

/// Why a selection by ratings takes no more options.
const RATED: &str = "a rating is a column of the pool as it is";

/// The temperature at which no score matters: every document draws its place by noise alone.
const UNIFORM: f64 = f64::MAX;

fn check_sampling(o: &SelectOptions) -> Result<()> {
    if o.uniform && o.temperature.is_some() {
        return Err(Error::invalid_argument(
            "uniform",
            "is sampling without regard to scores: leave the temperature out",
        ));
    }
    if o.uniform && o.budget.is_none() {
        return Err(Error::invalid_argument("uniform", "sampling needs a budget"));
    }
    if o.standardize && o.temperature.is_none() {
        return Err(Error::invalid_argument(
            "standardize",
            "says what a temperature counts in: give a temperature",
        ));
    }
    if o.quotas.as_ref().is_some_and(|q| q.column.is_empty()) {
        return Err(Error::invalid_argument("quotas", "name a column"));
    }
    if o.curriculum.and_then(|c| c.temperature).is_some_and(|t| !(t.is_finite() && t > 0.0)) {
        return Err(Error::invalid_argument("curriculum", "the temperature must be a finite number above 0"));
    }
    Ok(())
}

/// Options that were checked, and the pool.
struct Request<'a> {
    options: &'a SelectOptions,
    /// All but the direction, which the scores decide when it is not given.
    criteria: Criteria,
    worker: WorkerShare,
    format: Option<OutputFormat>,
    threads: usize,
    pool: Corpus,
    groups: Groups,
    control: &'a Control,
}

/// Scores that are there, and where they come from.
struct Scored<'a> {
    job: &'a Job,
    folder: &'a str,
    spec: ScoreSpec,
    models: Vec<ModelUsed>,
    kept: Option<TokensKept>,
    fitted: Option<Fitted>,
    done: u64,
}

impl<'a> Request<'a> {
    fn of(options: &'a SelectOptions, neural: bool, control: &'a Control) -> Result<Self> {
        let quotas = options.quotas.as_ref();
        check_sampling(options)?;
        let criteria = Criteria {
            budget: options.budget.as_deref().map(Budget::parse).transpose()?,
            threshold: options.threshold,
            lowest: false,
            temperature: if options.uniform { Some(UNIFORM) } else { options.temperature },
            seed: options.seed,
            crossing: options.crossing,
            quotas: quotas.map(|q| gristmill_select::Quotas { shares: q.shares.clone() }),
        };
        criteria.validate()?;
        let groups = Groups(quotas.map_or_else(Vec::new, |q| q.column.clone()));
        Ok(Self {
            options,
            criteria,
            worker: options.worker.as_deref().map(WorkerShare::parse).transpose()?.unwrap_or_default(),
            format: options.output_format.as_deref().map(OutputFormat::parse).transpose()?,
            threads: threads(options.threads)?,
            pool: input::open_by(
                &options.pool,
                "pool",
                groups.single(),
                options.on_error,
                neural.then_some(TOGETHER),
                control,
            )?,
            groups,
            control,
        })
    }

    fn job(&self, spec: JobSpec) -> Result<Job> {
        let spec = spec.input("pool", &self.pool);
        Job::open(&self.options.output, spec, JobOptions { fresh: self.options.fresh, worker: self.worker })
    }

    /// What the selection itself adds to the identity of a job. How duplicates are treated is no part of it:
    /// a job that met one can continue under another rule.
    fn selection(&self, spec: &ScoreSpec) -> serde_json::Value {
        let quota = match self.groups.0.as_slice() {
            [] => serde_json::Value::Null,
            [one] => json!(one),
            several => json!(several),
        };
        let mut selection = json!({
            "criteria": self.criteria_for(spec),
            "quotaColumn": quota,
            "format": self.format.map(OutputFormat::extension),
            "prefix": self.options.prefix,
        });
        if let Some(fields) = selection.as_object_mut() {
            let more = [
                ("standardize", self.options.standardize.then_some(json!(true))),
                ("curriculum", self.options.curriculum.map(|c| json!(c))),
            ];
            fields.extend(more.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        }
        selection
    }

    fn criteria_for(&self, spec: &ScoreSpec) -> Criteria {
        Criteria { lowest: self.options.lowest.unwrap_or(spec.keep == Keep::Lowest), ..self.criteria.clone() }
    }

    fn by_target(self, target: &SourceOptions) -> Result<SelectSummary> {
        let o = self.options;
        let mut timings = Timings::default();
        let asked = Asked::by_selection(o, target);
        let fitting = Fitting::new(asked, &self.pool, self.threads, self.control)?;
        let spec = fitting.spec();
        self.check_names(spec)?;
        let config = identity::config(
            spec,
            &[],
            &o.pool,
            [("fit", fitting.identity()), ("selection", self.selection(spec))],
        );
        let job = self.job(JobSpec::new("select", config).input("target", fitting.target()))?;
        let fit = fitting.run(&job, &mut timings)?;
        let scoring = Scoring {
            job: &job,
            corpus: &self.pool,
            scorer: &fit.scorer,
            groups: &self.groups,
            models: &fit.models,
            folder: SCORES,
            kept: None,
            threads: self.threads,
            control: self.control,
        };
        let done = timings.time("score", || scoring.run())?;
        let scored = Scored {
            job: &job,
            folder: SCORES,
            spec: fit.scorer.spec,
            models: fit.models,
            kept: None,
            fitted: Some(fit.fitted),
            done,
        };
        self.finish(&job, scored, timings)
    }

    /// By a column of the pool, which is scored like any other method.
    fn by_rating(self, column: &str) -> Result<SelectSummary> {
        let o = self.options;
        if o.method.is_some() {
            return Err(Error::invalid_argument("method", RATED));
        }
        self.refuse_fitting(RATED)?;
        let scorer = rating_by(Some(column), o.rating_range, o.normalizer.as_deref())?;
        self.by_scorer(scorer, Vec::new(), Timings::default())
    }

    /// By models that are read from files.
    fn by_models(self, models: &Models, open: OpenDevice) -> Result<SelectSummary> {
        self.refuse_fitting("is of models that are learnt from a target")?;
        let mut timings = Timings::default();
        let (scorer, used) = timings.time("load", || models.load(open, &self.control.silent()))?;
        self.by_scorer(scorer, used, timings)
    }

    /// Scores the pool and selects.
    fn by_scorer(
        self,
        scorer: Scorer,
        models: Vec<ModelUsed>,
        mut timings: Timings,
    ) -> Result<SelectSummary> {
        self.check_names(&scorer.spec)?;
        let more = [("selection", self.selection(&scorer.spec))];
        let config = identity::config(&scorer.spec, &models, &self.options.pool, more);
        let job = self.job(JobSpec::new("select", config))?;
        let o = self.options;
        let kept = Kept::open(o.token_cache.as_ref(), &o.output, scorer.tokenizers().len())?;
        let scoring = Scoring {
            job: &job,
            corpus: &self.pool,
            scorer: &scorer,
            groups: &self.groups,
            models: &models,
            folder: SCORES,
            kept: kept.as_ref(),
            threads: self.threads,
            control: self.control,
        };
        let done = timings.time("score", || scoring.run())?;
        let kept = kept.as_ref().map(Kept::report);
        let scored =
            Scored { job: &job, folder: SCORES, spec: scorer.spec, models, kept, fitted: None, done };
        self.finish(&job, scored, timings)
    }

    fn refuse_fitting(&self, why: &str) -> Result<()> {
        let o = self.options;
        let given = [
            ("order", o.order.is_some()),
            ("weight", o.weight.is_some()),
            ("l2", o.l2.is_some()),
            ("rounds", o.rounds.is_some()),
            ("poolSample", o.pool_sample.is_some()),
            ("labels", o.labels.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(Error::invalid_argument(option, why)),
            None => Ok(()),
        }
    }

    fn by_scores(self, scores: &str) -> Result<SelectSummary> {
        let o = self.options;
        let why = "is decided when scores are there already";
        self.refuse_fitting(why)?;
        for (option, given) in [
            ("method", o.method.is_some()),
            ("normalizer", o.normalizer.is_some()),
            ("worker", o.worker.is_some()),
        ] {
            if given {
                return Err(Error::invalid_argument(option, why));
            }
        }
        let timings = Timings::default();
        let there = scores_of(scores, &self.pool, &o.pool)?;
        self.check_names(&there.spec)?;
        let config = identity::config(
            &there.spec,
            &[],
            &o.pool,
            [("scores", there.identity), ("selection", self.selection(&there.spec))],
        );
        let job = self.job(JobSpec::new("select", config))?;
        let scored = Scored {
            job: &there.job,
            folder: there.folder,
            spec: there.spec,
            models: there.models,
            kept: None,
            fitted: there.fitted,
            done: 0,
        };
        self.finish(&job, scored, timings)
    }

    /// From scores to the selection, once all shards have scores.
    fn finish(&self, job: &Job, scored: Scored<'_>, mut timings: Timings) -> Result<SelectSummary> {
        let (report, shards) = collect(scored.job, self.pool.shards().len(), scored.done)?;
        check_rated(&scored.spec, &report)?;
        if shards.pending > 0 {
            return Ok(self.summary(job, scored, report, shards, None, timings));
        }
        let files = ScoreFiles {
            pool: &self.pool,
            job: scored.job,
            folder: scored.folder,
            spec: &scored.spec,
            groups: &self.groups,
            threads: self.threads,
            control: self.control,
        };
        let duplicates = self.options.duplicates();
        let excluded: Excluded = match duplicates {
            DuplicateIds::Keep => vec![Vec::new(); self.pool.shards().len()],
            rule => timings.time("duplicates", || {
                files.duplicates(rule == DuplicateIds::Fail, self.options.memory.0 as usize)
            })?,
        };
        let mut criteria = self.criteria_for(&scored.spec);
        let mut moments = None;
        if let (true, Some(temperature)) = (self.options.standardize, criteria.temperature) {
            let of = timings.time("select", || files.moments(&excluded))?;
            let deviation = of.deviation();
            if deviation <= 0.0 {
                let message = "all scores are the same: there is no deviation to count the temperature in";
                return Err(Error::new(Code::InvalidValue, message).at_column("standardize"));
            }
            criteria.temperature = Some(temperature * deviation);
            moments = Some([of.mean, deviation]);
        }
        let lowest = criteria.lowest;
        let cut = timings.time("select", || files.cut(criteria, &excluded))?;
        self.settle(job, duplicates)?;
        let writing = Writing {
            job,
            files: &files,
            cut: &cut,
            excluded: &excluded,
            format: self.format,
            prefix: &self.options.prefix,
        };
        let selected = timings.time("write", || writing.run())?;
        let curriculum: Option<CurriculumReport> = match self.options.curriculum {
            None => None,
            Some(asked) => {
                let order = Ordering {
                    job,
                    files: &files,
                    cut: &cut,
                    excluded: &excluded,
                    format: self.format,
                    asked,
                    lowest,
                    seed: self.options.seed,
                    memory: self.options.memory.0 as usize,
                };
                Some(timings.time("order", || order.run())?)
            }
        };
        let mut tally = report.tally.clone();
        tally.merge(&selected.tally);
        cut.check(&tally)?;
        let mut summary = self.summary(job, scored, report, shards, Some((&cut, selected)), timings);
        summary.counts = tally;
        summary.moments = moments;
        summary.curriculum = curriculum;
        self.report(job, &summary)?;
        job.remove_temporaries()?;
        Ok(summary)
    }

    /// Writes down by which rule duplicates were treated, or compares with what is written down.
    fn settle(&self, job: &Job, duplicates: DuplicateIds) -> Result<()> {
        let state = json!({ "duplicateIds": duplicates });
        match job.commit_of(CUT, 0)? {
            Some(there) if there.state != state => Err(Error::new(
                Code::JobMismatch,
                format!("the selection in this output was made with {}, not with {state}", there.state),
            )
            .at_path(job.output())
            .hint("choose another output, or start over with --fresh")),
            Some(_) => Ok(()),
            None => job.commit(CUT, 0, Vec::new(), state).map(|_| ()),
        }
    }

    fn summary(
        &self,
        job: &Job,
        scored: Scored<'_>,
        report: Report,
        shards: ShardCounts,
        selected: Option<(&gristmill_select::Cut, Selected)>,
        timings: Timings,
    ) -> SelectSummary {
        let lowest = self.criteria_for(&scored.spec).lowest;
        let url = |shard: u32| self.pool.shards()[shard as usize].url.clone();
        let (mut best, mut worst) = report.extremes.into_examples(url);
        if lowest {
            std::mem::swap(&mut best, &mut worst);
        }
        let span = selected.as_ref().and_then(|(_, s)| s.span);
        SelectSummary {
            schema: SUMMARY_SCHEMA,
            output: job.output().to_owned(),
            method: scored.spec.name,
            spec: scored.spec,
            complete: selected.is_some(),
            counts: report.tally,
            damaged: report.damaged,
            input_bytes: self.pool.bytes(),
            shards,
            models: scored.models,
            token_cache: scored.kept,
            fitted: scored.fitted,
            cut: span.map(|(low, high)| if lowest { high } else { low }),
            groups: match (&self.criteria.quotas, selected) {
                (Some(_), Some((cut, _))) => cut.groups(),
                _ => Vec::new(),
            },
            moments: None,
            curriculum: None,
            best,
            worst,
            timings: timings.into_phases(),
        }
    }

    /// Writes the report: the summary without what differs between two runs of the same job.
    fn report(&self, job: &Job, summary: &SelectSummary) -> Result<()> {
        let encode = |e| Error::new(Code::Internal, format!("the report does not serialise: {e}"));
        let mut value = serde_json::to_value(summary).map_err(encode)?;
        if let Some(fields) = value.as_object_mut() {
            ["output", "shards", "tokenCache", "timings"].iter().for_each(|field| _ = fields.remove(*field));
        }
        for model in value["models"].as_array_mut().into_iter().flatten() {
            // Where models were is no property of the result; their hashes are.
            model.as_object_mut().and_then(|m| m.remove("path"));
        }
        let mut text = serde_json::to_vec_pretty(&value).map_err(encode)?;
        text.push(b'\n');
        let mut file = job.temp_writer("report.json")?;
        let path = file.path().to_owned();
        std::io::Write::write_all(&mut file, &text).map_err(|e| Error::io(path, "write", e))?;
        job.commit(REPORT, 0, vec![file.finish()?], json!({}))?;
        match &self.options.report {
            Some(path) => super::aside::replace(path, &text),
            None => Ok(()),
        }
    }

    /// Refuses early what would fail at the end: an input column that has the name of one of ours.
    fn check_names(&self, spec: &ScoreSpec) -> Result<()> {
        let ours: Vec<_> =
            added_fields(spec, &self.options.prefix).into_iter().map(|(_, field)| field).collect();
        let shards = self.pool.shards();
        for shard in shards.iter().step_by(shards.len().div_ceil(PEEKED)) {
            let mut reader = self.pool.read(shard.index, ReadOptions::all(), self.control)?;
            let Some(batch) = reader.next() else { continue };
            let names: Vec<String> = match batch?.columns {
                Some(RowColumns::Arrow(batch)) => {
                    batch.schema().fields().iter().map(|f| f.name().clone()).collect()
                }
                Some(RowColumns::Json(lines)) => lines.keys.to_vec(),
                None => Vec::new(),
            };
            if let Some(field) = ours.iter().find(|field| names.contains(field.name())) {
                return Err(Error::new(Code::InvalidArgument, "the pool has a column of this name already")
                    .at_path(&shard.url)
                    .at_column(field.name())
                    .hint(
                        "put a prefix before the names of the added columns, such as --prefix gristmill_",
                    ));
            }
        }
        Ok(())
    }
}
