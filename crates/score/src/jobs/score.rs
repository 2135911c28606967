//! Pool and models, or pool and target, to score files.

use gristmill_core::{Control, Error, Result};
use gristmill_data::{Job, JobOptions, JobSpec, WorkerShare};

use super::fitting::{Asked, Fitting};
use super::options::ScoreOptions;
use super::pipeline::threads;
use super::scorefiles::ScoreFiles;
use super::scoring::{Scoring, collect};
use super::summary::{SUMMARY_SCHEMA, ScoreSummary, Timings};
use super::{identity, input, models};
use crate::Keep;

/// Scores every document of a pool, shard by shard; a run that is stopped at any moment continues where it
/// was.
///
/// # Errors
/// [`Code::JobMismatch`](gristmill_core::Code::JobMismatch) when `output` holds another job, and those of
/// options, models, reading and writing.
pub fn run(options: ScoreOptions, control: &Control) -> Result<ScoreSummary> {
    let threads = threads(options.threads)?;
    if let Some(percent) = options.percentiles.iter().find(|percent| **percent > 100) {
        return Err(Error::invalid_argument("percentiles", format!("{percent} is not between 0 and 100")));
    }
    let worker = options.worker.as_deref().map(WorkerShare::parse).transpose()?.unwrap_or_default();
    let mut timings = Timings::default();
    let pool = input::open(&options.pool, "pool", None, options.on_error, control)?;
    let open = |job: JobSpec| {
        Job::open(&options.output, job.input("pool", &pool), JobOptions { fresh: options.fresh, worker })
    };

    let (job, scorer, used, fitted) = match &options.target {
        None => {
            let (scorer, used) = timings.time("load", || models::load(&options))?;
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
    let scoring =
        Scoring { job: &job, corpus: &pool, scorer: &scorer, models: &used, folder: "", threads, control };
    let done = timings.time("score", || scoring.run())?;
    let (report, shards) = collect(&job, pool.shards().len(), done)?;
    if shards.pending == 0 {
        job.remove_temporaries()?;
    }
    let percentiles = match shards.pending {
        0 if !options.percentiles.is_empty() => {
            let spec = &scorer.spec;
            let files = ScoreFiles { pool: &pool, job: &job, folder: "", spec, threads, control };
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
        fitted,
        percentiles,
        best,
        worst,
        timings: timings.into_phases(),
    })
}

/// Models are either read from files or learnt from a target.
fn refuse_models(options: &ScoreOptions) -> Result<()> {
    let named = [
        ("model", options.model.is_some()),
        ("prior", options.prior.is_some()),
        ("conditional", options.conditional.is_some()),
        // They belong to the perplexity of a model file.
        ("cutoffs", options.cutoffs.is_some()),
    ];
    match named.iter().find(|(_, named)| *named) {
        None => Ok(()),
        Some((option, _)) => {
            Err(Error::invalid_argument(option, "models are learnt from the target: give one or the other"))
        }
    }
}
