#!/usr/bin/env python3
"""Losses of documents of 1,024 tokens under SmolLM2-135M in f32 on the processor, beside Hugging Face transformers.

    bash benches/peers/smollm2.sh                             # fetches the GGUF to target/smollm2
    pip install torch transformers accelerate gguf
    cargo build --release --workspace --example lm_bench
    benches/peers/lm.py

Both read the same GGUF file and compute in f32 on all cores; transformers makes logits and takes their cross-entropy.
Making tokens of texts is timed apart. The GEMM limit is what the products of a token cost at the rate of a product of 1024 x 1024 x 1024 in this run. Sides take
turns; the fastest of each counts. Writes benches/results/lm_cpu.json.
"""
import os
import resource
import time
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from common import cargo_binary, fastest, machine, ours, write

ROOT = Path(__file__).resolve().parents[2]
TOKENS, DOCUMENTS, ROUNDS = 1024, 4, 3
gguf = ROOT / "target/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
texts = sorted((ROOT / "crates/lm/tests/fixtures/smollm2/texts").iterdir())
binary = cargo_binary(ROOT, "gristmill-lm", "lm_bench")

model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32).eval()
torch.manual_seed(0)
documents = torch.randint(0, model.config.vocab_size, (DOCUMENTS, TOKENS + 1))


def theirs():
    start = time.perf_counter()
    with torch.inference_mode():
        for ids in documents:
            logits = model(ids[None, :-1], use_cache=False).logits[0]
            torch.nn.functional.cross_entropy(logits, ids[1:], reduction="none")
    return DOCUMENTS * TOKENS / (time.perf_counter() - start)


theirs()
reports, rates = [], []
for _ in range(ROUNDS):
    rates.append(theirs())
    of_texts = [argument for text in texts for argument in ("--text", text)]
    reports.append(ours(binary, gguf, "--tokens", TOKENS, "--documents", DOCUMENTS, *of_texts))
tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
read = [text.read_text() for text in texts]
cut = sum(map(len, tokenizer(read)["input_ids"]))
best = max(reports, key=lambda r: r["tokensPerSecond"])
limit = max(r["gemmTokensPerSecond"] for r in reports)
rate = best["tokensPerSecond"]
result = machine(torch=torch.__version__, transformers=transformers.__version__) | {
    "model": "SmolLM2-135M-Instruct, Q4_1 read as f32",
    "threads": torch.get_num_threads(),
    "load": list(os.getloadavg()),
    "documents": DOCUMENTS,
    "tokens": TOKENS,
    "tokensPerSecond": rate,
    "gemmTokensPerSecond": limit,
    "shareOfGemm": rate / limit,
    "peakMegabytes": best["peakBytes"] / 1e6,
    "transformersTokensPerSecond": max(rates),
    "transformersPeakMegabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    "timesTransformers": rate / max(rates),
    "loadSeconds": best["loadSeconds"],
    # Apart from all above, which begins with ids.
    "tokenisedPerSecond": max(report["tokenisedPerSecond"] for report in reports),
    "transformersTokenisedPerSecond": cut / fastest(lambda: tokenizer(read), 5),
}
write(ROOT, "lm_cpu", result)
print(result)
