#!/usr/bin/env python3
"""Estimates one model with lmplz and with Gristmill from the same text, and prints one JSON object.

    benches/peers/ngram_estimate.py TEXT [--order 5] [--memory 2000000000] [--repeats 3] [--arpa]

TEXT has one sentence a line, words separated by white space. Both read it from disk; lmplz writes ARPA text, we
write .gml (with --arpa ARPA text too). lmplz comes from benches/peers/setup.sh, ours is built here. Times are
medians over alternating repeats; processor time is what a busy machine distorts least, and peak memory is the
largest resident set.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEERS = pathlib.Path(os.environ.get("GRISTMILL_PEERS", ROOT / "target" / "peers"))


def build():
    command = ["cargo", "build", "--release", "-p", "gristmill-ngram", "--example", "estimate"]
    output = subprocess.run(
        [*command, "--message-format", "json"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    artifacts = (json.loads(line) for line in output.splitlines())
    return next(a["executable"] for a in artifacts if a.get("executable"))


def run(command):
    """Wall clock and processor seconds and peak bytes of one process, and what it prints."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
        output = process.stdout.read()
        # wait4 tells the usage of this child alone.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise SystemExit(f"{command[0]} failed: {errors.read().decode(errors='replace')}")
    return {
        "wallSeconds": time.perf_counter() - started,
        "processorSeconds": usage.ru_utime + usage.ru_stime,
        # Kibibytes, but bytes on macOS.
        "peakBytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    }, output


def medians(runs):
    return {key: statistics.median(r[key] for r in runs) for key in runs[0]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("text")
    parser.add_argument("--order", type=int, default=5)
    parser.add_argument("--memory", type=int, default=2_000_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--arpa", action="store_true")
    args = parser.parse_args()
    ours = build()
    runs = {"lmplz": [], "gristmill": []}
    with tempfile.TemporaryDirectory() as folder:
        suffix = "arpa" if args.arpa else "gml"
        commands = {
            "lmplz": [PEERS / "bin" / "lmplz", "-o", str(args.order), "-S", f"{args.memory}b", "-T", folder + "/",
                      "--text", args.text, "--arpa", f"{folder}/lmplz.arpa"],
            "gristmill": [ours, args.text, f"{folder}/ours.{suffix}", "--order", str(args.order),
                          "--memory", str(args.memory)],
        }
        for _ in range(args.repeats):
            for name, command in commands.items():
                figures, output = run(command)
                runs[name].append(figures)
        report = json.loads(output)
    print(json.dumps({
        "text": os.path.basename(args.text),
        "textBytes": os.path.getsize(args.text),
        "tokens": report["tokens"],
        "order": args.order,
        "ngrams": [order["kept"] for order in report["orders"]],
        "memoryLimit": args.memory,
        "output": {"lmplz": "arpa", "gristmill": suffix},
        **{name: medians(figures) for name, figures in runs.items()},
    }, indent=2))


if __name__ == "__main__":
    main()
