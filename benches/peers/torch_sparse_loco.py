#!/usr/bin/env python3
"""Encoding and aggregation of SparseLoCo on the CPU beside the reference form in PyTorch, both in one run.

    pip install torch                       # large: under target/peers, never for tests
    benches/peers/torch_sparse_loco.py

A matrix of 2^26 parameters in 64 x 64 blocks, 64 entries of each, and 20 peers. The reference form is that of the published
code: difference, decay, copy to blocks, magnitudes, topk, gather, statistics and codes of the tensor, scatter, subtraction,
indices of 12 bits in pairs; and for each peer unpacking, values, scatter with the mean over contributors, and the step. Both
sides have as many parameters, more than any cache holds. Every figure is the fastest of several rounds, in which the two
sides take turns. Writes benches/results/sparse_loco.json.
"""
import json
import os
import subprocess
from pathlib import Path

import torch
from common import fastest, machine, operations, write

ROUNDS = 2
ROWS, COLUMNS, SIDE, K, PEERS = 8192, 8192, 64, 64, 20
OURS = ROWS * COLUMNS

root = Path(__file__).resolve().parents[2]


def ours(threads=None):
    """Seconds of each operation in the benchmark of the conformance crate."""
    report = operations(root, ["topk_encode", "topk_aggregate", "payload_norm"], threads)
    return {row["op"]: row["seconds"] for row in report["rows"]}, report["limits"]


def blocks(x):
    return x.view(ROWS // SIDE, SIDE, COLUMNS // SIDE, SIDE).permute(0, 2, 1, 3).reshape(-1, SIDE * SIDE)


def unblocks(x):
    return x.view(ROWS // SIDE, COLUMNS // SIDE, SIDE, SIDE).permute(0, 2, 1, 3).reshape(ROWS, COLUMNS)


def pack(index):
    pair = index.to(torch.int32).view(-1, 2)
    first, second = pair[:, 0], pair[:, 1]
    return torch.stack([first & 255, (first >> 8) | ((second & 15) << 4), second >> 4], 1).to(torch.uint8)


def unpack(packed):
    x = packed.to(torch.int64)
    return torch.stack([x[:, 0] | ((x[:, 1] & 15) << 8), (x[:, 1] >> 4) | (x[:, 2] << 4)], 1).view(-1, K)


def quantize(values, bins=4):
    mean = values.mean()
    centred = values - mean
    step = 6 * centred.std() / bins
    codes = (centred / step + bins / 2).round().clamp(0, bins - 1).to(torch.uint8)
    flat, sums = codes.view(-1).long(), torch.zeros(bins)
    sums.scatter_add_(0, flat, centred.reshape(-1))
    levels = sums / torch.bincount(flat, minlength=bins).clamp(min=1)
    return codes, levels, mean


def encode(base, local, residual):
    acc = residual.mul_(0.95).add_(base - local)
    chunks = blocks(acc)
    _, index = chunks.abs().topk(K, dim=1, sorted=False)
    index, _ = index.sort(1)
    values = chunks.gather(1, index)
    codes, levels, mean = quantize(values)
    sent = torch.zeros_like(chunks).scatter_(1, index, levels[codes.long()] + mean)
    acc.sub_(unblocks(sent))
    return pack(index), codes, levels, mean


def aggregate(theta, payloads):
    index = torch.cat([unpack(p[0]) for p in payloads], 1)
    values = torch.cat([p[2][p[1].long()] + p[3] for p in payloads], 1)
    sums = torch.zeros(theta.numel() // SIDE**2, SIDE**2)
    sums.scatter_reduce_(1, index, values, "mean", include_self=False)
    theta.sub_(unblocks(sums), alpha=0.7)


def inputs():
    """Parameters, what local training made of them, a residual, and the payloads of all peers."""
    torch.manual_seed(0)
    base, local, residual, theta = (torch.randn(ROWS, COLUMNS) for _ in range(4))
    with torch.inference_mode():
        payloads = [encode(base, local.normal_(), residual) for _ in range(PEERS)]
    return base, local, residual, theta, payloads


def theirs(base, local, residual, theta, payloads):
    """Parameters a second of both."""
    with torch.inference_mode():
        return {
            "encode": OURS / fastest(lambda: encode(base, local, residual)),
            "aggregate": OURS / fastest(lambda: aggregate(theta, payloads)),
        }


def two_bit_errors():
    """Relative squared error of the published quantiser on the greatest 64 of 4,096 standard normal numbers, 1,024 times."""
    x = torch.randn(1024, 4096)
    values = x.gather(1, x.abs().topk(K, dim=1)[1])
    codes, levels, mean = quantize(values)
    return float(((levels[codes.long()] + mean - values) ** 2).sum() / (values**2).sum())


def payload():
    """Bits for each parameter of a payload, and what our quantisers lose."""
    command = ["npx", "tsx", "benches/sparse-loco.ts"]
    return json.loads(subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE).stdout)


best_ours, single, best_theirs, limits = {}, {}, {}, []
given = inputs()
for _ in range(ROUNDS):
    for name, rate in theirs(*given).items():
        best_theirs[name] = max(best_theirs.get(name, 0), rate)
    for into, threads in ((best_ours, None), (single, 1)):
        seconds, limits = ours(threads)
        for name, s in seconds.items():
            into[name] = max(into.get(name, 0), OURS / s)

result = machine(torch=torch.__version__) | {
    "threads": torch.get_num_threads(),
    "rounds": ROUNDS,
    "load": os.getloadavg()[0],
    "limits": limits,
} | payload()
result["relativeSquaredError"]["torchReference"] = two_bit_errors()
for name, op in (("encode", "topk_encode"), ("aggregate", "topk_aggregate")):
    result[name] = {
        "parametersPerSecond": best_ours[op],
        "parametersPerSecondOneThread": single[op],
        "torchParametersPerSecond": best_theirs[name],
        "timesTorch": best_ours[op] / best_theirs[name],
    }
result["payloadNorm"] = {"parametersPerSecond": best_ours["payload_norm"]}
write(root, "sparse_loco", result)
print(json.dumps(result, indent=2))
