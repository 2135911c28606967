#!/usr/bin/env python3
"""A private training step of a linear layer on the CPU beside Opacus on PyTorch, both in one run.

    pip install torch opacus                # large: under target/peers, never for tests
    cargo build --release --workspace --example clip_bench
    benches/peers/torch_dp.py

Layers of 1024 x 1024 and 768 x 3072, samples of 256 and of 1024 rows, f32. Ours: the product that is the gradient of the
weight, norms and clipped sum (flat), one-pass clipping of the layer by itself (fused), and steps (output, gradient of the
input, gradient of the weight) with each. Theirs: the step without privacy, and that of Opacus with hooks, to the clipped
sum. Memory is the most that a process of its own had (of theirs, beside the libraries), less that of the step without
privacy. Every figure is the fastest of several rounds, in which the sides take turns. Writes
benches/results/dp_cpu.json.
"""
import json
import subprocess
import sys
import time
from pathlib import Path

ROUNDS, TIMES = 3, 5
LAYERS = [(1024, 1024), (768, 3072)]
SAMPLES = [(16, 256), (4, 1024)]

root = Path(__file__).resolve().parents[2]


def memory(field):
    """Memory of this process in bytes, as the system has it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) << 10
    return None


def stepper(how, d, p, samples, length):
    """What makes a step of a layer."""
    import torch

    layer = torch.nn.Linear(d, p, bias=False)
    x = torch.randn(samples, length, d, requires_grad=True)
    dy = torch.randn(samples, length, p)
    if how == "torch":

        def step():
            layer.weight.grad = None
            x.grad = None
            layer(x).backward(dy)

        return step
    from opacus import GradSampleModule
    from opacus.optimizers import DPOptimizer

    module = GradSampleModule(layer, loss_reduction="sum")
    optimizer = DPOptimizer(
        torch.optim.SGD(module.parameters(), lr=0.0),
        noise_multiplier=0.0,
        max_grad_norm=1.0,
        expected_batch_size=samples,
        loss_reduction="sum",
    )

    def private():
        optimizer.zero_grad()
        x.grad = None
        module(x).backward(dy)
        optimizer.clip_and_accumulate()

    return private


def theirs(how, *sizes):
    """Seconds of a step, and memory."""
    # What the libraries themselves take does not count, nor what there was while they were loaded.
    stepper(how, 8, 8, 2, 2)()
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS:")
    step = stepper(how, *sizes)
    step()
    seconds = []
    for _ in range(TIMES):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"step": min(seconds), "peakBytes": memory("VmHWM:") - before}))


if len(sys.argv) > 1:
    theirs(sys.argv[1], *map(int, sys.argv[2:]))
    sys.exit()

import importlib.metadata  # noqa: E402

from common import cargo_binary, machine, ours, write  # noqa: E402

binary = cargo_binary(root, "gristmill-cpu", "clip_bench")


def peer(*arguments):
    command = [sys.executable, __file__, *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def best(runs):
    """The fastest of each figure; of memory too, the least that was enough."""
    return {key: runs[0][key] if key == "path" else min(run[key] for run in runs) for key in runs[0]}


def measure(d, p, samples, length):
    sizes = (d, p, samples, length)
    runs = {}
    for _ in range(ROUNDS):
        for how in ["plain", "flat", "fused"]:
            runs.setdefault(how, []).append(ours(binary, how, *sizes, TIMES))
        for how in ["torch", "opacus"]:
            runs.setdefault(how, []).append(peer(how, *sizes))
    plain, flat, fused, torch, opacus = (best(runs[how]) for how in runs)
    extra = opacus["peakBytes"] - torch["peakBytes"]

    def private(side):
        more = side["peakBytes"] - plain["peakBytes"]
        return side | {
            "gradientTimesPlain": side["gradient"] / plain["gradient"],
            "stepTimesPlain": side["step"] / plain["step"],
            "stepTimesFasterThanOpacus": opacus["step"] / side["step"],
            "extraBytes": more,
            "shareOfOpacusExtraBytes": more / extra,
        }

    gflop = 2 * samples * length * d * p / 1e9
    return {
        "inputs": d,
        "outputs": p,
        "samples": samples,
        "length": length,
        "plain": plain | {"gflops": gflop / plain["gradient"]},
        "flat": private(flat),
        "fused": private(fused),
        "torch": torch,
        "opacus": opacus | {"stepTimesTorch": opacus["step"] / torch["step"], "extraBytes": extra},
    }


layers = [measure(d, p, *samples) for samples in SAMPLES for d, p in LAYERS]
versions = {name: importlib.metadata.version(name) for name in ["torch", "opacus"]}
result = machine(**versions) | {"rounds": ROUNDS, "layers": layers}
write(root, "dp_cpu", result)
print(json.dumps(result, indent=2))
