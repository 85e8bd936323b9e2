#!/usr/bin/env bash
# A training run on two nodes of one machine: server and client each in a network namespace of its
# own, joined by nothing but a veth pair. Needs root; leaves nothing behind.
#   scripts/netns_two_nodes.sh [--build DIR] [--server-config FILE] [--client-config FILE]
#                              [-- arguments of amaq-client]
# Defaults: build/release and the quick start's files; run scripts/quickstart.sh first, it makes the
# model and the data. The addresses 10.77.0.1 and 10.77.0.2 exist inside the namespaces only.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

build="$AMAQ_ROOT/build/release"
server_config="$AMAQ_ROOT/configs/quickstart-server.yaml"
client_config="$AMAQ_ROOT/configs/quickstart-client.yaml"
while (($# > 0)); do
  case $1 in
    --build | --server-config | --client-config)
      (($# >= 2)) || die "$1 needs a value"
      case $1 in
        --build) build=$2 ;;
        --server-config) server_config=$2 ;;
        --client-config) client_config=$2 ;;
      esac
      shift 2
      ;;
    --)
      shift
      break
      ;;
    -h | --help)
      sed -n '2,7s/^# //p' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    *)
      echo "netns_two_nodes.sh: unknown argument $1 (see --help)" >&2
      exit 2
      ;;
  esac
done
((EUID == 0)) || die "network namespaces need root"
command -v ip >/dev/null || die "the command ip is not there; the Debian package is iproute2"

out="$AMAQ_ROOT/out/netns"
server_ns="amaq-server-$$"
client_ns="amaq-client-$$"
server_pid=""
clean_up() {
  if [[ -n $server_pid ]]; then
    kill -TERM "$server_pid" 2>/dev/null || true
    wait "$server_pid" 2>/dev/null || true
  fi
  ip netns delete "$client_ns" 2>/dev/null || true
  ip netns delete "$server_ns" 2>/dev/null || true
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

mkdir -p "$out"
rm -f "$out/port"
ip netns add "$server_ns"
ip netns add "$client_ns"
ip link add amaq0 netns "$server_ns" type veth peer name amaq1 netns "$client_ns"
ip -n "$server_ns" address add 10.77.0.1/24 dev amaq0
ip -n "$client_ns" address add 10.77.0.2/24 dev amaq1
ip -n "$server_ns" link set lo up
ip -n "$client_ns" link set lo up
ip -n "$server_ns" link set amaq0 up
ip -n "$client_ns" link set amaq1 up

# `ip netns exec` becomes the program, so this is the server's own process id.
ip netns exec "$server_ns" "$build/src/server/amaq-server" --config "$server_config" \
  --set server.address=10.77.0.1:0 --set security.allow_plaintext=true \
  --port-file "$out/port" >"$out/server.log" 2>&1 &
server_pid=$!
wait_for_port "$out/port" "$server_pid" "$out/server.log"

ip netns exec "$client_ns" "$build/src/client/amaq-client" --config "$client_config" \
  --set security.allow_plaintext=true \
  --set output.dir="$out/adapter" --set output.overwrite=true \
  --server "10.77.0.1:$(cat "$out/port")" "$@"

counted() {
  ip netns exec "$client_ns" cat "/sys/class/net/amaq1/statistics/$1"
}
echo "bytes on the client's interface, TCP/IP headers included: up $(counted tx_bytes), down $(counted rx_bytes)"
