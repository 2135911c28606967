#!/usr/bin/env python3
"""SmolLM2-135M in Q4_1 on the processor beside llama.cpp (node-llama-cpp, prebuilt) on the same file.

    bash benches/peers/smollm2.sh            # fetches the GGUF to target/smollm2
    benches/peers/setup.sh --all             # installs node-llama-cpp in target/peers/node
    npm run build && cargo build --release --workspace --example lm_bench
    benches/peers/lm_llama.py

Speed: documents of 1,024 tokens; llama.cpp is not asked for logits, ours gives all losses, in f32 and in bf16. Sides take
turns; the fastest of each counts. Perplexity: the first 1,024 tokens of two texts, by `gristmill perplexity`; llama.cpp
computes on quantised activations, so it is no oracle. Skips with a reason where node-llama-cpp is not installed. Writes
benches/results/lm_llama.json.
"""
import json
import math
import os
import subprocess
from pathlib import Path

from common import cargo_binary, machine, ours, write

ROOT = Path(__file__).resolve().parents[2]
TOKENS, DOCUMENTS, ROUNDS = 1024, 4, 3
gguf = ROOT / "target/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
folder = Path(os.environ.get("GRISTMILL_PEERS", ROOT / "target/peers")) / "node"
texts = [ROOT / "crates/lm/tests/fixtures/smollm2/texts" / name for name in ("prose.txt", "source.rs.txt")]
if not (folder / "node_modules/node-llama-cpp").is_dir():
    raise SystemExit(f"skipped: no node-llama-cpp in {folder} (benches/peers/setup.sh --all installs it)")
binary = cargo_binary(ROOT, "gristmill-lm", "lm_bench")


def theirs(*texts):
    command = ["node", ROOT / "benches/peers/llama.mjs", folder, gguf, TOKENS, DOCUMENTS, *texts]
    out = subprocess.run([*map(str, command)], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(out.stdout.splitlines()[-1])


def rate(dtype):
    return ours(binary, gguf, "--tokens", TOKENS, "--documents", DOCUMENTS, "--dtype", dtype)["tokensPerSecond"]


def perplexity(dtype):
    command = ["node", ROOT / "dist/cli/main.js", "perplexity", "--model", gguf, "--text", *texts, "--dtype", dtype]
    options = ["--device", "cpu", "--recipe", "truncated", "--window", str(TOKENS), "--json"]
    out = subprocess.run([*map(str, command), *options], check=True, capture_output=True, text=True)
    return json.loads(out.stdout)


scored = theirs(*texts)
reported = {dtype: perplexity(dtype) for dtype in ("f32", "bf16")}
assert all(report["nScored"] == scored["nScored"] for report in reported.values()), "both score the same tokens"
peer = math.exp(scored["nllSum"] / scored["nScored"])
rates = {"llama": [], "f32": [], "bf16": []}
for _ in range(ROUNDS):
    rates["llama"].append(theirs()["tokensPerSecond"])
    for dtype in ("f32", "bf16"):
        rates[dtype].append(rate(dtype))
best = {name: max(all) for name, all in rates.items()}
result = machine(llama=scored["release"]) | {
    "model": "SmolLM2-135M-Instruct, Q4_1",
    "threads": scored["threads"],
    "load": list(os.getloadavg()),
    "tokensPerSecond": best,
    "timesLlama": {dtype: best[dtype] / best["llama"] for dtype in ("f32", "bf16")},
    "scored": scored["nScored"],
    "perplexity": {dtype: report["perplexity"] for dtype, report in reported.items()} | {"llama": peer},
    "perplexityApart": {dtype: report["perplexity"] / peer - 1 for dtype, report in reported.items()},
}
write(ROOT, "lm_llama", result)
print(json.dumps(result))
