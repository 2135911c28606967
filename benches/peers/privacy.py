#!/usr/bin/env python3
"""Privacy accounting beside dp-accounting and opacus, in one run.

    cargo build --release -p gristmill-privacy --example privacy_bench
    pip install dp-accounting==0.6.0 opacus==1.6.0
    benches/peers/privacy.py [path to privacy_bench]
    benches/peers/privacy.py --table      # writes crates/privacy/tests/it/peers.json instead

Times the epsilon of composed sampled Gaussians, medians of three for dp-accounting and of seven for ours, and writes
benches/results/privacy.json. The table holds, for a grid of settings, epsilon by dp-accounting's privacy loss
distributions from above and from below, and by opacus's RDP accountant.
"""

import json
import pathlib
import sys
import warnings
from importlib.metadata import version

from dp_accounting.pld import privacy_loss_distribution as pld

from common import cargo_binary, machine, median, ours, write

ROOT = pathlib.Path(__file__).resolve().parents[2]
INTERVAL = 1e-4


def dp_accounting(sigma, q, steps, delta, interval=INTERVAL, pessimistic=True):
    distribution = pld.from_gaussian_mechanism(
        sigma,
        sampling_prob=q,
        value_discretization_interval=interval,
        pessimistic_estimate=pessimistic,
        use_connect_dots=pessimistic,
    )
    return distribution.self_compose(steps).get_epsilon_for_delta(delta)


def table():
    from opacus.accountants.analysis import rdp

    orders = [1 + x / 10 for x in range(1, 100)] + list(range(11, 64)) + [128, 256, 512, 1024]
    rows = []
    for sigma, q, steps in [
        (0.6, 0.001, 100), (0.6, 0.01, 1000), (0.8, 0.001, 100), (0.8, 0.05, 1000), (1.0, 0.0005, 5000),
        (1.0, 0.01, 1), (1.0, 0.01, 1000), (1.1, 0.01, 10000), (1.5, 0.001, 20000), (1.5, 0.05, 100),
        (2.0, 0.05, 20000), (2.0, 0.2, 100), (4.0, 0.3, 500), (0.7183, 0.02434, 411),
    ]:
        for delta in [1e-5, 1e-7]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                divergence = rdp.compute_rdp(q=q, noise_multiplier=sigma, steps=steps, orders=orders)
                opacus, _ = rdp.get_privacy_spent(orders=orders, rdp=divergence, delta=delta)
            # From below by rounding losses down, which costs a step's interval each: a finer one for many steps.
            interval = 1e-4 if steps <= 1000 else 1e-5
            below = dp_accounting(sigma, q, steps, delta, interval, pessimistic=False)
            above = dp_accounting(sigma, q, steps, delta)
            row = {"sigma": sigma, "q": q, "steps": steps, "delta": delta}
            rows.append(row | {"optimistic": below, "pessimistic": above, "opacusRdp": float(opacus)})
            print(rows[-1], flush=True)
    made = {"by": "benches/peers/privacy.py --table"}
    made |= {"dp-accounting": version("dp-accounting"), "opacus": version("opacus")}
    path = ROOT / "crates/privacy/tests/it/peers.json"
    lines = ",\n".join("    " + json.dumps(row) for row in rows)
    path.write_text(f'{{\n  "made": {json.dumps(made)},\n  "rows": [\n{lines}\n  ]\n}}\n')


def bench(program):
    report = ours(program)
    rows = []
    for row in report["rows"]:
        seconds, epsilon = median(3, lambda: dp_accounting(row["sigma"], row["q"], row["steps"], row["delta"]))
        theirs = {"dpAccounting": epsilon, "dpAccountingSeconds": seconds}
        ratios = {"timesAsFast": seconds / row["pldSeconds"], "epsilonAbove": row["pld"] / epsilon - 1}
        rows.append(row | theirs | ratios)
    result = machine(**{"dp-accounting": version("dp-accounting")}) | {
        "task": "epsilon of composed sampled Gaussian mechanisms by their privacy loss distribution",
        "rows": rows,
        "calibrated": report["calibrated"],
        "calibrateSeconds": report["calibrateSeconds"],
    }
    write(ROOT, "privacy", result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    if "--table" in sys.argv:
        table()
    else:
        bench(sys.argv[1] if len(sys.argv) > 1 else cargo_binary(ROOT, "gristmill-privacy", "privacy_bench"))
