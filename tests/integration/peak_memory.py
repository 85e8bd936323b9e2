#!/usr/bin/env python3
"""Peak memory of both parties of a real run: own tensors, not the other's.

Each party may take 1.15 x the bytes of its own frozen tensors, what its process holds before any model
is loaded, and what the batch needs. The bound must be too small for a party that holds all blocks.
Usage: peak_memory.py CLIENT SERVER; exits with 77 (skipped) without the model.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("AMAQ_CACHE", pathlib.Path.home() / ".cache" / "amaq"))
MODEL = CACHE / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
MIB = 2.0**20

# SmolLM2-135M and the run below.
HIDDEN, FFN, QUERY, KV, VOCAB, BLOCKS = 576, 1536, 576, 192, 49152, 30
CLIENT_BLOCKS, MAX_LENGTH, IN_FLIGHT, RANK, FLOAT = 15, 64, 2, 8, 4


def weight_bytes(blocks):
    """Frozen fp32 tensors of so many blocks and the embedding (which is the head, too)."""
    block = 2 * HIDDEN + HIDDEN * (QUERY + 2 * KV) + QUERY * HIDDEN + 3 * HIDDEN * FFN
    return FLOAT * (blocks * block + VOCAB * HIDDEN)


def batch_bytes(blocks, has_head):
    """What models/block.h says the policy `fast` keeps, at the client for the window, at the server
    for the one micro-batch at work; gradients and products of one block; adapters with gradients and
    two moments; four copies of the logits of a micro-batch, which is below one chunk of 128 rows."""
    kept = 5 * HIDDEN + 2 * QUERY + 2 * KV + 2 * FFN + QUERY
    at_work = 8 * (2 * FFN + 4 * HIDDEN)
    adapters = blocks * RANK * (HIDDEN + QUERY + HIDDEN + KV)
    logits = 4 * MAX_LENGTH * VOCAB if has_head else 0
    window = 1 if has_head else IN_FLIGHT
    return FLOAT * (MAX_LENGTH * (window * blocks * kept + at_work) + 4 * adapters + logits)


def status_bytes(pid, key):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(re.search(rf"^{key}:\s+(\d+) kB", text, re.M).group(1))


def run(client, server, folder):
    """Peak resident bytes of (client, server), and of a server that has loaded nothing."""
    demo = ROOT / "scripts" / "make_demo_data.py"
    subprocess.run([sys.executable, demo, "--out", folder / "data", "--train", "8", "--eval", "4"],
                   check=True, stdout=subprocess.DEVNULL)
    port_file = folder / "port"
    serving = subprocess.Popen(
        [server, "--config", ROOT / "configs/quickstart-server.yaml", "--port-file", port_file,
         f"--set=model.model_name_or_path={MODEL}", "--set=server.address=127.0.0.1:0"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not port_file.exists():
            if serving.poll() is not None:
                sys.exit("the server ended early")
            time.sleep(0.05)
        idle = status_bytes(serving.pid, "VmHWM")
        training = subprocess.Popen(
            [client, "--config", ROOT / "configs/quickstart-client.yaml",
             f"--server=127.0.0.1:{port_file.read_text().strip()}",
             f"--set=model.model_name_or_path={MODEL}",
             f"--set=data.train_file={folder / 'data/train.jsonl'}", "--set=data.eval_file=",
             f"--set=split.client_blocks={CLIENT_BLOCKS}", "--set=train.max_steps=3",
             "--set=train.warmup_steps=0", "--set=train.sample_prompt=",
             "--set=train.per_device_train_batch_size=1",
             "--set=train.gradient_accumulation_steps=4", f"--set=train.in_flight={IN_FLIGHT}",
             f"--set=data.max_length={MAX_LENGTH}", f"--set=output.dir={folder / 'adapter'}",
             "--set=output.progress=plain"],
            stdout=subprocess.PIPE, text=True)
        peak = 0
        for line in training.stdout:
            if line.startswith("step "):
                peak = status_bytes(training.pid, "VmHWM")
        if training.wait() != 0 or peak == 0:
            sys.exit("the client failed")
        return peak, status_bytes(serving.pid, "VmHWM"), idle
    finally:
        serving.terminate()
        serving.wait()


def main():
    if not MODEL.exists():
        print("skipped: the model SmolLM2 is not on this machine (scripts/get_model.sh)")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as folder:
        client_peak, server_peak, idle = run(*sys.argv[1:3], pathlib.Path(folder))
    failed = False
    for name, peak, blocks, has_head in (
            ("client", client_peak, CLIENT_BLOCKS, False),
            ("server", server_peak, BLOCKS - CLIENT_BLOCKS, True)):
        own, batch = weight_bytes(blocks), batch_bytes(blocks, has_head)
        bound = 1.15 * own + idle + batch
        print(f"{name}: peak {peak / MIB:.0f} MiB; own tensors {own / MIB:.0f}, process "
              f"{idle / MIB:.0f}, batch {batch / MIB:.0f}; bound {bound / MIB:.0f} MiB")
        failed = failed or peak > bound
        # The smallest peak of a party that holds all blocks: weights and process, no batch.
        if weight_bytes(BLOCKS) + idle <= bound:
            print(f"{name}: the bound would not catch a party that holds all blocks")
            failed = True
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
