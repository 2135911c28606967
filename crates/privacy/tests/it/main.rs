//! The accountants against published values, other implementations, and their own promises.

mod dp_sgd;
mod exact;
mod golden;
mod peers;
mod promises;
mod sampler;

use gristmill_privacy::{Accountant, Mechanism, Method};

/// Epsilon of so many equal steps.
fn epsilon(sigma: f64, q: f64, steps: u64, delta: f64, method: Method) -> f64 {
    accountant(sigma, q, steps).epsilon(delta, method).unwrap().epsilon
}

fn accountant(sigma: f64, q: f64, steps: u64) -> Accountant {
    let mut accountant = Accountant::new();
    accountant.record(Mechanism::new(sigma, q).unwrap(), steps);
    accountant
}
