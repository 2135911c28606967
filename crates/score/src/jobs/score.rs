//! Pool and models, or pool and target, to score files.

use gristmill_core::{Code, Control, Error, Result};
use gristmill_data::{Job, JobOptions, JobSpec, WorkerShare};
use gristmill_ngram::normalize::Normalizer;

use super::columns::Groups;
use super::fitting::{Asked, Fitting};
use super::models::{Asked as Models, OpenDevice, TOGETHER, processor};
use super::options::ScoreOptions;
use super::pipeline::threads;
use super::scorefiles::ScoreFiles;
use super::scorer::{Report, Scorer};
use super::scoring::{Scoring, collect};
use super::summary::{SUMMARY_SCHEMA, ScoreSummary, Timings};
use super::tokens::Kept;
use super::{identity, input};
use crate::memory::ModelOptions;
use crate::{Keep, Method, ScoreSpec};

/// Why a range of ratings alone is refused.
pub(crate) const NO_RATING: &str = "is of ratings that the pool has: name their column";

/// Scores every document of a pool, shard by shard; a run that is stopped at any moment continues where it
/// was.
///
/// # Errors
/// [`Code::JobMismatch`] when `output` holds another job, and those of
/// options, models, reading and writing.
pub fn run(options: ScoreOptions, control: &Control) -> Result<ScoreSummary> {
    run_on(options, processor, control)
}

/// [`run`] with transformers on a device that `open` opens.
///
/// # Errors
/// As [`run`], and those of the device.
pub fn run_on(options: ScoreOptions, open_device: OpenDevice, control: &Control) -> Result<ScoreSummary> {
    let threads = threads(options.threads)?;
    if let Some(percent) = options.percentiles.iter().find(|percent| **percent > 100) {
        return Err(Error::invalid_argument("percentiles", format!("{percent} is not between 0 and 100")));
    }
    let worker = options.worker.as_deref().map(WorkerShare::parse).transpose()?.unwrap_or_default();
    let mut timings = Timings::default();
    let models = Models {
        models: ModelOptions {
            model: options.model.clone(),
            prior: options.prior.clone(),
            conditional: options.conditional.clone(),
            normalizer: options.normalizer.clone(),
            transformer: options.transformer.clone(),
        },
        method: options.method,
        cutoffs: options.cutoffs,
    };
    let together = models.models.neural().then_some(TOGETHER);
    let pool = input::open_by(&options.pool, "pool", None, options.on_error, together, control)?;
    let open = |job: JobSpec| {
        Job::open(&options.output, job.input("pool", &pool), JobOptions { fresh: options.fresh, worker })
    };

    if options.rating_range.is_some() && options.rating.is_none() {
        return Err(Error::invalid_argument("ratingRange", NO_RATING));
    }
    let (job, scorer, used, fitted) = match &options.target {
        None if options.method == Some(Method::Rating) || options.rating.is_some() => {
            let scorer = rating(&options)?;
            let config = identity::config(&scorer.spec, &[], &options.pool, []);
            (open(JobSpec::new("score", config))?, scorer, Vec::new(), None)
        }
        None => {
            refuse_learning(&options)?;
            let (scorer, used) = timings.time("load", || models.load(open_device, &control.silent()))?;
            let config = identity::config(&scorer.spec, &used, &options.pool, []);
            (open(JobSpec::new("score", config))?, scorer, used, None)
        }
        Some(target) => {
            refuse_models(&options)?;
            let fitting = Fitting::new(Asked::by_scoring(&options, target), &pool, threads, control)?;
            let more = [("fit", fitting.identity())];
            let config = identity::config(fitting.spec(), &[], &options.pool, more);
            let job = open(JobSpec::new("score", config).input("target", fitting.target()))?;
            let fit = fitting.run(&job, &mut timings)?;
            (job, fit.scorer, fit.models, Some(fit.fitted))
        }
    };
    let groups = Groups::default();
    let kept = Kept::open(options.token_cache.as_ref(), &options.output, scorer.tokenizers().len())?;
    let scoring = Scoring {
        job: &job,
        corpus: &pool,
        scorer: &scorer,
        groups: &groups,
        models: &used,
        folder: "",
        kept: kept.as_ref(),
        threads,
        control,
    };
    let done = timings.time("score", || scoring.run())?;
    let (report, shards) = collect(&job, pool.shards().len(), done)?;
    check_rated(&scorer.spec, &report)?;
    if shards.pending == 0 {
        job.remove_temporaries()?;
    }
    let percentiles = match shards.pending {
        0 if !options.percentiles.is_empty() => {
            let spec = &scorer.spec;
            let groups = &groups;
            let files = ScoreFiles { pool: &pool, job: &job, folder: "", spec, groups, threads, control };
            let of = &options.percentiles;
            timings.time("percentiles", || files.percentiles(of, report.tally.scored.documents))?
        }
        _ => Vec::new(),
    };
    let (mut best, mut worst) = report.extremes.into_examples(|s| pool.shards()[s as usize].url.clone());
    if scorer.spec.keep == Keep::Lowest {
        std::mem::swap(&mut best, &mut worst);
    }
    Ok(ScoreSummary {
        schema: SUMMARY_SCHEMA,
        output: job.output().to_owned(),
        method: scorer.spec.name,
        spec: scorer.spec,
        complete: shards.pending == 0,
        counts: report.tally,
        damaged: report.damaged,
        input_bytes: pool.bytes(),
        shards,
        models: used,
        token_cache: kept.as_ref().map(Kept::report),
        fitted,
        percentiles,
        rated: None,
        best,
        worst,
        timings: timings.into_phases(),
    })
}

