#!/usr/bin/env bash
# Every check of the source tree that needs no build: formatting, layers, whitespace, guards, sizes,
# shell, YAML, JSON, Python, spelling, compose file. scripts/setup.sh --dev installs the tools.
#   scripts/lint.sh              all of them
#   scripts/lint.sh --only NAME  one of them (the names are printed)
#   scripts/lint.sh --tidy       clang-tidy as well, on files of src/ that differ from the main branch
#                                and are in build/dev/compile_commands.json (AMAQ_COMPILE_DATABASE:
#                                another folder); files of unity builds are not
# It looks at the tree it lies in; tracked files and new ones that git does not ignore.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

CLANG_FORMAT=clang-format-14 # pinned: another major formats differently
MAX_HEADER_LINES=200
MAX_SOURCE_LINES=500
# Files that may be longer, each with its reason.
# One suite in one place each: all links, and all methods, must pass the very same cases.
SIZE_EXCEPTIONS=(tests/contract/link_contract.h tests/contract/quantizer_contract.h)

# files REGEX: the files of the tree whose path matches.
files() {
  git ls-files --cached --others --exclude-standard | grep -E "$1" | while read -r file; do
    [[ -f $file && ! -L $file ]] && printf '%s\n' "$file"
  done
}
# complain_if_found WHY COMMAND: for greps, whose finding is a violation.
complain_if_found() {
  local why=$1
  shift
  if "$@"; then
    echo "$why" >&2
    return 1
  fi
}

CXX='^(src|tests|bench|tools)/.*\.(h|cc|cu)$'
TEXT='\.(h|cc|cu|py|sh|cmake|proto|ya?ml|json|md|supp|Dockerfile)$|(^|/)(CMakeLists\.txt|run|\.clang-tidy|\.clang-format|\.editorconfig|\.yamllint)$'

