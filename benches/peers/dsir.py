#!/usr/bin/env python3
"""Importance weights of one pool by DSIR's own package and by Gristmill, in one run; writes benches/results/dsir.json.

    benches/peers/setup.sh --all && npm ci
    target/peers/venv/bin/python benches/peers/dsir.py [CORPORA]

CORPORA is what test/corpora/prepare.mjs makes (it is run when not given). Both count the n-grams of the pool and weigh
every document, in one process on one thread, from text in memory. Times are processor seconds, which a busy machine
distorts least; ours is the slope between one and several repeats, so that start and reading are not in it.
"""

import contextlib
import datetime
import gzip
import io
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version

import numpy as np
from data_selection import HashedNgramDSIR

ROOT = pathlib.Path(__file__).resolve().parents[2]
REPEATS = 10


def corpora():
    if len(sys.argv) > 1:
        return pathlib.Path(sys.argv[1])
    script = ["node", str(ROOT / "test/corpora/prepare.mjs")]
    return pathlib.Path(subprocess.run(script, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()).parent


def build():
    command = ["cargo", "build", "--release", "-p", "gristmill-ngram", "--example", "hashed", "--message-format", "json"]
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    return next(a["executable"] for a in map(json.loads, output.splitlines()) if a.get("executable"))


def processor_seconds(command):
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} failed")
    return usage.ru_utime + usage.ru_stime, json.loads(output)


def ours(program, pool, target, *options):
    seconds = {}
    for repeats in (1, 1 + REPEATS):
        command = [program, pool, target, "--repeats", str(repeats), *options]
        runs = [processor_seconds(command) for _ in range(3)]
        seconds[repeats] = statistics.median(run[0] for run in runs)
    return (seconds[1 + REPEATS] - seconds[1]) / REPEATS, runs[0][1]["sumOfWeights"]


def reference(pool, target, work):
    texts = [json.loads(line)["text"] for line in open(pool, encoding="utf-8")]
    with contextlib.redirect_stderr(io.StringIO()):
        dsir = HashedNgramDSIR([pool], [target], cache_dir=work, num_proc=1)
        dsir.fit_importance_estimator(num_tokens_to_fit="all")
        started = time.process_time()
        # What its two passes over the pool do, without the files and processes around them.
        counts = np.zeros(dsir.num_buckets, dtype=int)
        for text in texts:
            counts += dsir.featurizer(text)
        weights = [float(dsir.importance_estimator(dsir.featurizer(text))) for text in texts]
        return time.process_time() - started, sum(weights)


def cpu():
    with contextlib.suppress(OSError):
        for line in open("/proc/cpuinfo", encoding="utf-8"):
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def main():
    directory = corpora()
    program = build()
    with tempfile.TemporaryDirectory() as work:
        pool, target = f"{work}/pool.jsonl", f"{work}/target.jsonl"
        with open(pool, "wb") as out:
            for part in sorted((directory / "pool").glob("*.gz")):
                out.write(gzip.decompress(part.read_bytes()))
        with open(target, "wb") as out:
            out.write(gzip.decompress((directory / "target/mail.jsonl.gz").read_bytes()))
        megabytes = sum(len(json.loads(line)["text"].encode()) for line in open(pool, encoding="utf-8")) / 1e6
        theirs, their_sum = reference(pool, target, work)
        same, our_sum = ours(program, pool, target, "--reference")
        default, _ = ours(program, pool, target)
    assert abs(our_sum - their_sum) < 1e-6 * abs(their_sum), (our_sum, their_sum)

    def entry(seconds):
        return {
            "processorSeconds": round(seconds, 4),
            "megabytesPerSecond": round(megabytes / seconds, 2),
            "timesFaster": round(theirs / seconds, 1),
        }

    result = {
        "bench": "count the pool's n-grams and weigh its documents, one thread",
        "date": datetime.date.today().isoformat(),
        "cpu": cpu(),
        "versions": {
            "python": platform.python_version(),
            "data-selection": version("data-selection"),
            "nltk": version("nltk"),
            "numpy": version("numpy"),
        },
        "megabytes": round(megabytes, 2),
        "data-selection": entry(theirs),
        "gristmill, reference definition (SHA-256, 10,000 buckets)": entry(same),
        "gristmill, default (XXH3, 65,536 buckets)": entry(default),
    }
    text = json.dumps(result, indent=2)
    (ROOT / "benches/results").mkdir(exist_ok=True)
    (ROOT / "benches/results/dsir.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
