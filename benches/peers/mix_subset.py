#!/usr/bin/env python3
"""Facility location beside apricot, both in one run, similarities included.

    cargo build --release -p gristmill-mix --example mix_bench
    pip install numpy scikit-learn apricot-select
    benches/peers/mix_subset.py [path to mix_bench]

10,000 embeddings of 1,024 dimensions in 100 clusters, 1,000 of which are chosen by lazy greedy on squared cosines,
which is what apricot takes for "cosine". apricot computes in double precision, which is all it has. Writes
benches/results/mix_subset.json.
"""
import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import apricot
import numpy as np
from common import cargo_binary, machine, median, ours, write

N, D, BUDGET, CLUSTERS = 10_000, 1024, 1000, 100

root = Path(__file__).resolve().parents[2]
binary = sys.argv[1] if len(sys.argv) > 1 else cargo_binary(root, "gristmill-mix", "mix_bench")
random = np.random.default_rng(0)
centres = random.standard_normal((CLUSTERS, D))
x = (centres[random.integers(CLUSTERS, size=N)] + random.standard_normal((N, D))).astype(np.float32)


def choose(points, budget):
    return apricot.FacilityLocationSelection(budget, "cosine", optimizer="lazy").fit(points)


choose(x[:200].astype(float), 10)  # numba compiles on first use
seconds, chosen = median(3, lambda: choose(x.astype(float), BUDGET))

with tempfile.NamedTemporaryFile(suffix=".f32") as file:
    x.tofile(file.name)
    mine = ours(binary, "facility", file.name, D, BUDGET)
same = sum(a == b for a, b in zip(chosen.ranking.tolist(), mine.pop("indices")))

result = machine(apricot=version("apricot-select"), numpy=np.__version__) | {
    "task": f"facility location, {N} x {D}, budget {BUDGET}, squared cosine, lazy greedy, similarities included",
    "apricot": {"seconds": seconds, "value": float(chosen.gains.sum())},
    "gristmill": mine,
    "samePlaces": same,
    "ratio": seconds / mine["seconds"],
}
write(root, "mix_subset", result)
print(json.dumps(result, indent=2))
