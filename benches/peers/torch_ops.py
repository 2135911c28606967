#!/usr/bin/env python3
"""The operations of the CPU beside PyTorch, both in one run.

    pip install torch                       # large: under target/peers, never for tests
    benches/peers/torch_ops.py

Negative log-likelihood from logits (4096 x 50257), the same from hidden states and a head (1024 x 576, 49152 words), a
product of 1024 x 1024 matrices, and what the machine reads at all: a sum. Every figure is the fastest of several rounds,
in which the two sides take turns, since others may use the machine. Writes benches/results/ops_cpu.json.
"""
import json
from pathlib import Path

import torch
from common import fastest, machine, operations, write

ROUNDS = 3
ROWS, VOCAB = 4096, 50_257
HIDDEN, D, HEAD = 1024, 576, 49_152

root = Path(__file__).resolve().parents[2]
ops = ["row_reduce", "nll", "linear_nll", "matmul"]


def theirs():
    """Seconds of PyTorch for the same."""
    torch.manual_seed(0)
    functional = torch.nn.functional
    logits = torch.randn(ROWS, VOCAB)
    targets = torch.randint(VOCAB, (ROWS,))
    hidden, head = torch.randn(HIDDEN, D) / D**0.5, torch.randn(HEAD, D)
    words = torch.randint(HEAD, (HIDDEN,))
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    with torch.inference_mode():
        return {
            "sum": fastest(lambda: logits.sum(1)),
            "nll": fastest(lambda: functional.cross_entropy(logits, targets, reduction="none")),
            "linear_nll": fastest(
                lambda: functional.cross_entropy(functional.linear(hidden, head), words, reduction="none")
            ),
            "matmul": fastest(lambda: a @ b, 10),
        }


def best(sides, name):
    return min(side[name] for side in sides)


reports, peers = [], []
for _ in range(ROUNDS):
    peers.append(theirs())
    reports.append(operations(root, ops))

cases = {
    "sum": "row_reduce/4096x16384/f32/sum",
    "nll": f"nll/{ROWS}x{VOCAB}/f32",
    "linear_nll": f"linear_nll/{HIDDEN}x{D}x{HEAD}/f32",
    "matmul": "matmul/1024x1024x1024/f32",
}
seconds = {
    name: min(row["seconds"] for report in reports for row in report["rows"] if row["case"] == case)
    for name, case in cases.items()
}
limits = {}
for report in reports:
    for limit in report["limits"]:
        limits[limit["name"]] = max(limits.get(limit["name"], 0), limit["rate"]["value"])
read = max(limits["read"], (1 << 28) / seconds["sum"] / 1e9, ROWS * VOCAB * 4 / best(peers, "sum") / 1e9)
gemm = max(limits["matmul f32"], 2 * 1024**3 / seconds["matmul"] / 1e9)
nll_gb = ROWS * VOCAB * 4 / 1e9
linear_gflop = 2 * HIDDEN * D * HEAD / 1e9
result = machine(torch=torch.__version__) | {
    "threads": torch.get_num_threads(),
    "rounds": ROUNDS,
    "limits": {"readGBs": read, "gemmGflops": gemm},
    "nll": {
        "seconds": seconds["nll"],
        "GBs": nll_gb / seconds["nll"],
        "shareOfRead": nll_gb / seconds["nll"] / read,
        "torchSeconds": best(peers, "nll"),
        "timesTorch": best(peers, "nll") / seconds["nll"],
    },
    "linear_nll": {
        "seconds": seconds["linear_nll"],
        "gflops": linear_gflop / seconds["linear_nll"],
        "shareOfGemm": linear_gflop / seconds["linear_nll"] / gemm,
        "torchSeconds": best(peers, "linear_nll"),
        "timesTorch": best(peers, "linear_nll") / seconds["linear_nll"],
    },
    "matmul": {
        "seconds": seconds["matmul"],
        "gflops": 2 * 1024**3 / seconds["matmul"] / 1e9,
        "torchSeconds": best(peers, "matmul"),
        "timesTorch": best(peers, "matmul") / seconds["matmul"],
    },
    "rows": reports[-1]["rows"],
}
write(root, "ops_cpu", result)
print(json.dumps({k: v for k, v in result.items() if k != "rows"}, indent=2))
