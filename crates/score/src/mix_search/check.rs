//! The check: fresh proxies at the optimum and beside it.

use gristmill_core::hash::hash64;
use gristmill_core::{Code, Error, Result, Unit};
use gristmill_data::Job;

use super::plan::Plan;
use super::proxy::{Outcome, Trainer};
use super::report::{Checked, CheckedMixture, ObjectiveReport};
use super::run::Search;
use crate::jobs::identity::{read_state, write_state};
use crate::jobs::pipeline::{Meter, each_shard};

impl Search<'_> {
    /// Fresh proxies at the mixtures in question, with the same seeds for all.
    pub(super) fn check(
        &self,
        job: &Job,
        trainer: &Trainer<'_>,
        plan: &Plan,
        objectives: &mut [ObjectiveReport],
    ) -> Result<()> {
        let k = plan.natural.len();
        let uniform = vec![1.0 / k as f64; k];
        let mut mixtures: Vec<Vec<f64>> = vec![plan.natural.clone(), uniform.clone()];
        for o in objectives.iter() {
            mixtures.extend([o.optimum.weights(), o.best_sampled.weights.clone()]);
        }
        mixtures.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
        mixtures.dedup();
        let seeds = self.options.check_seeds;
        let outcomes = self.check_runs(job, trainer, &mixtures, seeds)?;
        let losses = |weights: &[f64], targets: &[usize]| -> Checked {
            let at = mixtures.iter().position(|m| m == weights).unwrap_or(0);
            let mean = |outcome: &Outcome| {
                targets.iter().map(|&t| outcome.losses[t][1]).sum::<f64>() / targets.len() as f64
            };
            Checked::of(outcomes[at * seeds..][..seeds].iter().map(mean).collect())
        };
        let names: Vec<&str> = trainer.text.targets.iter().map(|t| t.name.as_str()).collect();
        for o in objectives {
            let targets: Vec<usize> =
                (0..names.len()).filter(|&t| o.targets.iter().any(|name| name == names[t])).collect();
            let rows = [
                ("optimum", o.optimum.weights()),
                ("best-sampled", o.best_sampled.weights.clone()),
                ("natural", plan.natural.clone()),
                ("uniform", uniform.clone()),
            ];
            o.check = rows
                .into_iter()
                .map(|(mixture, weights)| {
                    let uses = weights.iter().zip(&trainer.text.domains);
                    let uses = uses.map(|(w, d)| w * plan.budget as f64 / d.drawn.tokens() as f64);
                    let epochs = uses.fold(0.0, f64::max);
                    let loss = losses(&weights, &targets);
                    CheckedMixture { mixture, weights, epochs, loss }
                })
                .collect();
            let mean = |i: usize| o.check[i].loss.mean;
            o.at_most_sampled = mean(0) <= mean(1);
            o.below_natural = mean(0) < mean(2);
            o.below_uniform = mean(0) < mean(3);
        }
        Ok(())
    }

    fn check_runs(
        &self,
        job: &Job,
        trainer: &Trainer<'_>,
        mixtures: &[Vec<f64>],
        seeds: usize,
    ) -> Result<Vec<Outcome>> {
        // Named after the mixture: with another predictor it is another one, and these runs serve again.
        let step = |weights: &[f64]| {
            let bytes: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
            format!("check-{:016x}", hash64(0, &bytes))
        };
        let all: Vec<usize> = (0..mixtures.len() * seeds).collect();
        let meter = Meter::start(self.control, "check", Unit::Runs, Some(all.len() as u64));
        each_shard(&all, self.threads, self.control, |at, lane| {
            lane.check()?;
            let (weights, s) = (&mixtures[at / seeds], at % seeds);
            if job.commit_of(&step(weights), s)?.is_none() {
                let seed = hash64(self.options.seed, format!("check {s}").as_bytes());
                let outcome = trainer.run(weights, seed)?;
                job.commit(&step(weights), s, Vec::new(), write_state(&outcome)?)?;
            }
            meter.add(1, 0, 0);
            Ok(())
        })?;
        meter.finish();
        let outcome = |at: usize| {
            let commit = job.commit_of(&step(&mixtures[at / seeds]), at % seeds)?;
            let commit =
                commit.ok_or_else(|| Error::new(Code::Internal, "a run of the check was not committed"))?;
            read_state(job, commit.state)
        };
        all.into_iter().map(outcome).collect()
    }
}
