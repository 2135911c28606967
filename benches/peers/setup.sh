#!/usr/bin/env bash
# Installs the peers that tests and benches compare with, under a folder of their own:
#   bin/   lmplz, query, build_binary, kenlm_benchmark     built from the source package of kenlm
#   venv/  Python with the kenlm module, and moto, an S3 for tests   (with --all also data-selection, for the DSIR benches)
#   node/  with --all: node-llama-cpp, whose packages have llama.cpp prebuilt
#
#   benches/peers/setup.sh [--all] [FOLDER]        default folder: target/peers
#
# Needs python3, a C++ compiler, cmake and Boost; on Debian and as root it installs the last two itself.
set -euo pipefail
all=no
[ "${1:-}" = --all ] && { all=yes; shift; }
root=$(cd "$(dirname "$0")/../.." && pwd)
dest=${1:-$root/target/peers}
kenlm=0.3.0
mkdir -p "$dest/bin"
dest=$(cd "$dest" && pwd)

need_boost() { ! { command -v cmake && ls /usr/include/boost/program_options.hpp; } >/dev/null 2>&1; }
if need_boost && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends cmake g++ python3-venv \
    libboost-program-options-dev libboost-system-dev libboost-thread-dev libboost-test-dev \
    zlib1g-dev libbz2-dev liblzma-dev >/dev/null
fi
if need_boost; then
  echo "setup.sh: cmake or Boost is missing; on Debian: apt-get install cmake libboost-program-options-dev \
libboost-system-dev libboost-thread-dev libboost-test-dev zlib1g-dev" >&2
  exit 1
fi

[ -x "$dest/venv/bin/pip" ] || python3 -m venv "$dest/venv"
pip="$dest/venv/bin/pip"
export PIP_DISABLE_PIP_VERSION_CHECK=1
# Build tools first and no build isolation: an isolated build would compile cmake itself from source.
"$pip" install -q setuptools wheel numpy
if ! "$dest/venv/bin/python" -c 'import kenlm' 2>/dev/null; then
  "$pip" install -q --no-build-isolation --no-binary kenlm "kenlm==$kenlm"
fi
"$pip" install -q 'moto[server]==5.2.5'
if [ $all = yes ]; then
  "$pip" install -q data-selection==1.0.3 nltk==3.9.1
  mkdir -p "$dest/node"
  npm install --prefix "$dest/node" --no-save --no-audit --no-fund --ignore-scripts --loglevel=error node-llama-cpp@3.22.1
fi

if [ ! -x "$dest/bin/kenlm_benchmark" ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  "$pip" download -q --no-deps --no-build-isolation --no-binary kenlm -d "$work" "kenlm==$kenlm"
  tar -xzf "$work/kenlm-$kenlm.tar.gz" -C "$work"
  cmake -S "$work/kenlm-$kenlm" -B "$work/build" -DCMAKE_BUILD_TYPE=Release >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
  cmake --build "$work/build" -j "$(nproc)" --target lmplz query build_binary kenlm_benchmark >"$work/log" 2>&1 || { tail -40 "$work/log" >&2; exit 1; }
  for tool in lmplz query build_binary kenlm_benchmark; do
    install -m 755 "$(find "$work/build" -name "$tool" -type f -perm -u+x | head -1)" "$dest/bin/$tool"
  done
fi
echo "peers in $dest: $(ls "$dest/bin" | tr '\n' ' ')"
