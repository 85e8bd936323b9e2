#!/usr/bin/env bash
# Negative control of scripts/lint.sh: in a copy of the tree, seeds one violation at a time and
# expects the check of that name to complain about it, and only because of it.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cd "$copy"
git init -q .
# A small tree that passes every check.
(cd "$AMAQ_ROOT" && cp -r --parents scripts docker LICENSE .clang-format .clang-tidy .codespellrc .yamllint "$copy")
mkdir -p src/core tests/core
cat >src/core/a.h <<'CODE'
#ifndef AMAQ_CORE_A_H_
#define AMAQ_CORE_A_H_

namespace amaq {
inline int Twice(int x) { return 2 * x; }
}  // namespace amaq

#endif  // AMAQ_CORE_A_H_
CODE
printf '#include "core/a.h"\n\nint main() { return amaq::Twice(0); }\n' >src/core/a.cc
printf '{"a": 1}\n' >a.json
database() {
  printf '[{"directory": "%s", "file": "%s/src/core/a.cc", "command": "c++ -std=c++20 -I%s/src -c src/core/a.cc"}]\n' \
    "$copy" "$copy" "$copy" >"$copy/compile_commands.json"
}
database
export AMAQ_COMPILE_DATABASE=$copy
printf 'compile_commands.json\n' >.gitignore

failures=0
complain() {
  echo "lint_selftest: $*" >&2
  failures=$((failures + 1))
}
seeded=0
# seed CHECK FILE TEXT WORD: appends TEXT to FILE; the check must fail and say WORD.
seed() {
  local check=$1 file=$2 text=$3 word=$4 output
  mkdir -p "$(dirname "$file")"
  [[ ! -e $file ]] || cp "$file" "$copy/.git/kept"
  printf '%b' "$text" >>"$file"
  if output=$(scripts/lint.sh --only "$check" 2>&1); then
    complain "$check did not see the violation seeded in $file"
  elif ! grep -q -F -e "$word" <<<"$output"; then
    complain "$check failed in $file but did not say '$word': $output"
  fi
  seeded=$((seeded + 1))
  rm "$file"
  [[ ! -e $copy/.git/kept ]] || mv "$copy/.git/kept" "$file"
}

for check in format layers text paths todo guards sizes license shell yaml json python spelling compose tidy; do
  scripts/lint.sh --only "$check" >"$copy/.git/log" 2>&1 ||
    complain "$check fails on the clean tree: $(cat "$copy/.git/log")"
done

seed format src/core/a.cc 'int  b;\n' src/core/a.cc
seed layers src/core/a.cc '#include "quant/codec.h"\n' 'core may not include quant'
seed text src/core/a.cc '// caf\xc3\xa9\n' 'not ASCII'
seed text src/core/a.cc '// end \n' 'white space at the end'
seed text src/core/a.cc '//\ttab\n' 'a tab'
seed text docs/a.md 'no newline' 'no newline at the end'
# The slash is in a variable of its own, or this file would be a violation.
slash=/
seed paths docs/a.md "see ${slash}home/me/x\n" 'a path of one machine'
seed todo src/core/a.cc '// TO''DO: later\n' 'without an issue number'
seed guards src/core/b.h '#pragma once\n' AMAQ_CORE_B_H_
seed guards src/core/a.h '// trailing\n' AMAQ_CORE_A_H_
seed sizes src/core/a.cc "$(printf '//\\n%.0s' {1..500})" 'at most 500'
seed sizes src/core/a.h "$(printf '//\\n%.0s' {1..200})" 'at most 200'
seed license LICENSE 'x\n' LICENSE
seed shell scripts/b.sh '#!/bin/bash\ncd /nowhere\n' SC2164
seed yaml configs/b.yaml 'a: 1\na: 2\n' duplication
seed json b.json '{"a": 1,}\n' 'b.json: not JSON'
seed python scripts/b.py 'def f(:\n' SyntaxError
seed spelling docs/a.md 'te''h\n' 'the'
seed compose docker/compose.yaml 'nonsense: 1\n' nonsense
seed tidy src/core/a.cc 'struct lower_case_name {};\n' lower_case_name
# A header is looked at too.
sed -i 's/^namespace amaq {$/&\nstruct header_name {};/' src/core/a.h
scripts/lint.sh --only tidy >"$copy/.git/log" 2>&1 || true
if grep -q header_name "$copy/.git/log"; then
  seeded=$((seeded + 1))
else
  complain "tidy does not look at headers"
fi

if ((failures > 0)); then
  echo "lint_selftest: $failures failures"
  exit 1
fi
echo "lint_selftest: $seeded seeded violations found"