check_format() {
  local list found
  list=$(files "$CXX")
  [[ -n $list ]] || return 0
  "$CLANG_FORMAT" --version >/dev/null || return 1
  found=$(xargs "$CLANG_FORMAT" --dry-run <<<"$list" 2>&1 | grep -E '^[^ ]+:[0-9]+:[0-9]+:' |
    cut -d : -f 1 | sort | uniq -c)
  [[ -z $found ]] || { printf 'places to format (%s -i):\n%s\n' "$CLANG_FORMAT" "$found" >&2; return 1; }
}
check_layers() {
  python3 scripts/check_layers.py && python3 scripts/check_layers.py --self-test
}
check_text() {
  local list code
  list=$(files "$TEXT" | grep -v '^tests/golden/')
  code=$(grep -E -v '\.json$' <<<"$list")
  # Tokenizers are tested with other scripts than Latin.
  complain_if_found "not ASCII" xargs grep -n -P '[^\x00-\x7F]' \
    <<<"$(grep -v '^tests/data/' <<<"$code")" || return 1
  complain_if_found "white space at the end of a line" xargs grep -n -E '[[:space:]]+$' <<<"$code" || return 1
  complain_if_found "a tab or a carriage return" xargs grep -n -P '[\t\r]' <<<"$code" || return 1
  local file
  while read -r file; do
    if [[ -s $file && -n $(tail -c 1 "$file") ]]; then
      echo "$file: no newline at the end" >&2
      return 1
    fi
  done <<<"$code"
}
check_paths() {
  complain_if_found "a path of one machine" \
    xargs grep -n -E '(^|[^A-Za-z0-9_.$}~-])/(root|home|Users|work)/' <<<"$(files "$TEXT")"
}
check_todo() {
  local list
  list=$(files "$CXX|\.proto$|^scripts/[^l].*\.(sh|py)$")
  ! xargs grep -n -E '\b(TODO|FIXME|XXX)\b' <<<"$list" | grep -v -E 'TODO\(#[0-9]+\)' ||
    complain_if_found "a TODO without an issue number: TODO(#12)" true
}
check_guards() {
  local file guard status=0
  while read -r file; do
    [[ -n $file ]] || continue
    guard=${file#src/}
    guard="AMAQ_$(tr '[:lower:]/.-' '[:upper:]___' <<<"$guard")_"
    if ! grep -q -x "#ifndef $guard" "$file" || ! grep -q -x "#define $guard" "$file" ||
      ! tail -n 1 "$file" | grep -q -x "#endif  // $guard"; then
      echo "$file: the header guard must be $guard" >&2
      status=1
    fi
  done <<<"$(files '^(src|tests)/.*\.h$')"
  return "$status"
}
check_sizes() {
  local file lines limit status=0
  while read -r file; do
    [[ -n $file ]] || continue
    limit=$MAX_SOURCE_LINES
    [[ $file != *.h ]] || limit=$MAX_HEADER_LINES
    lines=$(wc -l <"$file")
    if ((lines > limit)) && [[ " ${SIZE_EXCEPTIONS[*]-} " != *" $file "* ]]; then
      echo "$file: $lines lines, at most $limit" >&2
      status=1
    fi
  done <<<"$(files "$CXX")"
  return "$status"
}
check_license() {
  # The text of the Apache License 2.0 as Debian ships it.
  sha256sum --quiet --check - <<<"cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30  LICENSE"
}
check_shell() {
  xargs shellcheck --external-sources <<<"$(files '\.sh$|^\.ci/run$')"
}
check_yaml() {
  xargs yamllint --strict <<<"$(files '\.ya?ml$|^\.clang-tidy$')"
}
check_json() {
  local file
  while read -r file; do
    [[ -n $file ]] || continue
    python3 -m json.tool "$file" >/dev/null || { echo "$file: not JSON" >&2; return 1; }
  done <<<"$(files '\.json$' | grep -v '^tests/golden/')"
}
check_python() {
  # Compiles without writing files.
  xargs python3 -c 'import sys
for name in sys.argv[1:]:
    compile(open(name, encoding="utf-8").read(), name, "exec")' <<<"$(files '\.py$')"
}
check_spelling() {
  xargs codespell <<<"$(files "$TEXT")"
}
check_compose() {
  docker-compose -f docker/compose.yaml config --quiet
}
check_tidy() {
  local database=${AMAQ_COMPILE_DATABASE:-build/dev} base list
  [[ -f $database/compile_commands.json ]] ||
    { echo "$database/compile_commands.json is not there; build the preset dev first" >&2; return 1; }
  # What differs from the main branch; on the main branch itself, what its last commit changed.
  base=$(git merge-base HEAD origin/main 2>/dev/null || true)
  [[ -n $base && $base != "$(git rev-parse HEAD)" ]] || base=$(git rev-parse --verify -q HEAD~1 || true)
  list=$( ([[ -z $base ]] || git diff --name-only --diff-filter=d "$base"; git ls-files --others --exclude-standard) |
    grep -E '^src/.*\.cc$' | sort -u | while read -r file; do
      # Files of a unity build are not in the database under their own name.
      ! grep -q "\"file\": \".*/$file\"" "$database/compile_commands.json" || echo "$file"
    done)
  echo "$(grep -c . <<<"$list") files"
  [[ -z $list ]] || xargs -n 1 -P "$(nproc)" clang-tidy --quiet -p "$database" \
    --extra-arg=-Wno-unknown-warning-option <<<"$list" # the database names options of GCC
}

CHECKS=(format layers text paths todo guards sizes license shell yaml json python spelling compose)
case ${1:-} in
  "") ;;
  --tidy) CHECKS+=(tidy) ;;
  --only)
    [[ " ${CHECKS[*]} tidy " == *" ${2:-} "* ]] ||
      { echo "lint.sh: --only takes one of: ${CHECKS[*]} tidy" >&2; exit 2; }
    CHECKS=("$2")
    ;;
  *)
    echo "lint.sh: unknown argument $1 (--tidy, --only NAME)" >&2
    exit 2
    ;;
esac

failed=()
for check in "${CHECKS[@]}"; do
  if output=$("check_$check" 2>&1); then
    echo "lint: $check ok${output:+ ($(head -n 1 <<<"$output"))}"
  else
    printf '%s\nlint: %s FAILED\n' "$output" "$check"
    failed+=("$check")
  fi
done
if ((${#failed[@]} > 0)); then
  echo "lint: ${#failed[@]} of ${#CHECKS[@]} checks failed: ${failed[*]}"
  exit 1
fi
echo "lint: all ${#CHECKS[@]} checks passed"
