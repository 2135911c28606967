#!/usr/bin/env python3
"""N-gram queries, KenLM beside Gristmill: the same model, the same text, one core each, in the same run.

    cargo build --release -p gristmill-ngram --example query
    benches/peers/ngram_query.py TEXT [--peers FOLDER] [--repeats N] [--work FOLDER]

TEXT has one document a line, words separated by spaces. An order-5 model of four fifths of it is estimated by lmplz and
built by build_binary (probing); both sides read that file. Texts: the four fifths themselves, the other fifth, and the
other fifth cut into sentences of 20 words.

Two comparisons, in tokens per second of processor time, </s> included:
  whole    words to scores: KenLM's `query -v summary` less its time on an empty text; ours is tokenising and scoring
  scoring  ids to scores:   KenLM's `kenlm_benchmark`, one thread; ours is scoring alone
Perplexities must agree, or the run fails. Writes benches/results/ngram_query.json.
"""
import argparse
import math
import re
import statistics
import subprocess
import tempfile
from pathlib import Path

from common import cargo_binary, machine, ours, write

ROOT = Path(__file__).resolve().parents[2]


def split(text, work):
    lines = text.read_text(encoding="utf-8").splitlines()
    train = [line for i, line in enumerate(lines) if i % 5 < 4]
    held_out = [line for i, line in enumerate(lines) if i % 5 == 4]
    words = " ".join(held_out).split()
    short = [" ".join(words[i : i + 20]) for i in range(0, len(words), 20)]
    texts = {}
    for name, lines in [("own", train), ("held-out", held_out), ("held-out, 20 words a sentence", short)]:
        texts[name] = work / f"{len(texts)}.txt"
        texts[name].write_text("\n".join(lines) + "\n", encoding="utf-8")
    return texts


def kenlm_query(peers, model, text):
    """User seconds, perplexity and tokens of one run of `query`."""
    with open(text, "rb") as lines:
        run = subprocess.run(
            [peers / "bin/query", "-v", "summary", model], stdin=lines, check=True, capture_output=True, text=True
        )
    user = float(re.search(r"user:([0-9.e-]+)", run.stderr).group(1))
    perplexity = re.search(r"Perplexity including OOVs:\s*(\S+)", run.stdout).group(1)
    return user, float(perplexity), int(re.search(r"Tokens:\s*(\d+)", run.stdout).group(1))


def kenlm_scoring(peers, model, ids):
    with open(ids, "rb") as ids:
        run = subprocess.run(
            [peers / "bin/kenlm_benchmark", "-q", "-t", "1", "-b", "1000000", "-m", model],
            stdin=ids, check=True, capture_output=True, text=True,
        )
    return float(re.search(r"Queries per second excluding load, CPU: (\S+)", run.stdout).group(1))


def compare(binary, peers, model, text, repeats, work):
    ids, empty = work / "ids", work / "empty"
    empty.write_bytes(b"")
    with open(text, "rb") as lines, open(ids, "wb") as out:
        subprocess.run([peers / "bin/kenlm_benchmark", "-v", "-m", model], stdin=lines, stdout=out, check=True)
    whole, scoring, mine = [], [], []
    for _ in range(repeats):
        load, _, _ = kenlm_query(peers, model, empty)
        user, perplexity, tokens = kenlm_query(peers, model, text)
        whole.append(tokens / (user - load))
        scoring.append(kenlm_scoring(peers, model, ids))
        mine.append(ours(binary, model, text, 3))
    result = mine[0]
    assert result["tokens"] == tokens, (result["tokens"], tokens)
    # KenLM adds up a sentence in single precision.
    ours_perplexity = 10 ** (-result["log10"] / tokens)
    assert math.isclose(ours_perplexity, perplexity, rel_tol=1e-4), (ours_perplexity, perplexity)
    median = lambda field: statistics.median(run[field] for run in mine)
    kenlm = {"whole": statistics.median(whole), "scoring": statistics.median(scoring)}
    gristmill = {
        "whole": median("tokensPerSecondWithTokenising"),
        "scoring": median("tokensPerSecond"),
        "statewise": median("tokensPerSecondStatewise"),
    }
    return {
        "tokens": tokens,
        "unknown": result["unknown"],
        "perplexity": perplexity,
        "tokensPerSecond": {"kenlm": kenlm, "gristmill": gristmill},
        "ratio": {kind: gristmill[kind] / kenlm[kind] for kind in kenlm},
    }, result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--peers", type=Path, default=ROOT / "target/peers")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", type=Path, help="keeps model and texts here, and finds them again")
    options = parser.parse_args()
    binary = cargo_binary(ROOT, "gristmill-ngram", "query")
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        texts = split(options.text, work)
        arpa, model = work / "model.arpa", work / "model.probing"
        if not model.exists():
            bin_ = options.peers / "bin"
            lmplz = [bin_ / "lmplz", "-o", "5", "-S", "4G", "-T", work, "--text", texts["own"], "--arpa", arpa]
            subprocess.run(lmplz, check=True, capture_output=True)
            subprocess.run([bin_ / "build_binary", "probing", arpa, model], check=True, capture_output=True)
        results = {}
        for name, text in texts.items():
            results[name], ran = compare(binary, options.peers, model, text, options.repeats, work)
            rates = results[name]["tokensPerSecond"]
            for kind, ratio in results[name]["ratio"].items():
                kenlm, gristmill = (rates[side][kind] / 1e6 for side in ("kenlm", "gristmill"))
                print(f"{name}: {kind}: KenLM {kenlm:.1f} M tokens/s, Gristmill {gristmill:.1f}, ratio {ratio:.2f}")
        version = subprocess.run(
            [options.peers / "venv/bin/pip", "show", "kenlm"], capture_output=True, text=True
        ).stdout
        version = re.search(r"Version: (\S+)", version)
        write(ROOT, "ngram_query", machine(kenlm=version.group(1) if version else "unknown") | {
            "task": "order-5 model, probing file of KenLM, one core, processor time, medians",
            "model": {
                "counts": ran["counts"],
                "kenlmFileBytes": model.stat().st_size,
                "tableBytes": ran["tableBytes"],
                "loadSeconds": ran["loadSeconds"],
            },
            "texts": results,
        })


if __name__ == "__main__":
    main()