/// The scorer that takes a column of the pool for its word.
fn rating(options: &ScoreOptions) -> Result<Scorer> {
    let given = [
        ("method", options.method.is_some_and(|m| m != Method::Rating)),
        ("model", options.model.is_some()),
        ("prior", options.prior.is_some()),
        ("conditional", options.conditional.is_some()),
        ("transformer", options.transformer.given().is_some()),
        ("tokenCache", options.token_cache.is_some()),
        ("order", options.order.is_some()),
        ("weight", options.weight.is_some()),
        ("l2", options.l2.is_some()),
        ("rounds", options.rounds.is_some()),
        ("poolSample", options.pool_sample.is_some()),
        ("labels", options.labels.is_some()),
        ("cutoffs", options.cutoffs.is_some()),
    ];
    if let Some((option, _)) = given.iter().find(|(_, given)| *given) {
        return Err(Error::invalid_argument(option, "a rating is a column of the pool as it is"));
    }
    rating_by(options.rating.as_deref(), options.rating_range, options.normalizer.as_deref())
}

/// The scorer by a column of ratings.
pub(crate) fn rating_by(
    column: Option<&str>,
    range: Option<[f64; 2]>,
    normalizer: Option<&str>,
) -> Result<Scorer> {
    let column =
        column.ok_or_else(|| Error::invalid_argument("rating", "name the column with the ratings"))?;
    let normalizer = Normalizer::resolve(normalizer.unwrap_or(Normalizer::UNICODE_WORDS))?;
    let spec = ScoreSpec {
        column: Some(column.to_owned()),
        range,
        normalizer: Some(normalizer.spec().clone()),
        ..ScoreSpec::of(Method::Rating)
    };
    Scorer::by_rating(spec, normalizer)
}

/// In JSON lines a misspelt column is one that no document has.
pub(crate) fn check_rated(spec: &ScoreSpec, report: &Report) -> Result<()> {
    match &spec.column {
        Some(column) if report.tally.scored.documents == 0 && report.tally.read.documents > 0 => {
            Err(Error::new(Code::MissingColumn, format!("no document has a value in the column {column:?}"))
                .at_column(column))
        }
        _ => Ok(()),
    }
}

/// What only learning from a target takes.
fn refuse_learning(options: &ScoreOptions) -> Result<()> {
    let given = [
        ("l2", options.l2.is_some()),
        ("rounds", options.rounds.is_some()),
        ("poolSample", options.pool_sample.is_some()),
        ("labels", options.labels.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((option, _)) => {
            Err(Error::invalid_argument(option, "is of the classifier, which learns from a target"))
        }
    }
}

/// Models are either read from files or learnt from a target.
fn refuse_models(options: &ScoreOptions) -> Result<()> {
    let named = [
        ("model", options.model.is_some()),
        ("prior", options.prior.is_some()),
        ("conditional", options.conditional.is_some()),
        ("transformer", options.transformer.given().is_some()),
        ("tokenCache", options.token_cache.is_some()),
        // They belong to the perplexity of a model file.
        ("cutoffs", options.cutoffs.is_some()),
        ("rating", options.rating.is_some()),
    ];
    match named.iter().find(|(_, named)| *named) {
        None => Ok(()),
        Some((option, _)) => {
            Err(Error::invalid_argument(option, "models are learnt from the target: give one or the other"))
        }
    }
}
