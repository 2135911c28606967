//! The search from end to end.

use std::path::PathBuf;

use gristmill_core::hash::hash64;
use gristmill_core::{Code, Control, Error, Result, Unit};
use gristmill_data::{Corpus, Job, JobOptions, JobSpec, WorkerShare};
use gristmill_mix::{
    Experts, FitOptions, Matrix, MixtureModel, Objective, OptimizeOptions, Optimum, Runs, optimize_mixture,
};
use gristmill_ngram::model::Model;
use gristmill_ngram::normalize::Normalizer;
use rayon::prelude::*;
use serde_json::json;

use super::external::join;
use super::options::{MixSearchOptions, PredictorChoice};
use super::plan::Plan;
use super::proxy::{Outcome, Trainer, log_probs};
use super::report::{
    DomainSummary, MixSearchSummary, ObjectiveReport, PredictorReport, SampledBest, TargetSummary,
};
use super::text::{Reading, Text};
use crate::jobs::SUMMARY_SCHEMA;
use crate::jobs::identity::{read_state, reading, write_state};
use crate::jobs::input;
use crate::jobs::pipeline::{Meter, each_shard, threads};
use crate::jobs::summary::Timings;
use crate::mixing::write_whole;

/// Changes when the same configuration gives other runs.
const VERSION: u32 = 1;
/// The step of the runs.
const RUN: &str = "run";
/// Tokens of a target that experts are asked about.
const EXPERT_TOKENS: usize = 2048;

/// Searches the mixture of a pool's domains that lowers the loss on targets most, and checks it with fresh proxies.
/// A search that is stopped at any moment continues with the runs that it has not made yet.
///
/// # Errors
/// [`Code::TargetTooSmall`] for a target of one document, [`Code::EmptyInput`] when there is no text or there are
/// fewer runs than domains, [`Code::InvalidArgument`] for options out of range and a budget that the pool cannot
/// fill, [`Code::JobMismatch`] when the directory of the runs holds those of another search, and those of reading
/// and writing.
pub fn run(options: MixSearchOptions, control: &Control) -> Result<MixSearchSummary> {
    options.check()?;
    let threads = threads(options.threads)?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|i| format!("gristmill-mix-{i}"))
        .build()
        .map_err(|e| Error::new(Code::Internal, "cannot start threads").with_source(e))?;
    let search = Search { options: &options, threads, control };
    pool.install(|| search.run())
}

pub(super) struct Search<'a> {
    pub(super) options: &'a MixSearchOptions,
    pub(super) threads: usize,
    pub(super) control: &'a Control,
}

/// A run that is finished: its mixture and its losses on the halves for the search.
pub(super) struct Finished {
    pub(super) runs: Runs,
    /// How many of them were made here; they come first.
    pub(super) own: usize,
    resumed: u64,
}

