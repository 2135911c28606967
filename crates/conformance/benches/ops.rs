//! How fast the operations of the CPU are: `cargo bench -p gristmill-conformance [-- --ops nll,topk] [--json]`.

use gristmill_conformance::bench::{BenchOptions, run};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut options = BenchOptions::default();
    let mut json = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--ops" => {
                let ops = arguments.next().ok_or("--ops needs names, such as nll,topk")?;
                options.ops = Some(ops.split(',').map(Into::into).collect());
            }
            "--json" => json = true,
            // Cargo says so to every benchmark.
            "--bench" => {}
            other => return Err(format!("no option {other}; there are --ops and --json").into()),
        }
    }
    let device = gristmill_cpu::open()?;
    let report = run(&device, &options, |row| {
        if !json {
            println!("{row}");
        }
    })?;
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        for limit in &report.limits {
            println!("{:<40} {:>30}", format!("limit: {}", limit.name), limit.rate.to_string());
        }
    }
    Ok(())
}
