#!/usr/bin/env python3
"""Boosted trees beside LightGBM, both in one run, on the published RegMix runs.

    cargo build --release -p gristmill-mix --example mix_bench
    pip install numpy scipy lightgbm
    benches/peers/mix_gbdt.py [FOLDER with the RegMix runs] [path to mix_bench]

Times the fit of the Pile-CC loss (512 runs, 17 domains, 1,000 trees) and 100,000 predictions, medians of
several, one thread each; LightGBM predicts with all threads as well. Compares the rank correlations on the test
runs. Writes benches/results/mix_gbdt.json.
"""
import json
import os
import sys
import tempfile
from pathlib import Path

import lightgbm
import numpy as np
from common import cargo_binary, machine, median, ours, write
from scipy.stats import spearmanr

root = Path(__file__).resolve().parents[2]
folder = Path(sys.argv[1]) if len(sys.argv) > 1 else root / "../shared/data/regmix"
binary = sys.argv[2] if len(sys.argv) > 2 else cargo_binary(root, "gristmill-mix", "mix_bench")


def read(name):
    return np.loadtxt(folder / name, delimiter=",", skiprows=1)[:, 1:]


PILE_CC = 8
x, y = read("train_mixture_1m.csv"), read("train_pile_loss_1m.csv")[:, PILE_CC]
draws = np.random.default_rng(0).dirichlet(np.full(17, 0.1), 100_000)
parameters = {"objective": "regression", "learning_rate": 0.01, "num_threads": 1, "verbosity": -1}
fit_seconds, model = median(5, lambda: lightgbm.train(parameters, lightgbm.Dataset(x, y), 1000))
one, predicted = median(3, lambda: model.predict(draws, num_threads=1))
every, _ = median(3, lambda: model.predict(draws, num_threads=os.cpu_count()))
rank = {
    size: 100 * spearmanr(model.predict(read(f"test_mixture_{size}.csv")), read(f"test_pile_loss_{size}.csv")[:, PILE_CC])[0]
    for size in ("1m", "60m")
}

with tempfile.NamedTemporaryFile(suffix=".f64") as file:
    draws.tofile(file.name)
    mine = ours(binary, "gbdt", folder, "pile_cc", file.name)

result = machine(lightgbm=lightgbm.__version__, numpy=np.__version__) | {
    "task": "regression of the Pile-CC loss on 17 domain weights, 512 runs, 1,000 trees; 100,000 predictions",
    "lightgbm": {
        "fitSecondsOneThread": fit_seconds,
        "predictSecondsOneThread": one,
        "predictSecondsAllThreads": every,
        "spearman100": rank,
        "predictionMean": float(predicted.mean()),
    },
    "gristmill": mine,
    "ratio": {
        "fitOneThread": fit_seconds / mine["fitSeconds"],
        "predictOneThread": one / mine["predictSecondsOneThread"],
        "predictBest": min(one, every) / min(mine["predictSecondsOneThread"], mine["predictSecondsAllThreads"]),
    },
}
write(root, "mix_gbdt", result)
print(json.dumps(result, indent=2))
