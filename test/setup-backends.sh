#!/usr/bin/env bash
# Installs what the tests of the GPU backends need on Debian. For wgpu: the Vulkan loader, lavapipe (Vulkan on the
# processor) and the validation layers; tests skip where there is no adapter, unless GRISTMILL_REQUIRE names wgpu. For
# the CUDA kernels: a C++ compiler that runs them on the host, likewise with cuda-host, and Python with venv, which
# fetches the assembler that checks the PTX (crates/cuda/kernels/build.py).
set -euo pipefail

packages=(libvulkan1 mesa-vulkan-drivers vulkan-validationlayers g++ python3-venv)
if dpkg -s "${packages[@]}" >/dev/null 2>&1; then
  exit 0
fi
sudo=()
[ "$(id -u)" = 0 ] || sudo=(sudo)
"${sudo[@]}" apt-get update -qq
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
