#!/usr/bin/env python3
"""Optimizers on the CPU beside PyTorch and galore-torch, all in one run.

    pip install torch transformers bitsandbytes galore-torch     # large: under target/peers, never for tests
    cargo build --release -p gristmill-optim --example optim_bench
    benches/peers/torch_optim.py

Steps of AdamW on 2^26 weights, beside torch.optim.AdamW(fused=True) and a copy; steps of GaLore without a refresh on the
matrices of Llama-60M, beside GaLoreAdamW, and of Muon, beside torch.optim.Muon; a basis of 256 dimensions of a matrix of 2048 x 5632 with singular values of
k^-0.5, beside svd_lowrank(q=256, niter=1) and the full decomposition that galore-torch does. Every figure is the fastest of
several calls after one that does not count. Writes benches/results/optim.json.
"""
import json
import os
import tempfile
from pathlib import Path

import torch
from common import cargo_binary, fastest, machine, median, ours, write
from galore_torch import GaLoreAdamW

ROUNDS = 1
ROWS, COLUMNS, RANK = 2048, 5632, 256
DENSE = 1 << 26

root = Path(__file__).resolve().parents[2]
torch.manual_seed(0)


def spectrum():
    """A matrix with singular values k^-0.5."""
    u, _ = torch.linalg.qr(torch.randn(ROWS, ROWS))
    v, _ = torch.linalg.qr(torch.randn(COLUMNS, ROWS))
    return (u * torch.arange(1, ROWS + 1) ** -0.5) @ v.T


def shapes():
    layer = [(512, 512)] * 4 + [(1376, 512)] * 2 + [(512, 1376)]
    return layer * 8


def step_of(optimizer, weights):
    for weight in weights:
        weight.grad = torch.randn_like(weight)
    return fastest(optimizer.step, 4)


def galore(rank):
    weights = [torch.nn.Parameter(torch.randn(s)) for s in shapes()]
    group = {"params": weights, "rank": rank, "update_proj_gap": 10**9, "scale": 0.25, "proj_type": "std"}
    seconds = step_of(GaLoreAdamW([group], lr=1e-3, no_deprecation_warning=True), weights)
    return sum(w.numel() for w in weights) / seconds


def adamw(sizes):
    weights = [torch.nn.Parameter(torch.randn(s)) for s in sizes]
    seconds = step_of(torch.optim.AdamW(weights, lr=1e-3, fused=True), weights)
    return sum(w.numel() for w in weights) / seconds


def muon():
    weights = [torch.nn.Parameter(torch.randn(s)) for s in shapes()]
    seconds = step_of(torch.optim.Muon(weights, lr=1e-3), weights)
    return sum(w.numel() for w in weights) / seconds


def copy_rate():
    a, b = torch.randn(DENSE), torch.empty(DENSE)
    return 2 * 4 * DENSE / fastest(lambda: b.copy_(a))


def products(rank):
    """Parameters a second of nothing but the two products of a step."""
    pairs = []
    for rows, columns in shapes():
        g, w = torch.randn(rows, columns), torch.randn(rows, columns)
        p = torch.randn(min(rows, columns), rank)
        pairs.append((g, w, p, rows >= columns))

    def work():
        for g, w, p, right in pairs:
            if right:
                w.addmm_(g @ p, p.T)
            else:
                w.addmm_(p, p.T @ g)

    return sum(g.numel() for g, *_ in pairs) / fastest(work, 4)


matrix = spectrum()
best = {"refresh": {}, "adamw": {}, "adamwInt8": {}, "llama60m": {}}
torchs = {}


def better(name, value, low=False):
    torchs[name] = value if name not in torchs else (min if low else max)(torchs[name], value)


def merge(into, new):
    for key, value in new.items():
        if isinstance(value, dict):
            merge(into.setdefault(key, {}), value)
        elif key in ("cold", "warm"):
            into[key] = min(into.get(key, value), value)
        else:
            into[key] = max(into.get(key, value), value)


binary = cargo_binary(root, "gristmill-optim", "optim_bench")
with tempfile.NamedTemporaryFile(suffix=".f32") as file, torch.no_grad():
    matrix.numpy().tofile(file.name)
    for _ in range(ROUNDS):
        merge(best, ours(binary, file.name, ROWS, COLUMNS, RANK))
        better("lowRankSeconds", fastest(lambda: torch.svd_lowrank(matrix, q=RANK, niter=1)), low=True)
        better("copyBytesPerSecond", copy_rate())
        better("adamw", adamw([(DENSE,)]))
        better("llama60mAdamw", adamw(shapes()))
        better("llama60mMuon", muon())
        for rank in (128, 32):
            better(f"galore{rank}", galore(rank))
            better(f"products{rank}", products(rank))
    u, _, _ = torch.svd_lowrank(matrix, q=RANK, niter=1)
    total = float((matrix**2).sum())
    torchs["lowRankEnergy"] = float(((u.T @ matrix) ** 2).sum()) / total
    better("svdSeconds", median(1, lambda: torch.linalg.svd(matrix, full_matrices=False))[0], low=True)
    k = torch.arange(1, ROWS + 1, dtype=torch.float64)
    optimal = float((1 / k[:RANK]).sum() / (1 / k).sum())

llama = best["llama60m"]
result = machine(torch=torch.__version__) | {
    "threads": torch.get_num_threads(),
    "rounds": ROUNDS,
    "load": os.getloadavg()[0],
    "ours": best,
    "torch": torchs,
    "optimalEnergy": optimal,
    "shareOfOptimalEnergy": {
        "cold": best["refresh"]["coldEnergy"] / optimal,
        "warm": best["refresh"]["warmEnergy"] / optimal,
        "torchLowRank": torchs["lowRankEnergy"] / optimal,
    },
    "coldTimesTorchLowRank": torchs["lowRankSeconds"] / best["refresh"]["cold"],
    "warmTimesTorchLowRank": torchs["lowRankSeconds"] / best["refresh"]["warm"],
    "coldTimesFullSvd": torchs["svdSeconds"] / best["refresh"]["cold"],
    # 28 bytes a weight.
    "adamwShareOfCopy": 28 * best["adamw"]["parametersPerSecond"] / torchs["copyBytesPerSecond"],
    "adamwTimesTorchFused": best["adamw"]["parametersPerSecond"] / torchs["adamw"],
    "galore128TimesTorch": llama["galore128"]["parametersPerSecond"] / torchs["galore128"],
    "galore32TimesTorch": llama["galore32"]["parametersPerSecond"] / torchs["galore32"],
    "muonTimesTorch": llama["muon"]["parametersPerSecond"] / torchs["llama60mMuon"],
    "adamwInt8ShareOfAdamw": best["adamwInt8"]["parametersPerSecond"] / best["adamw"]["parametersPerSecond"],
    "galore128ShareOfProducts": llama["galore128"]["parametersPerSecond"] / torchs["products128"],
    "galore128StateOfAdamw": llama["galore128"]["stateBytes"] / llama["adamw"]["stateBytes"],
}
write(root, "optim", result)
print(json.dumps(result, indent=2))
