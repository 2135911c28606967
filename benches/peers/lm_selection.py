#!/usr/bin/env python3
"""Selection by the loss reduction of two small transformers on the demo's pool: precision for each kind of text.

    node test/corpora/prepare.mjs --out target/corpora
    pip install torch transformers tokenizers
    npm run build
    benches/peers/lm_selection.py [--kinds science,code]

The way of CoLoR-Filter at the size of a test: a tokenizer and a Llama of under a million parameters are learnt from the
pool without its labels; for each kind a copy is trained further on two thirds of the kind's sample (120 documents that
the pool does not hold), until the rest of the sample is predicted no better. `gristmill select --prior --conditional`
then takes as many documents as the pool has of the kind. Precision is the share of these that are of the kind; a choice
at random has `random`. Writes benches/results/lm_selection.json, after every kind.
"""
import argparse
import gzip
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from common import machine, write

ROOT = Path(__file__).resolve().parents[2]
VOCAB, CONTEXT, BATCH = 2048, 128, 32
PRIOR_EPOCHS, MOST_EPOCHS, PATIENCE = 1, 40, 2
corpora = ROOT / "target/corpora"


def documents(path):
    with gzip.open(path, "rt") as lines:
        return [json.loads(line) for line in lines]


def chunks(tokenizer, texts, end):
    """Documents one after the other, each with an end marker, cut into pieces of the context and a target more."""
    ids = [i for encoded in tokenizer.encode_batch(texts) for i in [*encoded.ids, end]]
    ids = ids[: len(ids) // (CONTEXT + 1) * (CONTEXT + 1)]
    return torch.tensor(ids).view(-1, CONTEXT + 1)


def loss_of(model, batch):
    logits = model(batch[:, :-1], use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())


def epoch(model, optimizer, pieces, schedule=None):
    model.train()
    for rows in torch.randperm(len(pieces)).split(BATCH):
        optimizer.zero_grad()
        loss_of(model, pieces[rows]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if schedule:
            schedule.step()


@torch.inference_mode()
def evaluate(model, pieces):
    model.eval()
    return sum(loss_of(model, batch).item() * len(batch) for batch in pieces.split(BATCH)) / len(pieces)


def train_prior(pieces):
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.1, betas=(0.9, 0.95))
    steps = PRIOR_EPOCHS * -(-len(pieces) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.05)
    for _ in range(PRIOR_EPOCHS):
        epoch(model, optimizer, pieces, schedule)
    return model


def train_conditional(prior, pieces, held_out):
    """A copy of the prior that saw the sample until what it did not see was predicted no better; and its epochs."""
    model = LlamaForCausalLM(prior.config)
    model.load_state_dict(prior.state_dict())
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=0.1, betas=(0.9, 0.95))
    best, best_at, kept = float("inf"), 0, None
    for at in range(1, MOST_EPOCHS + 1):
        epoch(model, optimizer, pieces)
        loss = evaluate(model, held_out)
        if loss < best:
            best, best_at, kept = loss, at, {k: v.clone() for k, v in model.state_dict().items()}
        if at - best_at >= PATIENCE:
            break
    model.load_state_dict(kept)
    return model, best_at


def save(model, tokenizer, folder):
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))


def select(prior, conditional, kind, wanted, output):
    command = ["node", ROOT / "dist/cli/main.js", "select", "--prior", prior, "--conditional", conditional]
    options = ["--pool", corpora / "pool", "--budget", f"{wanted}docs", "-o", output, "--fresh", "--device", "cpu"]
    subprocess.run([*command, *options, "--window", str(CONTEXT), "--token-cache", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    kept = [d for path in sorted(output.rglob("part-*")) if path.name.endswith(".jsonl.gz") for d in documents(path)]
    assert len(kept) == wanted, f"{len(kept)} documents were selected and not {wanted}"
    return sum(d["label"] == kind for d in kept) / wanted


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kinds", help="separated by commas; all by default")
    asked = parser.parse_args().kinds
    torch.manual_seed(0)
    pool = [d for path in sorted((corpora / "pool").iterdir()) for d in documents(path)]
    kinds = asked.split(",") if asked else sorted(p.name.split(".")[0] for p in (corpora / "target").iterdir())

    texts = [d["text"] for d in pool]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCAB, special_tokens=["<|end|>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(texts, trainer)
    pieces = chunks(tokenizer, texts, 0)

    work = Path(tempfile.mkdtemp(prefix="lm_selection."))
    try:
        start = time.process_time()
        prior = train_prior(pieces)
        prior_seconds = time.process_time() - start
        save(prior, tokenizer, work / "prior")
        parameters = sum(p.numel() for p in prior.parameters())
        rows = []
        for kind in kinds:
            sample = [d["text"] for d in documents(corpora / "target" / f"{kind}.jsonl.gz")]
            cut = len(sample) * 2 // 3
            start = time.process_time()
            seen, held_out = (chunks(tokenizer, part, 0) for part in (sample[:cut], sample[cut:]))
            conditional, epochs = train_conditional(prior, seen, held_out)
            seconds = time.process_time() - start
            save(conditional, tokenizer, work / kind)
            wanted = sum(d["label"] == kind for d in pool)
            precision = select(work / "prior", work / kind, kind, wanted, work / f"{kind}-selected")
            row = {"kind": kind, "documents": wanted, "precision": precision, "random": wanted / len(pool)}
            row |= {"epochs": epochs, "trainCpuSeconds": seconds}
            rows.append(row)
            print(json.dumps(row), flush=True)
            # After every kind: a run that is stopped leaves what it has.
            result = machine(torch=torch.__version__, transformers=transformers.__version__) | {
                "load": list(os.getloadavg()),
                "pool": {"documents": len(pool), "tokens": pieces.numel()},
                "model": {"parameters": parameters, "vocab": VOCAB, "window": CONTEXT},
                "priorCpuSeconds": prior_seconds,
                "kinds": rows,
                "meanPrecision": sum(row["precision"] for row in rows) / len(rows),
            }
            write(ROOT, "lm_selection", result)
    finally:
        shutil.rmtree(work)


main()