impl Search<'_> {
    fn run(&self) -> Result<MixSearchSummary> {
        let o = self.options;
        let mut timings = Timings::default();
        let normalizer = Normalizer::resolve(o.normalizer.as_deref().unwrap_or(Normalizer::UNICODE_WORDS))?;
        let open = |source, option: &str, group| input::open(source, option, group, o.on_error, self.control);
        let pool = open(&o.pool, "pool", o.domain.as_deref())?;
        let targets = o.targets.iter().map(|t| Ok((t.name.as_str(), open(&t.source, "target", None)?)));
        let targets = targets.collect::<Result<Vec<_>>>()?;
        let spec = self.spec(&pool, &targets, &normalizer);

        let reading = Reading {
            pool: &pool,
            by_column: o.domain.is_some(),
            targets,
            normalizer: &normalizer,
            domain_bytes: o.domain_bytes.0,
            seed: o.seed,
            threads: self.threads,
            control: self.control,
        };
        let text = timings.time("read", || reading.run())?;
        let plan = Plan::of(&text, o)?;
        self.enough(text.domains.len(), plan.mixtures.rows())?;
        // Not before: a search that cannot be made leaves nothing behind that the next one would have to continue.
        let job = Job::open(&o.work(), spec, JobOptions { fresh: o.fresh, worker: WorkerShare::default() })?;
        let trainer = Trainer { text: &text, order: o.order()?, budget: plan.budget, control: self.control };

        let finished = timings.time("runs", || self.runs(&job, &trainer, &plan))?;
        let (experts, models) = timings.time("experts", || self.experts(&trainer))?;
        drop(models);
        let mut targets = summaries(&text);
        let fitted = timings.time("fit", || self.fit(&finished, &experts, &mut targets))?;
        self.save(&finished.runs, &fitted)?;
        let mut objectives =
            timings.time("optimize", || self.objectives(&plan, &text, &fitted, &finished))?;
        timings.time("check", || self.check(&job, &trainer, &plan, &mut objectives))?;
        job.remove_temporaries()?;

        let mut summary = MixSearchSummary {
            schema: SUMMARY_SCHEMA,
            output: o.output.clone(),
            work: o.work(),
            plot: o.plot.clone(),
            proxy: o.proxy.clone(),
            normalizer: normalizer.spec().to_string(),
            vocabulary: text.vocab.len() as u64,
            tokens: plan.budget,
            domains: domains(&text, &plan),
            targets,
            runs: finished.own as u64,
            resumed: None,
            external: self.external(&finished, &fitted)?,
            in_target: text.in_target,
            without_domain: text.without_domain,
            quarantined: text.quarantined,
            objectives,
            timings: Vec::new(),
        };
        let report = serde_json::to_vec_pretty(&summary)
            .map_err(|e| Error::new(Code::Internal, format!("a report does not serialise: {e}")))?;
        write_whole(&o.output, &report)?;
        if let Some(plot) = &o.plot {
            write_whole(plot, summary.draw()?.as_bytes())?;
        }
        summary.resumed = Some(finished.resumed);
        summary.timings = timings.into_phases();
        Ok(summary)
    }

    /// What the job of the runs is: all that changes a run, and nothing that only changes what is made of them.
    fn spec(&self, pool: &Corpus, targets: &[(&str, Corpus)], normalizer: &Normalizer) -> JobSpec {
        let o = self.options;
        let config = json!({
            "version": VERSION,
            "pool": reading(&o.pool),
            "domain": o.domain,
            "targets": o.targets.iter().map(|t| json!({ "name": t.name, "reading": reading(&t.source) }))
                .collect::<Vec<_>>(),
            "proxy": o.proxy,
            "runs": o.runs,
            "tokens": o.tokens,
            "epochs": o.epochs,
            "normalizer": normalizer.spec(),
            "domainBytes": o.domain_bytes,
            "seed": o.seed,
        });
        let mut spec = JobSpec::new("mix-search", config).input("pool", pool);
        for (name, corpus) in targets {
            spec = spec.input(format!("target {name}"), corpus);
        }
        spec
    }

    /// Refuses fewer runs than domains, before they are made.
    fn enough(&self, domains: usize, runs: usize) -> Result<()> {
        let o = self.options;
        if runs >= domains || o.external.is_some() || o.predictor == PredictorChoice::Experts {
            return Ok(());
        }
        Err(Error::new(Code::EmptyInput, format!("{runs} runs cannot tell {domains} domains apart"))
            .at_column("runs")
            .hint("at least as many runs as domains, better sixteen times as many"))
    }

    /// Makes the runs that are not there yet, and joins those from elsewhere.
    fn runs(&self, job: &Job, trainer: &Trainer<'_>, plan: &Plan) -> Result<Finished> {
        let n = plan.mixtures.rows();
        let todo: Vec<usize> =
            job.committed(RUN, n)?.iter().enumerate().filter(|(_, done)| !**done).map(|(i, _)| i).collect();
        let meter = Meter::start(self.control, "runs", Unit::Runs, Some(n as u64));
        meter.add((n - todo.len()) as u64, 0, 0);
        each_shard(&todo, self.threads, self.control, |i, lane| {
            lane.check()?;
            let seed = hash64(self.options.seed, format!("run {i}").as_bytes());
            let outcome = trainer.run(plan.mixtures.row(i), seed)?;
            job.commit(RUN, i, Vec::new(), write_state(&outcome)?)?;
            meter.add(1, 0, outcome.tokens.iter().sum());
            Ok(())
        })?;
        meter.finish();
        let mut losses = Vec::new();
        for i in 0..n {
            let commit = job.commit_of(RUN, i)?;
            let commit =
                commit.ok_or_else(|| Error::new(Code::Internal, format!("run {i} was not committed")))?;
            let outcome: Outcome = read_state(job, commit.state)?;
            losses.extend(outcome.losses.iter().map(|[search, _]| *search));
        }
        let domains: Vec<String> = trainer.text.domains.iter().map(|d| d.name.clone()).collect();
        let targets: Vec<String> = trainer.text.targets.iter().map(|t| t.name.clone()).collect();
        let mut weights = plan.mixtures.as_slice().to_vec();
        let mut rows = n;
        if let Some(external) = &self.options.external {
            let joined = join(external, &domains, &targets)?;
            rows += joined.len();
            weights.extend_from_slice(joined.weights().as_slice());
            losses.extend_from_slice(joined.losses().as_slice());
        }
        let runs = Runs::new(
            domains.clone(),
            Matrix::new(rows, domains.len(), weights)?,
            targets.clone(),
            Matrix::new(rows, targets.len(), losses)?,
        )?;
        Ok(Finished { runs, own: n, resumed: (n - todo.len()) as u64 })
    }

    /// What one model per domain says of every target.
    fn experts(&self, trainer: &Trainer<'_>) -> Result<(Vec<Experts>, Vec<Model>)> {
        let text = trainer.text;
        let meter = Meter::start(self.control, "experts", Unit::Runs, Some(text.domains.len() as u64));
        let seed = |i: usize| hash64(self.options.seed, format!("expert {i}").as_bytes());
        let models = (0..text.domains.len())
            .into_par_iter()
            .map(|i| {
                let model = trainer.expert(i, seed(i));
                meter.add(1, 0, 0);
                model
            })
            .collect::<Result<Vec<_>>>()?;
        meter.finish();
        let names: Vec<String> = text.domains.iter().map(|d| d.name.clone()).collect();
        let of_target = |target: &super::text::Target| {
            let tokens = target.search.tokens() + target.search.len();
            let rows = Experts::sample_rows(tokens, EXPERT_TOKENS, self.options.seed);
            Experts::new(names.clone(), &log_probs(&models, &target.search, &rows))
        };
        let experts = text.targets.iter().map(of_target).collect::<Result<Vec<_>>>()?;
        Ok((experts, models))
    }

    /// Judges all predictors, and fits the best one of each target again with its bags.
    fn fit(
        &self,
        finished: &Finished,
        experts: &[Experts],
        targets: &mut [TargetSummary],
    ) -> Result<Vec<MixtureModel>> {
        let o = self.options;
        let folds = if finished.runs.len() >= 10 { 5 } else { 0 };
        let fit = |target: &str, experts: &Experts, predictor: PredictorChoice, bags| {
            let (regressor, with_experts) = predictor.regressor();
            let options = FitOptions { regressor, bags, folds, seed: o.seed };
            let experts = with_experts.then_some(experts);
            MixtureModel::fit_with(&finished.runs, target, experts, &options, self.control)
        };
        let meter = Meter::start(self.control, "fit", Unit::Runs, Some(targets.len() as u64));
        let mut models = Vec::new();
        for (summary, experts) in targets.iter_mut().zip(experts) {
            if folds > 0 {
                for predictor in PredictorChoice::ALL {
                    let model = fit(&summary.name, experts, predictor, 0)?;
                    let held_out = model.report().held_out;
                    summary
                        .predictors
                        .extend(held_out.map(|held_out| PredictorReport { predictor, held_out }));
                }
            }
            let by_error =
                |a: &&PredictorReport, b: &&PredictorReport| a.held_out.rmse.total_cmp(&b.held_out.rmse);
            let best = summary.predictors.iter().min_by(by_error).map(|p| p.predictor);
            let predictor = match o.predictor {
                // With too few runs to judge by, the one that learns nothing from them.
                PredictorChoice::Auto => best.unwrap_or(PredictorChoice::Experts),
                asked => asked,
            };
            let model = fit(&summary.name, experts, predictor, o.bags)?;
            summary.learn(predictor, &model);
            models.push(model);
            meter.add(1, 0, 0);
        }
        meter.finish();
        Ok(models)
    }

    /// Leaves the runs and the models where other commands find them.
    fn save(&self, runs: &Runs, models: &[MixtureModel]) -> Result<()> {
        let work = PathBuf::from(self.options.work());
        let folder = work.join("models");
        std::fs::create_dir_all(&folder).map_err(|e| Error::io(folder.display().to_string(), "create", e))?;
        runs.write_csv(work.join("mixtures.csv"), work.join("losses.csv"))?;
        models.iter().try_for_each(|model| model.save(folder.join(format!("{}.json", model.target()))))
    }

    fn objectives(
        &self,
        plan: &Plan,
        text: &Text,
        models: &[MixtureModel],
        finished: &Finished,
    ) -> Result<Vec<ObjectiveReport>> {
        let all: Vec<usize> = (0..models.len()).collect();
        let mut wanted: Vec<(String, Vec<usize>)> =
            all.iter().map(|&t| (text.targets[t].name.clone(), vec![t])).collect();
        if models.len() > 1 {
            wanted.push(("mean".into(), all));
        }
        let meter = Meter::start(self.control, "optimize", Unit::Runs, Some(wanted.len() as u64));
        let mut reports = Vec::new();
        for (name, targets) in wanted {
            let weight = 1.0 / targets.len() as f64;
            let objectives: Vec<Objective<'_>> =
                targets.iter().map(|&t| Objective { model: &models[t], weight }).collect();
            let optimum = self.optimum(plan, &objectives)?;
            reports.push(ObjectiveReport {
                name,
                targets: targets.iter().map(|&t| text.targets[t].name.clone()).collect(),
                optimum,
                best_sampled: best_sampled(&finished.runs, &targets),
                check: Vec::new(),
                below_uniform: false,
                below_natural: false,
                at_most_sampled: false,
            });
            meter.add(1, 0, 0);
        }
        meter.finish();
        Ok(reports)
    }

    fn optimum(&self, plan: &Plan, objectives: &[Objective<'_>]) -> Result<Optimum> {
        let o = self.options;
        let options = OptimizeOptions {
            draws: o.draws,
            // The same part of the draws as RegMix takes of its 100,000.
            best: (o.draws / 781).clamp(1, 128),
            max_weights: Some(plan.most.clone()),
            clip: true,
            seed: o.seed,
            ..OptimizeOptions::default()
        };
        optimize_mixture(objectives, &plan.natural, &options, self.control)
    }
}

