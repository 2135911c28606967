#!/usr/bin/env python3
"""Target against pool as a classifier by scikit-learn and by Gristmill, in one run; writes benches/results/classifier.json.

    cargo build --release -p gristmill-score --example classifier
    pip install scikit-learn && npm ci
    python benches/peers/classifier.py [CORPORA]

The pool is 20 MB of text: the labelled corpora of the tests (test/corpora/prepare.mjs, run when CORPORA is not given) and
the documentation and sources in node_modules, in documents of about 1,200 bytes; the target is the sample of mails.
Both read the pool from a file, count hashed word unigrams and bigrams (2^20 buckets, the same words), weigh them by TF-IDF
with sublinear counts, fit logistic regression (C = 1, balanced), and score every document of the pool, each in a process
of its own with one thread. Times are processor seconds, which a busy machine distorts least; memory is the peak of the
resident set. Every phase is compared as well: ours has the start and the end of the
process in its total as well. That the same thing is fitted is checked by the rank
correlation of the scores and by what is minimised, beside the optimum that scikit-learn finds with a tolerance of 1e-8
(the two hash into other buckets, so the problems are equal but for what collides; liblinear's form is compared, in which
the constant is penalised).
"""

import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from common import cargo_binary, machine, write

ROOT = Path(__file__).resolve().parents[2]
MEGABYTES = 20
DOCUMENT = 1200
WORDS = r"\w+|[^\w\s]+"


def corpora():
    if len(sys.argv) > 1:
        return Path(sys.argv[1])
    script = ["node", str(ROOT / "test/corpora/prepare.mjs")]
    return Path(subprocess.run(script, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()).parent


def texts(directory):
    """Documents of the pool, the labelled ones first."""
    for part in sorted((directory / "pool").glob("*.gz")):
        with gzip.open(part, "rt", encoding="utf-8") as lines:
            yield from (json.loads(line)["text"] for line in lines)
    names = (path for kind in ("md", "ts", "js") for path in sorted((ROOT / "node_modules").rglob(f"*.{kind}")))
    for path in names:
        try:
            text = path.read_text(encoding="utf-8") if path.is_file() else ""
        except UnicodeDecodeError:
            continue
        yield from (text[at : at + DOCUMENT] for at in range(0, len(text), DOCUMENT))


def prepare(directory, work):
    pool, size = work / "pool.jsonl", 0
    with open(pool, "w", encoding="utf-8") as out:
        for text in texts(directory):
            if text.strip() and size < MEGABYTES * 1_000_000:
                size += len(text.encode())
                out.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
    target = work / "target.jsonl"
    target.write_bytes(gzip.decompress((directory / "target/mail.jsonl.gz").read_bytes()))
    return pool, target, size


def theirs(pool, target):
    """Runs in a process of its own."""
    import time

    import numpy as np
    import scipy.sparse
    import sklearn
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
    from sklearn.linear_model import LogisticRegression

    def stream(path):
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)["text"]

    imported = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    clock = [time.process_time()]
    hashing = HashingVectorizer(
        ngram_range=(1, 2), n_features=2**20, alternate_sign=False, norm=None, token_pattern=WORDS
    )
    sample, raw = hashing.transform(stream(target)), hashing.transform(stream(pool))
    clock.append(time.process_time())
    x = TfidfTransformer(sublinear_tf=True).fit_transform(scipy.sparse.vstack([sample, raw]))
    y = np.r_[np.ones(sample.shape[0]), np.zeros(raw.shape[0])]
    model = LogisticRegression(C=1.0, class_weight="balanced", max_iter=1000).fit(x, y)
    clock.append(time.process_time())
    scores = model.decision_function(x[sample.shape[0] :])
    clock.append(time.process_time())
    balance = np.where(y == 1, len(y) / (2 * y.sum()), len(y) / (2 * (len(y) - y.sum())))

    def objective(fitted):
        z = fitted.decision_function(x)
        square = (fitted.coef_**2).sum() + fitted.intercept_[0] ** 2
        return float(square / 2 + (balance * (np.logaddexp(0, z) - y * z)).sum())

    tight = LogisticRegression(C=1.0, class_weight="balanced", max_iter=100_000, tol=1e-8).fit(x, y)
    objectives = {"default": objective(model), "optimum": objective(tight)}
    seconds = dict(zip(("features", "fit", "score"), (round(b - a, 3) for a, b in zip(clock, clock[1:]))))
    versions = {"scikit-learn": sklearn.__version__, "numpy": np.__version__}
    print(json.dumps({"seconds": seconds, "scores": scores.tolist(), "imported": imported, "versions": versions, "objectives": objectives}))


