"""Precision of DSIR's reference package on the labelled pool, as a fixture for the tests.

    pip install data-selection==1.0.3 nltk==3.9.1
    node test/corpora/prepare.mjs
    python test/corpora/dsir_reference.py [DIR] > test/corpora/dsir_reference.json

For each kind of text: the package's own importance weights of all documents of the pool under the target sample
(bigrams, 10,000 buckets, fitted on all tokens), as it defines them (a sum over n-grams) and divided by the number
of n-grams, and the share of documents of that kind among as many top-weighted ones as there are. The package leaves
out documents of fewer than 100 tokens; the pool has none.
"""

import contextlib
import gzip
import io
import json
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
from data_selection import HashedNgramDSIR


def read(path):
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def precision(scores, labels, kind):
    relevant = int((labels == kind).sum())
    top = np.argsort(-scores, kind="stable")[:relevant]
    return round(float((labels[top] == kind).mean()), 4)


def main(directory):
    manifest = json.loads((directory / "manifest.json").read_text())
    pool = [d for path in sorted((directory / "pool").glob("*.gz")) for d in read(path)]
    labels = np.array([d["label"] for d in pool])
    kinds = {}
    with tempfile.TemporaryDirectory() as work, contextlib.redirect_stderr(io.StringIO()):
        raw = Path(work, "pool.jsonl")
        raw.write_text("".join(json.dumps(d) + "\n" for d in pool))
        for path in sorted((directory / "target").glob("*.gz")):
            kind = path.name.split(".")[0]
            target = Path(work, "target.jsonl")
            target.write_text("".join(json.dumps(d) + "\n" for d in read(path)))
            dsir = HashedNgramDSIR([str(raw)], [str(target)], cache_dir=str(Path(work, kind)), num_proc=1)
            dsir.fit_importance_estimator(num_tokens_to_fit="all")
            features = [dsir.featurizer(d["text"]) for d in pool]
            total = np.array([dsir.importance_estimator(f) for f in features])
            mean = total / np.array([f.sum() for f in features])
            kinds[kind] = {
                "random": round(float((labels == kind).mean()), 4),
                "sum": precision(total, labels, kind),
                "mean": precision(mean, labels, kind),
            }
    average = {key: round(float(np.mean([k[key] for k in kinds.values()])), 4) for key in ("random", "sum", "mean")}
    fixture = {
        "package": f"data-selection {version('data-selection')}, nltk {version('nltk')}",
        "python": platform.python_version(),
        "corpora": manifest["content"],
        "kinds": kinds,
        "average": average,
    }
    print(json.dumps(fixture, indent=2))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "build"))
