//! Times the accountants, for `benches/peers/privacy.py`: epsilons and seconds as JSON on standard output.
//!
//!     cargo run --release -p gristmill-privacy --example privacy_bench

use std::time::Instant;

use gristmill_privacy::{Accountant, Budget, Mechanism, Method, calibrate_noise};

/// The median of seven.
fn seconds(mut work: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..7)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[3]
}

fn main() -> gristmill_core::Result<()> {
    let mut rows = Vec::new();
    for (sigma, q, steps, delta) in [
        (1.5, 0.001, 20_000, 1e-6),
        (2.0, 0.05, 20_000, 1e-6),
        (1.0, 0.01, 1_000, 1e-5),
        (0.8, 0.05, 1_000, 1e-6),
        (0.7, 0.01, 120, 1e-5),
    ] {
        let mut accountant = Accountant::new();
        accountant.record(Mechanism::new(sigma, q)?, steps);
        let pld = accountant.epsilon(delta, Method::Pld)?.epsilon;
        let rdp = accountant.epsilon(delta, Method::Rdp)?.epsilon;
        let pld_seconds = seconds(|| drop(accountant.epsilon(delta, Method::Pld)));
        let rdp_seconds = seconds(|| drop(accountant.epsilon(delta, Method::Rdp)));
        rows.push(format!(
            "{{\"sigma\": {sigma}, \"q\": {q}, \"steps\": {steps}, \"delta\": {delta:e}, \"pld\": {pld}, \
             \"pldSeconds\": {pld_seconds}, \"rdp\": {rdp}, \"rdpSeconds\": {rdp_seconds}}}"
        ));
    }
    let budget = Budget { epsilon: 8.0, delta: 1e-5, sample_rate: 0.01, steps: 10_000 };
    let sigma = calibrate_noise(&budget, Method::Pld)?;
    let calibrate = seconds(|| drop(calibrate_noise(&budget, Method::Pld)));
    println!(
        "{{\"rows\": [{}], \"calibrated\": {sigma}, \"calibrateSeconds\": {calibrate}}}",
        rows.join(", ")
    );
    Ok(())
}
