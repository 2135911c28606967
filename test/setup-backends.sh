#!/usr/bin/env bash
# Installs what the tests of the wgpu backend need on Debian: the Vulkan loader, lavapipe (Vulkan on the processor) and
# the validation layers. Tests skip where there is no adapter, unless GRISTMILL_REQUIRE names wgpu.
set -euo pipefail

packages=(libvulkan1 mesa-vulkan-drivers vulkan-validationlayers)
if dpkg -s "${packages[@]}" >/dev/null 2>&1; then
  exit 0
fi
sudo=()
[ "$(id -u)" = 0 ] || sudo=(sudo)
"${sudo[@]}" apt-get update -qq
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
