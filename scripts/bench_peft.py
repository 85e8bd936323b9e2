#!/usr/bin/env python3
"""Split training over loopback beside transformers + PEFT in one process: speed and memory.

Both train the same records, in turn, round by round, on the same cores: the split run as two processes
of one thread each, the baseline with two threads. Only the ratios count. Needs the Python environment
of `scripts/setup.sh --parity` and a release build:

    ${AMAQ_CACHE:-~/.cache/amaq}/parity/bin/python scripts/bench_peft.py --records train.jsonl
"""

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
CACHE = pathlib.Path(os.environ.get("AMAQ_CACHE", pathlib.Path.home() / ".cache" / "amaq"))
BATCH, MAX_LENGTH, RANK, ALPHA = 4, 160, 8, 16


def status_kib(pid, key):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"^{key}:\s+(\d+) kB", text, re.M).group(1))


def run_baseline(args):
    """In a process of its own: prints tokens, seconds and peak memory above the loaded model."""
    import torch
    from peft import LoraConfig, get_peft_model
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(args.threads)
    where = {"pretrained_model_name_or_path": str(args.model.parent), "gguf_file": args.model.name}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    # transformers loses SmolLM's digit splitting when it reads a GGUF file.
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=ALPHA, task_type="CAUSAL_LM",
                                             target_modules=["q_proj", "v_proj"]))
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=4e-4,
                                  weight_decay=0.0)
    records = [json.loads(line) for line in args.records.open()][: BATCH * args.steps]
    # The high-water mark is set back, so that what loading took does not count.
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    loaded = status_kib("self", "VmRSS")
    tokens, begin = 0, time.monotonic()
    for step in range(args.steps):
        rows = []
        for record in records[step * BATCH: (step + 1) * BATCH]:
            prompt = tokenizer(f"Question: {record['question']}\nAnswer:")["input_ids"]
            answer = tokenizer(f" {record['answer']}")["input_ids"] + [tokenizer.eos_token_id]
            ids = (prompt + answer)[:MAX_LENGTH]
            rows.append((ids, ([-100] * len(prompt) + answer)[:MAX_LENGTH]))
        width = max(len(ids) for ids, _ in rows)
        pad = [width - len(ids) for ids, _ in rows]
        ids = torch.tensor([ids + [0] * p for (ids, _), p in zip(rows, pad)])
        labels = torch.tensor([labels + [-100] * p for (_, labels), p in zip(rows, pad)])
        mask = torch.tensor([[1] * len(ids) + [0] * p for (ids, _), p in zip(rows, pad)])
        model(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        tokens += int(mask.sum())
    seconds = time.monotonic() - begin
    print(json.dumps({"tokens_per_second": tokens / seconds,
                      "memory_mib": (status_kib("self", "VmHWM") - loaded) / 1024}))


def run_split(args, folder):
    """Two processes over loopback. Memory: peak above what each holds once its half is loaded."""
    build = args.build
    port_file = folder / "port"
    settings = {"model.model_name_or_path": args.model, "server.address": "127.0.0.1:0",
                "server.port_file": port_file}
    server = subprocess.Popen(
        [build / "src/server/amaq-server", "--config", ROOT / "configs/gsm8k-server.yaml",
         *(f"--set={key}={value}" for key, value in settings.items())],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not port_file.exists():
            if server.poll() is not None:
                sys.exit("amaq-server ended early")
            time.sleep(0.05)
        settings = {
            "model.model_name_or_path": args.model, "data.train_file": args.records,
            "data.eval_file": "", "data.max_train_records": BATCH * args.steps,
            "data.max_length": MAX_LENGTH, "data.shuffle": "false",
            "train.per_device_train_batch_size": 1, "train.gradient_accumulation_steps": BATCH,
            "train.in_flight": 2, "train.max_steps": args.steps, "train.warmup_steps": 0,
            "quant.method": args.method, "split.client_blocks": args.client_blocks,
            "output.dir": folder / "adapter", "output.progress": "plain",
            "server.address": f"127.0.0.1:{port_file.read_text().strip()}"}
        client = subprocess.Popen(
            [build / "src/client/amaq-client", "--config", ROOT / "configs/gsm8k-client.yaml",
             *(f"--set={key}={value}" for key, value in settings.items())],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        loaded, peak = {}, {}
        for line in client.stdout:
            for name, pid in (("client", client.pid), ("server", server.pid)):
                if line.startswith("client: "):  # both halves are loaded
                    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")
                    loaded[name] = status_kib(pid, "VmRSS")
                if line.startswith("step "):
                    peak[name] = status_kib(pid, "VmHWM")
        if client.wait() != 0:
            sys.exit("amaq-client failed: " + client.stderr.read())
        results = json.loads((folder / "adapter/all_results.json").read_text())
        return {"tokens_per_second": results["tokens_per_second"],
                "memory_mib": sum(peak[n] - loaded[n] for n in peak) / 1024}
    finally:
        server.terminate()
        server.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=pathlib.Path, required=True, help="GSM8K's train.jsonl")
    parser.add_argument("--model", type=pathlib.Path,
                        default=CACHE / "models/SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="of the baseline")
    parser.add_argument("--method", default="amaq")
    parser.add_argument("--client-blocks", type=int, default=16,
                        help="the default gives both parties about the same work")
    parser.add_argument("--baseline-only", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.records, args.model = args.records.resolve(), args.model.resolve()
    if args.baseline_only:
        run_baseline(args)
        return
    ratios = {"tokens_per_second": [], "memory_mib": []}
    for index in range(args.rounds):
        command = [sys.executable, __file__, "--baseline-only", *sys.argv[1:]]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE,
                                stderr=subprocess.DEVNULL, text=True).stdout
        baseline = json.loads(output.splitlines()[-1])
        with tempfile.TemporaryDirectory() as folder:
            split = run_split(args, pathlib.Path(folder))
        print(f"round {index + 1}: PEFT {baseline}  split {split}", flush=True)
        for key, values in ratios.items():
            values.append(split[key] / baseline[key])
    print("split / PEFT: " + ", ".join(
        f"{key} {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
        for key, values in ratios.items()))


if __name__ == "__main__":
    main()
