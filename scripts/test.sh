#!/usr/bin/env bash
# Builds the project with its tests and runs them.
#   scripts/test.sh          the preset dev, all tests but the comparison with PyTorch
#   scripts/test.sh --asan   address and undefined-behaviour sanitizers, the same tests
#   scripts/test.sh --tsan   thread sanitizer: the modules that have threads, and both halves of a run
#                            in one process
# The comparison with PyTorch, transformers and PEFT runs in .ci/run (label parity).
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

preset=dev
case ${1:-} in
  "") ;;
  --asan) preset=asan ;;
  --tsan) preset=tsan ;;
  -h | --help)
    sed -n '2,7s/^# //p' "${BASH_SOURCE[0]}"
    exit 0
    ;;
  *)
    echo "test.sh: unknown argument $1 (--asan, --tsan, --help)" >&2
    exit 2
    ;;
esac

begin_part "set-up"
"$AMAQ_ROOT/scripts/setup.sh"

begin_part "build, preset $preset"
targets=()
[[ $preset != tsan ]] || targets=(--target "${AMAQ_TSAN_TARGETS[@]}")
build_preset "$preset" "${targets[@]}"

begin_part "tests, preset $preset"
labels='^(unit|kernel|contract|integration|fuzz|lint)$'
if [[ $preset == tsan ]]; then
  export OMP_NUM_THREADS=1
  run_ctest "$preset" -L "$labels" -R "$AMAQ_TSAN_TESTS"
else
  run_ctest "$preset" -L "$labels"
fi
show_parts
