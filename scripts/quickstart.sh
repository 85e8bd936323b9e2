#!/usr/bin/env bash
# From a fresh clone to a fine-tuned adapter: set-up, build, a real pretrained model, a data set that
# the project generates, and one training run split over two processes on this machine.
# Everything it makes lies in out/quickstart, and in AMAQ_CACHE (default ~/.cache/amaq).
#   scripts/quickstart.sh [arguments of amaq-client, for example --set train.max_steps=10]
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
  sed -n '2,5s/^# //p' "${BASH_SOURCE[0]}"
  exit 0
fi

out="$AMAQ_ROOT/out/quickstart"
server_pid=""
stop_server() {
  if [[ -n $server_pid ]]; then
    kill -TERM "$server_pid" 2>/dev/null || true
    wait "$server_pid" 2>/dev/null || true
    server_pid=""
  fi
}
trap stop_server EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

begin_part "set-up"
"$AMAQ_ROOT/scripts/setup.sh"

begin_part "build, preset release"
build_preset release --target amaq-server amaq-client

begin_part "model and data"
mkdir -p "$out"
model=$("$AMAQ_ROOT/scripts/get_model.sh")
ln -sfn "$model" "$out/model.gguf"
python3 "$AMAQ_ROOT/scripts/make_demo_data.py" --out "$out/data" --train 400 --eval 64
wc -l "$out"/data/*.jsonl

begin_part "training"
rm -f "$out/port"
"$AMAQ_ROOT/build/release/src/server/amaq-server" \
  --config "$AMAQ_ROOT/configs/quickstart-server.yaml" \
  --set server.address=127.0.0.1:0 --port-file "$out/port" >"$out/server.log" 2>&1 &
server_pid=$!
wait_for_port "$out/port" "$server_pid" "$out/server.log"

"$AMAQ_ROOT/build/release/src/client/amaq-client" \
  --config "$AMAQ_ROOT/configs/quickstart-client.yaml" \
  --server "127.0.0.1:$(cat "$out/port")" "$@" || {
  status=$?
  echo "amaq-client ended with $status; the server's log: $out/server.log" >&2
  exit "$status"
}

stop_server
show_parts
