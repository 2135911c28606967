#!/usr/bin/env python3
"""What bf16 does on the processor: to speed, to losses of tokens and documents, and to differences of two models.

    bash benches/peers/smollm2.sh
    node test/corpora/prepare.mjs --out target/corpora
    pip install torch transformers accelerate gguf
    npm run build && cargo build --release --workspace --example lm_bench
    benches/peers/lm_bf16.py

Losses are of documents of the demo's pool under SmolLM2-135M, and under a copy whose last layers saw the science sample
for some steps, as a conditional model of CoLoR-Filter would have. A score is the difference of the mean losses of a
document, prior less conditional; what bf16 does to it is set beside how much scores differ among documents. Writes
benches/results/lm_bf16.json.
"""
import gzip
import json
import os
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from common import cargo_binary, machine, ours, write

ROOT = Path(__file__).resolve().parents[2]
TOKENS, DOCUMENTS, ROUNDS = 1024, 2, 3
SCORED, STEPS, LAYERS, LENGTH = 32, 8, 2, 256
gguf = ROOT / "target/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
corpora = ROOT / "target/corpora"


def documents(path):
    with gzip.open(path, "rt") as lines:
        return [json.loads(line) for line in lines]


def fine_tune(folder):
    """The model whose last layers and head have seen the science sample; saved as safetensors in f32."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    sample = [d["text"] for d in documents(corpora / "target/science.jsonl.gz")]
    ids = [i for text in sample for i in tokenizer(text)["input_ids"]]
    pieces = torch.tensor(ids[: len(ids) // LENGTH * LENGTH]).view(-1, LENGTH)
    model.requires_grad_(False)
    for layer in model.model.layers[-LAYERS:]:
        layer.requires_grad_(True)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=3e-4)
    order = torch.randperm(len(pieces))
    for step in range(STEPS):
        batch = pieces[order[torch.arange(2 * step, 2 * step + 2) % len(pieces)]]
        optimizer.zero_grad()
        model(batch, labels=batch, use_cache=False).loss.backward()
        optimizer.step()
    # transformers does not save what it read from a GGUF, though it is f32 by now. The head is the embedding.
    folder.mkdir()
    config = json.loads(model.config.to_json_string(use_diff=False))
    config.pop("quantization_config", None)
    (folder / "config.json").write_text(json.dumps(config))
    weights = {name: w.contiguous() for name, w in model.state_dict().items() if name != "lm_head.weight"}
    save_file(weights, folder / "model.safetensors")
    tokenizer.save_pretrained(folder)


def spread(values):
    values = sorted(abs(x) for x in values)
    return {"mean": statistics.fmean(values), "p99": values[int(0.99 * (len(values) - 1))], "max": values[-1]}


def ranks(values):
    order = sorted(range(len(values)), key=values.__getitem__)
    out = [0] * len(values)
    for rank, at in enumerate(order):
        out[at] = rank
    return out


def effect(prior, conditional):
    """Of bf16 on everything, from the losses in both types: `[f32, bf16]` of each model."""
    tokens = [b - a for f32, bf16 in zip(*prior) for a, b in zip(f32, bf16)]
    means = lambda model: [[statistics.fmean(losses) for losses in by] for by in model]
    of_prior, of_conditional = means(prior), means(conditional)
    scores = [[p - c for p, c in zip(*both)] for both in zip(of_prior, of_conditional)]
    apart = [b - a for a, b in zip(*scores)]
    kept = len(apart) // 4
    best = [set(sorted(range(len(by)), key=by.__getitem__)[-kept:]) for by in scores]
    return {
        "tokens": len(tokens),
        "documents": len(apart),
        "nats": {
            "token": spread(tokens) | {"bias": statistics.fmean(tokens)},
            "documentMean": spread(b - a for a, b in zip(*of_prior)),
            "difference": spread(apart),
        },
        "differenceStandardDeviation": statistics.stdev(scores[0]),
        "rankCorrelation": statistics.correlation(*map(ranks, scores)),
        "bestQuarterInCommon": len(best[0] & best[1]) / kept,
    }


def main():
    binary = cargo_binary(ROOT, "gristmill-lm", "lm_bench")
    work = Path(tempfile.mkdtemp(prefix="lm_bf16."))
    try:
        fine_tune(work / "conditional")
        pool = [d for path in sorted((corpora / "pool").iterdir()) for d in documents(path)]
        chosen = pool[:: len(pool) // SCORED][:SCORED]
        texts = work / "texts.jsonl"
        texts.write_text("".join(json.dumps({"text": d["text"]}) + "\n" for d in chosen))
        models = [arg for m in (gguf, work / "conditional") for dtype in ("f32", "bf16") for arg in (str(m), dtype)]
        command = ["node", str(ROOT / "benches/peers/losses.mjs"), str(texts), *models]
        out = subprocess.run(command, check=True, capture_output=True, text=True)
        losses = json.loads(out.stdout)
    finally:
        shutil.rmtree(work)
    reports = {"f32": [], "bf16": []}
    for _ in range(ROUNDS):
        for dtype, all in reports.items():
            all.append(ours(binary, gguf, "--tokens", TOKENS, "--documents", DOCUMENTS, "--dtype", dtype))
    best = {dtype: max(all, key=lambda r: r["tokensPerSecond"]) for dtype, all in reports.items()}
    keys = ["tokensPerSecond", "peakBytes"]
    result = machine(torch=torch.__version__, transformers=transformers.__version__) | {
        "model": "SmolLM2-135M-Instruct, Q4_1 read as f32 and as bf16",
        "load": list(os.getloadavg()),
        "speed": {dtype: {key: report[key] for key in keys} for dtype, report in best.items()},
        "timesF32": best["bf16"]["tokensPerSecond"] / best["f32"]["tokensPerSecond"],
        "effect": effect(losses[:2], losses[2:]),
    }
    write(ROOT, "lm_bf16", result)
    print(json.dumps(result))


main()
