#!/usr/bin/env python3
"""Estimates one model with lmplz and with Gristmill from the same text, and prints one JSON object.

    cargo build --release -p gristmill-ngram --example estimate
    benches/peers/ngram_estimate.py TEXT… [--order 5] [--memory 2000000000,200000000] [--repeats 3] [--arpa] [--write]

A TEXT has one sentence a line, words separated by white space; every memory limit is tried on each. Both read it
from disk; lmplz writes ARPA text, we write .gml (with --arpa ARPA text too). lmplz comes from benches/peers/setup.sh.
Times are medians over alternating repeats; processor time is what a busy machine distorts least, and peak memory is
the largest resident set. With --write the result goes to benches/results/ngram_estimate.json.
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

import common

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEERS = pathlib.Path(os.environ.get("GRISTMILL_PEERS", ROOT / "target" / "peers"))


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


def compare(ours, text, memory, args):
    runs = {"lmplz": [], "gristmill": []}
    suffix = "arpa" if args.arpa else "gml"
    with tempfile.TemporaryDirectory(dir=args.temp) as folder:
        commands = {
            "lmplz": [PEERS / "bin" / "lmplz", "-o", str(args.order), "-S", f"{memory}b", "-T", folder + "/",
                      "--text", text, "--arpa", f"{folder}/lmplz.arpa"],
            "gristmill": [ours, text, f"{folder}/ours.{suffix}", "--order", str(args.order), "--memory", str(memory)],
        }
        for _ in range(args.repeats):
            for name, command in commands.items():
                figures, output = run(command)
                runs[name].append(figures)
    report = json.loads(output)
    figures = {name: medians(each) for name, each in runs.items()}
    peer, own = figures["lmplz"], figures["gristmill"]
    return {
        "textBytes": os.path.getsize(text),
        "tokens": report["tokens"],
        "order": args.order,
        "ngrams": [order["kept"] for order in report["orders"]],
        "memoryLimit": memory,
        "output": {"lmplz": "arpa", "gristmill": suffix},
        **figures,
        "processorTimeOfLmplzOverOurs": peer["processorSeconds"] / own["processorSeconds"],
        "peakOfOursOverLmplz": own["peakBytes"] / peer["peakBytes"],
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("text", nargs="+")
    parser.add_argument("--order", type=int, default=5)
    parser.add_argument("--memory", default="2000000000")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--arpa", action="store_true")
    parser.add_argument("--temp", help="where models and temporary files go")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    ours = common.cargo_binary(ROOT, "gristmill-ngram", "estimate")
    limits = [int(memory) for memory in args.memory.split(",")]
    runs = [compare(ours, text, memory, args) for text in args.text for memory in limits]
    result = {"machine": common.machine(lmplz="kenlm 0.3.0"), "runs": runs}
    print(json.dumps(result, indent=2))
    if args.write:
        common.write(ROOT, "ngram_estimate", result)


if __name__ == "__main__":
    main()
