#!/usr/bin/env python3
"""The D-CPT fit beside scipy's L-BFGS-B, both in one run, on synthetic losses of the published design.

    cargo build --release -p gristmill-mix --example mix_bench
    pip install numpy scipy
    benches/peers/mix_dcpt.py [path to mix_bench]

540 points (3 sizes, 9 shares, 20 checkpoints) with 0.2% noise, 40 starts, the mean Huber loss of the logarithms
over the logarithms of the nine parameters. scipy takes numeric gradients, as a user of it would. Writes
benches/results/mix_dcpt.json.
"""
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import scipy
from common import cargo_binary, machine, ours, write
from scipy.optimize import minimize

NAMES = ["E", "A", "alpha", "B", "eta", "beta", "C", "epsilon", "gamma"]
TRUTH = np.array([1.2, 0.6, 0.6, 0.9, 0.6, 0.5, 0.3, 0.1, 1.0])
STARTS, DELTA, NOISE = 40, 1e-3, 0.002

root = Path(__file__).resolve().parents[2]
binary = sys.argv[1] if len(sys.argv) > 1 else cargo_binary(root, "gristmill-mix", "mix_bench")
shares = [0.0, 0.1, 0.2, 0.33, 0.5, 0.67, 0.8, 0.9, 1.0]
n, r, d = (a.ravel() for a in np.meshgrid([0.5, 1.8, 4.0], shares, np.arange(1.0, 21.0), indexing="ij"))


def law(p):
    e, a, alpha, b, eta, beta, c, epsilon, gamma = p
    return e + a / n**alpha + b * r**eta / d**beta + c / (r + epsilon) ** gamma


random = np.random.default_rng(0)
loss = law(TRUTH) * (1 + NOISE * random.standard_normal(n.size))


def objective(u):
    with np.errstate(all="ignore"):
        error = np.abs(np.log(law(np.exp(u))) - np.log(loss))
        value = np.where(error <= DELTA, error**2 / 2, DELTA * (error - DELTA / 2)).mean()
    return value if np.isfinite(value) else 1e9


def one_start():
    exponents = np.exp(random.uniform(np.log(0.05), np.log(2), 4))
    alpha, eta, beta, gamma = exponents
    a, b, c, e = random.uniform(0.1, 2, 4)
    start = np.log([e, a, alpha, b, eta, beta, c, np.exp(random.uniform(np.log(1e-3), 0)), gamma])
    # The objective is of the order of DELTA, far below the default tolerances.
    return minimize(lambda u: objective(u) / DELTA, start, method="L-BFGS-B", bounds=[(-12, 6)] * 9,
                    options={"maxiter": 2000, "maxfun": 100_000, "ftol": 1e-12, "gtol": 1e-9})


begin = time.perf_counter()
found = sorted((one_start() for _ in range(STARTS)), key=lambda m: m.fun)
seconds = time.perf_counter() - begin
best = found[0].fun * DELTA

with tempfile.NamedTemporaryFile(suffix=".f64") as file:
    np.stack([n, d, r, loss], axis=1).tofile(file.name)
    mine = ours(binary, "dcpt", file.name, STARTS)

result = machine(scipy=scipy.__version__, numpy=np.__version__) | {
    "task": f"D-CPT law, {n.size} points with {NOISE:.1%} noise, {STARTS} starts",
    "truth": dict(zip(NAMES, TRUTH.tolist())),
    "objectiveOfTruth": float(objective(np.log(TRUTH))),
    "scipy": {
        "seconds": seconds,
        "huber": float(best),
        "nearBest": sum(1 for m in found if m.fun * DELTA <= best * 1.01),
        "parameters": dict(zip(NAMES, np.exp(found[0].x).tolist())),
    },
    "gristmill": mine,
    "ratio": {"oneThread": seconds / mine["secondsOneThread"], "allThreads": seconds / mine["secondsAllThreads"]},
}
write(root, "mix_dcpt", result)
print(json.dumps(result, indent=2))