def child(command):
    """Processor seconds, peak memory in MB, and what it printed."""
    environment = os.environ | {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} failed")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, json.loads(output)


def spearman(a, b):
    import numpy as np

    ranks = [np.argsort(np.argsort(v, kind="stable"), kind="stable") for v in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def main():
    binary = cargo_binary(ROOT, "gristmill-score", "classifier")

    def ours(*flags):
        runs = [child([binary, str(pool), str(target), *flags]) for _ in range(3)]
        return sorted(runs, key=lambda run: run[0])[1]

    with tempfile.TemporaryDirectory() as work:
        pool, target, size = prepare(corpora(), Path(work))
        peer = child([sys.executable, __file__, "--peer", str(pool), str(target)])
        same, default = ours("--wordpunct"), ours()
        anew = ours("--wordpunct", "--from-text")
        _, _, checked = child([binary, str(pool), str(target), "--wordpunct", "--objective"])
    work = sum(peer[2]["seconds"].values())

    def entry(run, seconds):
        phases = {name: round(value, 3) for name, value in run[2]["seconds"].items()}
        return {
            "processorSeconds": round(seconds, 3),
            "phases": phases,
            "phasesTimesFaster": {
                name: round(peer[2]["seconds"][name] / max(value, 1e-3), 1) for name, value in phases.items()
            },
            "peakMegabytes": round(run[1], 1),
            "timesFaster": round(work / seconds, 1),
            "timesLessMemory": round(peer[1] / run[1], 1),
        }

    objectives = peer[2]["objectives"]
    gap = {name: checked["objective"] / value - 1 for name, value in objectives.items()}
    result = machine(**peer[2]["versions"]) | {
        "bench": "features, fit and scores of target against pool, one thread",
        "megabytes": round(size / 1e6, 2),
        "documents": same[2]["documents"],
        "load": [round(load, 1) for load in os.getloadavg()],
        # Without its imports, which take seconds of their own.
        "scikit-learn": entry(peer, work) | {"importedMegabytes": round(peer[2]["imported"] / 1024, 1)},
        # Ours whole: start, reading, parsing.
        "gristmill, the same words": entry(same, same[0]) | {"epochs": same[2]["epochs"]},
        "gristmill, its own words": entry(default, default[0]) | {"epochs": default[2]["epochs"]},
        "gristmill, the same words, scores from the texts read again": entry(anew, anew[0]),
        "objective": {
            "scikit-learn": round(objectives["default"], 3),
            "scikit-learn, tolerance 1e-8": round(objectives["optimum"], 3),
            "gristmill": round(checked["objective"], 3),
            "above scikit-learn": round(gap["default"], 6),
            "above the optimum": round(gap["optimum"], 6),
        },
        "rankCorrelationOfScores": round(spearman(peer[2]["scores"], same[2]["scores"]), 4),
    }
    write(ROOT, "classifier", result)
    print(json.dumps(result, indent=2))
    if max(gap.values()) > 1e-3:
        raise SystemExit("what was fitted is not as good as scikit-learn's")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peer"]:
        theirs(*sys.argv[2:4])
    else:
        main()
