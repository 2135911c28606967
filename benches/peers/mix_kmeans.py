#!/usr/bin/env python3
"""k-means beside faiss, both in one run, from random centres and for the same number of rounds.

    cargo build --release -p gristmill-mix --example mix_bench
    pip install numpy faiss-cpu
    benches/peers/mix_kmeans.py [path to mix_bench]

100,000 points of 256 dimensions, 1,000 clusters, 10 rounds, all points in every round. Ours ends with one more
assignment, which gives the labels; faiss gives none. Writes benches/results/mix_kmeans.json.
"""
import json
import sys
import tempfile
from pathlib import Path

import faiss
import numpy as np
from common import cargo_binary, machine, median, ours, write

N, D, K, ROUNDS = 100_000, 256, 1000, 10

root = Path(__file__).resolve().parents[2]
binary = sys.argv[1] if len(sys.argv) > 1 else cargo_binary(root, "gristmill-mix", "mix_bench")
random = np.random.default_rng(0)
centres = random.standard_normal((2 * K, D))
x = (centres[random.integers(2 * K, size=N)] + random.standard_normal((N, D))).astype(np.float32)


def cluster():
    found = faiss.Kmeans(D, K, niter=ROUNDS, max_points_per_centroid=N, seed=1)
    found.train(x)
    return float(found.obj[-1])


seconds, error = median(3, cluster)
with tempfile.NamedTemporaryFile(suffix=".f32") as file:
    x.tofile(file.name)
    mine = ours(binary, "kmeans", file.name, D, K, ROUNDS)

result = machine(faiss=faiss.__version__, numpy=np.__version__) | {
    "task": f"k-means, {N} x {D}, {K} clusters, {ROUNDS} rounds from random centres",
    "faiss": {"seconds": seconds, "inertia": error, "threads": faiss.omp_get_max_threads()},
    "gristmill": mine,
    "ratio": seconds / mine["seconds"],
}
write(root, "mix_kmeans", result)
print(json.dumps(result, indent=2))
