#!/usr/bin/env python3
"""Compiles the CUDA kernels to the PTX that is committed, and checks what is committed.

    build.py            compiles every <op>.cu to ptx/<op>.sm80.ptx with NVRTC 12.0
    build.py --check    assembles every ptx/*.ptx with ptxas for each architecture that it claims, prints registers
                        and shared memory, and fails for an error, a spill, or a source that has changed since

Compiler and assembler are pinned wheels that are installed under target/cuda (Linux on x86-64; no GPU, no toolkit).
NVRTC 12.0 writes PTX ISA 8.0, which every driver from 525 on compiles for its GPU.
"""

import ctypes
import glob
import hashlib
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.abspath(os.path.join(HERE, "..", "..", ".."))
PLACE = os.path.join(os.environ.get("CARGO_TARGET_DIR") or os.path.join(ROOT, "target"), "cuda")
WHEELS = ["nvidia-cuda-nvrtc-cu12==12.0.140", "nvidia-cuda-nvcc-cu12==12.0.140"]
COMPILER = "NVRTC 12.0.140"
# The architecture that is compiled for, and those that each PTX must assemble for.
COMPUTE, CLAIMED = "80", ["sm_80", "sm_90"]


def toolchain():
    """The folder of the wheels, which are installed if they are not there."""
    venv = os.path.join(PLACE, "venv")
    done = os.path.join(venv, ".".join(w.replace("==", "-") for w in WHEELS))
    if not os.path.exists(done):
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        pip = [os.path.join(venv, "bin", "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
        subprocess.run(pip + ["install", "--no-deps"] + WHEELS, check=True)
        open(done, "w").close()
    return glob.glob(os.path.join(venv, "lib", "python*", "site-packages", "nvidia"))[0]


def sources(path, seen=None):
    """A file and what it includes from this folder, each once, in the order in which they are met."""
    seen = [] if seen is None else seen
    if path not in seen and os.path.exists(path):
        seen.append(path)
        with open(path, encoding="utf-8") as f:
            for name in re.findall(r'^\s*#include "([^"]+)"', f.read(), re.M):
                sources(os.path.join(HERE, name), seen)
    return seen


def source_hash(path):
    """SHA-256 over name, length and bytes of each of them."""
    digest = hashlib.sha256()
    for source in sources(path):
        with open(source, "rb") as f:
            content = f.read()
        digest.update(f"{os.path.basename(source)} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def compile_ptx(nvrtc, path):
    with open(path, "rb") as f:
        source = f.read()
    program = ctypes.c_void_p()
    options = [f"--gpu-architecture=compute_{COMPUTE}", "--std=c++17", "-default-device", f"--include-path={HERE}"]
    array = (ctypes.c_char_p * len(options))(*[o.encode() for o in options])
    name = os.path.basename(path).encode()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, name, 0, None, None) == 0
    status = nvrtc.nvrtcCompileProgram(program, len(options), array)
    log = fetch(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program)
    if log.strip():
        print(log)
    if status != 0:
        sys.exit(f"{path}: NVRTC gave up ({status})")
    return fetch(nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX, program)


def fetch(size_of, get, program):
    size = ctypes.c_size_t()
    assert size_of(program, ctypes.byref(size)) == 0
    text = ctypes.create_string_buffer(size.value)
    assert get(program, text) == 0
    return text.value.decode()


def output(path):
    return os.path.join(HERE, "ptx", os.path.basename(path)[: -len(".cu")] + f".sm{COMPUTE}.ptx")


def build():
    nvidia = toolchain()
    lib = os.path.join(nvidia, "cuda_nvrtc", "lib")
    for builtins in glob.glob(os.path.join(lib, "libnvrtc-builtins.so*")):
        ctypes.CDLL(builtins, mode=ctypes.RTLD_GLOBAL)
    nvrtc = ctypes.CDLL(os.path.join(lib, "libnvrtc.so.12"))
    os.makedirs(os.path.join(HERE, "ptx"), exist_ok=True)
    for path in sorted(glob.glob(os.path.join(HERE, "*.cu"))):
        ptx = compile_ptx(nvrtc, path)
        # Without the compiler's own comments, which hold no more than its build number.
        body = "\n".join(line.rstrip() for line in ptx.split("\n") if not line.startswith("//")).strip("\n")
        head = f"// Generated from {os.path.basename(path)} by build.py: do not edit.\n"
        head += f"// source {source_hash(path)}\n// compiler {COMPILER}\n"
        with open(output(path), "w", encoding="utf-8") as f:
            f.write(head + body + "\n")
        print(f"{os.path.relpath(output(path), ROOT)}: {len(body.splitlines())} lines")


def check():
    ptxas = os.path.join(toolchain(), "cuda_nvcc", "bin", "ptxas")
    failures = []
    print(f"{'kernel':44} {'architecture':12} {'registers':>9} {'shared':>7} {'constant':>8} {'spills':>6}")
    for path in sorted(glob.glob(os.path.join(HERE, "*.cu"))):
        ptx = output(path)
        if not os.path.exists(ptx):
            failures.append(f"{ptx} is missing")
            continue
        with open(ptx, encoding="utf-8") as f:
            if f"// source {source_hash(path)}\n" not in f.readlines()[:3]:
                failures.append(f"{ptx} was made from another source")
        for arch in CLAIMED:
            run = subprocess.run(
                [ptxas, "-v", "--warn-on-spills", "--gpu-name", arch, ptx, "-o", os.devnull],
                capture_output=True, text=True)
            log = run.stdout + run.stderr
            if run.returncode != 0:
                failures.append(f"{ptx} for {arch}: {log}")
            kernel = None
            spills = 0
            for line in log.splitlines():
                if found := re.search(r"Compiling entry function '(\w+)'", line):
                    kernel = found[1]
                elif found := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+)", line):
                    spills = sum(map(int, found.groups()))
                elif found := re.search(r"Used (\d+) registers", line):
                    number = lambda what: int((re.search(r"(\d+) bytes " + what, line) or [0, 0])[1])
                    print(f"{kernel:44} {arch:12} {found[1]:>9} {number('smem'):>7} {number('cmem'):>8} {spills:>6}")
                    if spills:
                        failures.append(f"{kernel} for {arch} spills, or has a stack frame: {spills} bytes")
    for failure in failures:
        print("FAILED:", failure)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        check()
    elif not sys.argv[1:]:
        build()
    else:
        sys.exit(__doc__)
