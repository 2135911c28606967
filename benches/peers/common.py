"""What the comparisons share."""
import datetime
import json
import os
import platform
import subprocess
import time
from pathlib import Path


def cargo_binary(root, package, name):
    """Where cargo put an example of the release profile; the newest, where several targets have one."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", root / "target"))
    found = [*target.glob(f"release/examples/{name}"), *target.glob(f"*/release/examples/{name}")]
    if not found:
        raise SystemExit(f"build it first: cargo build --release -p {package} --example {name}")
    return max(found, key=lambda path: path.stat().st_mtime)


def median(times, work):
    """The median of several timed calls, in seconds, and the last result."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)[times // 2], result


def fastest(work, times=3):
    """Seconds of the fastest call, after one that does not count."""
    work()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def operations(root, names, threads=None):
    """The report of the conformance crate's benchmark of these operations."""
    # With the features of the workspace, as everything else is built.
    command = ["cargo", "bench", "-q", "--profile", "release", "--workspace", "--bench", "ops", "--"]
    env = os.environ | ({"RAYON_NUM_THREADS": str(threads)} if threads else {})
    out = subprocess.run(
        [*command, "--ops", ",".join(names), "--json"], cwd=root, check=True, stdout=subprocess.PIPE, env=env
    )
    return json.loads(out.stdout)


def ours(binary, *arguments):
    """Runs our side and reads the JSON that it prints."""
    out = subprocess.run([binary, *map(str, arguments)], check=True, capture_output=True, text=True)
    return json.loads(out.stdout)


def machine(**versions):
    """When, on what, and with which versions."""
    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.strip()
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "versions": {"python": platform.python_version(), "rustc": rustc} | versions,
    }


def write(root, name, result):
    path = root / "benches/results" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