fn best_sampled(runs: &Runs, targets: &[usize]) -> SampledBest {
    let loss = |row: &[f64]| targets.iter().map(|&t| row[t]).sum::<f64>() / targets.len() as f64;
    let losses: Vec<f64> = runs.losses().iter_rows().map(loss).collect();
    let least = losses.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(i, _)| i);
    let sum: f64 = runs.weights().row(least).iter().sum();
    SampledBest {
        run: least,
        weights: runs.weights().row(least).iter().map(|w| w / sum).collect(),
        loss: losses[least],
    }
}

fn domains(text: &Text, plan: &Plan) -> Vec<DomainSummary> {
    let limits = plan.natural.iter().zip(&plan.most);
    let all = text.domains.iter().zip(limits);
    all.map(|(d, (&natural, &most))| DomainSummary {
        name: d.name.clone(),
        documents: d.documents,
        tokens: d.tokens.round() as u64,
        natural,
        most,
    })
    .collect()
}

fn summaries(text: &Text) -> Vec<TargetSummary> {
    let of = |t: &super::text::Target| TargetSummary {
        name: t.name.clone(),
        documents: (t.search.len() + t.held_out.len()) as u64,
        search_tokens: t.search.tokens() as u64,
        held_out_tokens: t.held_out.tokens() as u64,
        predictors: Vec::new(),
        predictor: PredictorChoice::Auto,
        measured: Vec::new(),
        predicted: Vec::new(),
    };
    text.targets.iter().map(of).collect()
}
