//! Privacy accounting and sampling: numbers in, numbers out.

use std::sync::{Mutex, PoisonError};

use gristmill::privacy::{self, Accountant, Budget, Mechanism, Method, PoissonSampler, Spent};
use gristmill_core::{Error, Result};
use napi::bindgen_prelude::{Env, Float32Array, Uint32Array};
use napi_derive::napi;
use serde::Deserialize;

use crate::error::{guarded, parse, print, to_js};

fn steps_of(steps: f64) -> Result<u64> {
    // Beyond 2^53 a number of JavaScript is no count.
    if steps.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&steps) {
        Ok(steps as u64)
    } else {
        Err(Error::invalid_argument("steps", format!("{steps} is no number of steps")))
    }
}

fn method_of(name: &str) -> Result<Method> {
    match name {
        "pld" => Ok(Method::Pld),
        "rdp" => Ok(Method::Rdp),
        "gdp" => Ok(Method::Gdp),
        _ => {
            let message = format!("{name:?} is no method of accounting");
            Err(Error::invalid_argument("method", message).hint("there are pld, rdp and gdp"))
        }
    }
}

/// Records steps and says what they cost.
#[napi]
pub struct PrivacyLedger {
    accountant: Mutex<Accountant>,
}

#[napi]
impl PrivacyLedger {
    /// A ledger without steps, or of the JSON text of a state.
    #[napi(constructor)]
    pub fn new(env: Env, state: Option<String>) -> napi::Result<Self> {
        let made = guarded(|| state.map_or_else(|| Ok(Accountant::new()), |text| parse(&text)));
        Ok(Self { accountant: Mutex::new(made.map_err(|e| to_js(&env, &e))?) })
    }

    fn with<T>(&self, env: &Env, work: impl FnOnce(&mut Accountant) -> Result<T>) -> napi::Result<T> {
        let mut accountant = self.accountant.lock().unwrap_or_else(PoisonError::into_inner);
        guarded(|| work(&mut accountant)).map_err(|e| to_js(env, &e))
    }

    fn answer(
        &self,
        env: &Env,
        method: &str,
        ask: impl FnOnce(&Accountant, Method) -> Result<Spent>,
    ) -> napi::Result<String> {
        self.with(env, |accountant| print(&ask(accountant, method_of(method)?)?))
    }

    /// Records so many equal steps.
    #[napi]
    pub fn record(&self, env: Env, noise_multiplier: f64, sample_rate: f64, steps: f64) -> napi::Result<()> {
        self.with(&env, |accountant| {
            let mechanism = Mechanism::new(noise_multiplier, sample_rate)?;
            accountant.record(mechanism, steps_of(steps)?);
            Ok(())
        })
    }

    /// How many steps were recorded.
    #[napi]
    pub fn steps(&self, env: Env) -> napi::Result<f64> {
        self.with(&env, |accountant| Ok(accountant.steps() as f64))
    }

    /// The JSON text of what was spent at `delta`.
    #[napi]
    pub fn epsilon(&self, env: Env, delta: f64, method: String) -> napi::Result<String> {
        self.answer(&env, &method, |accountant, method| accountant.epsilon(delta, method))
    }

    /// The JSON text of what was spent at `epsilon`.
    #[napi]
    pub fn delta(&self, env: Env, epsilon: f64, method: String) -> napi::Result<String> {
        self.answer(&env, &method, |accountant, method| accountant.delta(epsilon, method))
    }

    /// The JSON text of its state.
    #[napi]
    pub fn state(&self, env: Env) -> napi::Result<String> {
        self.with(&env, |accountant| print(accountant))
    }
}

/// The least noise multiplier that keeps a budget.
#[napi]
pub fn calibrate_noise(
    env: Env,
    epsilon: f64,
    delta: f64,
    sample_rate: f64,
    steps: f64,
    method: String,
) -> napi::Result<f64> {
    let work = || {
        let budget = Budget { epsilon, delta, sample_rate, steps: steps_of(steps)? };
        privacy::calibrate_noise(&budget, method_of(&method)?)
    };
    guarded(work).map_err(|e| to_js(&env, &e))
}

/// The examples of one step.
#[napi(object, object_from_js = false)]
pub struct DrawnBatch {
    /// Which step this is, from 0.
    pub step: f64,
    /// Ascending indices, then padding.
    pub indices: Uint32Array,
    /// One for an example, zero for padding.
    pub weights: Float32Array,
    /// How many are examples.
    pub private_size: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Draws {
    New(privacy::PoissonOptions),
    State(PoissonSampler),
}

/// Draws batches for DP-SGD.
#[napi]
pub struct PoissonDraws {
    sampler: Mutex<PoissonSampler>,
}

#[napi]
impl PoissonDraws {
    /// A sampler of the JSON text of its options, or of its state.
    #[napi(constructor)]
    pub fn new(env: Env, options: String) -> napi::Result<Self> {
        let made = guarded(|| match parse(&options)? {
            Draws::New(options) => PoissonSampler::new(&options),
            Draws::State(sampler) => Ok(sampler),
        });
        Ok(Self { sampler: Mutex::new(made.map_err(|e| to_js(&env, &e))?) })
    }

    fn with<T>(&self, env: &Env, work: impl FnOnce(&mut PoissonSampler) -> Result<T>) -> napi::Result<T> {
        let mut sampler = self.sampler.lock().unwrap_or_else(PoisonError::into_inner);
        guarded(|| work(&mut sampler)).map_err(|e| to_js(env, &e))
    }

    /// The next batch.
    #[napi]
    pub fn next_batch(&self, env: Env) -> napi::Result<DrawnBatch> {
        let batch = self.with(&env, |sampler| Ok(sampler.next_batch()))?;
        Ok(DrawnBatch {
            step: batch.step as f64,
            indices: Uint32Array::new(batch.indices),
            weights: Float32Array::new(batch.weights),
            private_size: batch.private_size as u32,
        })
    }

    /// How many batches were drawn.
    #[napi]
    pub fn steps(&self, env: Env) -> napi::Result<f64> {
        self.with(&env, |sampler| Ok(sampler.steps() as f64))
    }

    /// The JSON text of its state, which holds its key.
    #[napi]
    pub fn state(&self, env: Env) -> napi::Result<String> {
        self.with(&env, |sampler| print(sampler))
    }
}
