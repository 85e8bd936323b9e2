#!/bin/sh
# Runs a parity script under the Python that has transformers and PEFT; 77 tells CTest it was skipped.
if [ -z "${AMAQ_PARITY_PYTHON:-}" ]; then
  echo "skipped: AMAQ_PARITY_PYTHON does not name a Python with transformers and PEFT" \
    "(scripts/setup.sh --parity)"
  exit 77
fi
exec "$AMAQ_PARITY_PYTHON" "$1"
