"""What the mix_*.py comparisons share."""
import datetime
import json
import os
import platform
import subprocess
from pathlib import Path


def cargo_binary(root, name):
    """Where cargo puts an example of the release profile."""
    return Path(os.environ.get("CARGO_TARGET_DIR", root / "target")) / "release/examples" / name


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
