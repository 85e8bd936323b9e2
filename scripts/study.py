#!/usr/bin/env python3
"""The quality study: each method and rate of docs/study/plan.yaml trained over several seeds, in
two processes, and what came out of it as a table and a plot.

    study.py run [--group G ...] [--arm A ...] [--jobs N]
                                     runs what is not in docs/study/runs.jsonl yet, a line a run;
                                     a run keeps about one core busy, so N at once on N cores
    study.py report                  docs/quality.md's tables and docs/study/*.svg from these lines
    study.py rate FOLDER FILE.svg    bits of a run's steps against its target, from the run's output.dir

Stopped at any moment it goes on where it was. Needs the Python environment of
`scripts/setup.sh --parity`, a release build, scripts/get_model.sh, and the data sets beside the
repository (--data).
"""

import argparse
import concurrent.futures
import gzip
import json
import os
import pathlib
import queue
import re
import statistics
import subprocess
import sys
import time

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[1]
CACHE = pathlib.Path(os.environ.get("AMAQ_CACHE", pathlib.Path.home() / ".cache" / "amaq"))
PLAN = ROOT / "docs" / "study" / "plan.yaml"
RUNS = ROOT / "docs" / "study" / "runs.jsonl"
QUALITY = ROOT / "docs" / "quality.md"
WORK = ROOT / "out" / "study"
BASELINES = ("none", "none-2-epochs")
KEPT = ("eval_loss_before", "eval_loss", "train_loss", "effective_bits_forward",
        "effective_bits_backward", "mean_bits_forward_final", "wire_bytes_up", "wire_bytes_down",
        "traffic_ratio_vs_bf16", "train_tokens")


# --- what a run needs ---------------------------------------------------------------------------

def byte_level_alphabet():
    """GPT-2's printable character of each byte: itself, or one from U+0100 on."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    names, spare = {}, 256
    for byte in range(256):
        names[byte] = chr(byte if byte in kept else spare)
        spare += byte not in kept
    return names


def write_stories_tokenizer(source, folder):
    """stories260K's pieces as a byte-level BPE: spaces are bytes, byte pieces get bytes' names."""
    model = json.loads((source / "tokenizer.json").read_text())["model"]
    name_of = byte_level_alphabet()

    def renamed(piece):
        return "".join(name_of[b] for b in piece.replace("\u2581", " ").encode())

    vocabulary = {}
    for piece, number in model["vocab"].items():
        if not re.fullmatch(r"<0x[0-9A-F]{2}>", piece):
            vocabulary[piece if number < 3 else renamed(piece)] = number
    for byte in range(256):
        vocabulary.setdefault(name_of[byte], model["vocab"][f"<0x{byte:02X}>"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    merges = [" ".join(renamed(part) for part in merge.split(" ")) for merge in model["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))


def write_commonsenseqa(source, path):
    opened = gzip.open(source, "rt") if source.suffix == ".gz" else source.open()
    with opened as lines, path.open("w") as out:
        for line in lines:
            record = json.loads(line)
            choices = {c["label"]: c["text"] for c in record["question"]["choices"]}
            listed = "".join(f"\n{label}. {text}" for label, text in choices.items())
            answer = f"{record['answerKey']}. {choices[record['answerKey']]}"
            out.write(json.dumps({"question": record["question"]["stem"] + listed,
                                  "answer": answer}) + "\n")


def task_flags(task, data):
    WORK.mkdir(parents=True, exist_ok=True)
    if task == "commonsenseqa":
        files = WORK / "commonsenseqa_train.jsonl", WORK / "commonsenseqa_dev.jsonl"
        for path, source in zip(files, ("commonsenseqa_train.jsonl.gz", "commonsenseqa_dev.jsonl")):
            if not path.exists():
                write_commonsenseqa(data / "mcqa" / source, path)
        return {"data.train_file": files[0], "data.eval_file": files[1],
                "data.max_eval_records": 128}
    flags = {"data.train_file": data / "gsm8k" / "train.jsonl",
             "data.eval_file": data / "gsm8k" / "test.jsonl"}
    if task == "gsm8k-short":
        tokenizer = WORK / "stories260K"
        write_stories_tokenizer(data / "stories260K" / "hf", tokenizer)
        flags |= {"data.tokenizer": tokenizer}
    return flags


def model_path(model, data):
    if model == "stories260K":
        return data / "stories260K" / "hf"
    return CACHE / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"


# --- running ------------------------------------------------------------------------------------

def flags_of(plan, group, arm, seed):
    return {**plan["groups"][group].get("set", {}), **plan["arms"][arm], "train.seed": seed}


def read_runs():
    return [json.loads(line) for line in RUNS.read_text().splitlines()] if RUNS.exists() else []


def as_arguments(flags):
    def text(value):
        return str(value).lower() if isinstance(value, bool) else str(value)

    return [part for key, value in flags.items() for part in ("--set", f"{key}={text(value)}")]


def wait_for_port(server, port_file, log):
    while not port_file.exists():
        if server.poll() is not None:
            raise RuntimeError(f"the server ended with {server.returncode}; see {log}")
        time.sleep(0.05)
    return port_file.read_text().strip()


def train(flags, model, build, folder):
    """One run over two processes with their files in `folder`; the client's all_results.json."""
    folder.mkdir(parents=True, exist_ok=True)
    port_file, output, log_file = folder / "port", folder / "run", folder / "server.log"
    port_file.unlink(missing_ok=True)
    base = {"model.model_name_or_path": model}
    with log_file.open("w") as log:
        server = subprocess.Popen(
            [build / "src/server/amaq-server", "--config", ROOT / "configs/gsm8k-server.yaml",
             *as_arguments(base | {"server.address": "127.0.0.1:0", "server.port_file": port_file,
                                   "server.cache_dir": folder / "server-cache"})],
            stdout=log, stderr=log)
    try:
        client = base | flags | {
            "server.address": f"127.0.0.1:{wait_for_port(server, port_file, log_file)}",
            "output.dir": output, "output.overwrite": True, "output.progress": "none",
            "quant.cache_dir": folder / "client-cache"}
        done = subprocess.run(
            [build / "src/client/amaq-client", "--config", ROOT / "configs/gsm8k-client.yaml",
             *as_arguments(client)], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"the client failed:\n{done.stderr[-2000:]}")
    finally:
        server.terminate()
        server.wait()
    return json.loads((output / "all_results.json").read_text())


def missing_runs(plan, groups, arms):
    """(group, arm, seed, flags) of what was asked for and has no line yet."""
    done = {(r["group"], r["arm"], json.dumps(r["flags"], sort_keys=True)) for r in read_runs()}
    for group in groups or plan["groups"]:
        for seed in plan["groups"][group]["seeds"]:
            for arm in plan["groups"][group]["arms"]:
                flags = flags_of(plan, group, arm, seed)
                if ((not arms or arm in arms)
                        and (group, arm, json.dumps(flags, sort_keys=True)) not in done):
                    yield group, arm, seed, flags


def run(plan, groups, arms, data, build, jobs):
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"],
                            capture_output=True, text=True, check=True).stdout.strip()
    missing = list(missing_runs(plan, groups, arms))
    task_sets = {group: task_flags(plan["groups"][group]["task"], data)
                 for group in {group for group, *_ in missing}}
    folders = queue.SimpleQueue()
    for job in range(jobs):
        folders.put(WORK / f"job-{job}")

    def one(group, flags):
        folder, started = folders.get(), time.time()
        try:
            model = model_path(plan["groups"][group]["model"], data)
            return train(task_sets[group] | flags, model, build, folder), time.time() - started
        finally:
            folders.put(folder)

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        running = {pool.submit(one, group, flags): (group, arm, seed, flags)
                   for group, arm, seed, flags in missing}
        for future in concurrent.futures.as_completed(running):
            group, arm, seed, flags = running[future]
            try:
                results, seconds = future.result()
            except RuntimeError as failure:
                pool.shutdown(wait=True, cancel_futures=True)
                sys.exit(f"{group} {arm} seed {seed}: {failure}")
            line = {"group": group, "arm": arm, "seed": seed, "flags": flags, "commit": commit,
                    "results": {key: results[key] for key in KEPT if key in results}}
            RUNS.parent.mkdir(parents=True, exist_ok=True)
            with RUNS.open("a") as out:
                out.write(json.dumps(line) + "\n")
            print(f"{group} {arm} seed {seed}: loss {results['eval_loss']:.4f}, "
                  f"{results['effective_bits_forward']:.2f} + "
                  f"{results['effective_bits_backward']:.2f} bits, {seconds:.0f} s", flush=True)


# --- reporting ----------------------------------------------------------------------------------

def mean_and_error(values):
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
    return statistics.fmean(values), error


def with_error(mean, error, sign=""):
    return f"{mean:{sign}.4f}" + ("" if error is None else f" +- {error:.4f}")


class Arm:
    """The runs of one arm in one group, by seed; later lines replace earlier ones of a seed."""

    def __init__(self, name):
        self.name, self.runs = name, {}

    def values(self, key):
        return [r[key] for r in self.runs.values()]

    def mean(self, key):
        return statistics.fmean(self.values(key))

    def against(self, other):
        """Mean and standard error of the difference in loss over the seeds that both have."""
        seeds = sorted(self.runs.keys() & other.runs.keys())
        return mean_and_error([self.runs[s]["eval_loss"] - other.runs[s]["eval_loss"]
                               for s in seeds]) if seeds else None


def collect(plan, runs):
    groups = {}
    for name, settings in plan["groups"].items():
        arms = {arm: Arm(arm) for arm in settings["arms"]}
        for r in runs:
            arm = arms.get(r["arm"]) if r["group"] == name else None
            if arm and r["flags"] == flags_of(plan, name, r["arm"], r["seed"]):
                arm.runs[r["seed"]] = r["results"]
        arms = {k: a for k, a in arms.items() if a.runs}
        if arms:
            groups[name] = arms
    return groups


def family_of(name):
    return re.sub(r"-[\d.]+$", "", name)


def at_equal_bits(arms, bits):
    """Loss of each family at `bits` forward, between its two neighbouring rates."""
    families = {}
    for arm in arms.values():
        families.setdefault(family_of(arm.name), []).append(
            (arm.mean("effective_bits_forward"), arm.mean("eval_loss")))
    found = {}
    for family, points in families.items():
        points.sort()
        for (x0, y0), (x1, y1) in zip(points, points[1:]):
            if x0 <= bits <= x1:
                found[family] = y0 + (y1 - y0) * (bits - x0) / (x1 - x0)
    return found


def table(arms):
    baseline = next((arms[b] for b in BASELINES if b in arms), None)
    lines = ["| method | seeds | held-out loss | against bf16, by seed | bits forward + backward | "
             "bytes against bf16 |", "|---|---|---|---|---|---|"]
    for arm in sorted(arms.values(), key=lambda a: a.mean("eval_loss")):
        pair = arm.against(baseline) if baseline and arm is not baseline else None
        bits = arm.mean("effective_bits_forward"), arm.mean("effective_bits_backward")
        lines.append(
            f"| {arm.name} | {len(arm.runs)} "
            f"| {with_error(*mean_and_error(arm.values('eval_loss')))} "
            f"| {with_error(*pair, sign='+') if pair else ''} "
            f"| {bits[0]:.2f} + {bits[1]:.2f} "
            f"| {100 * arm.mean('traffic_ratio_vs_bf16'):.1f} % |")
    for bits in (2.0, 3.0, 4.0):
        between = at_equal_bits(arms, bits)
        if between:
            listed = ", ".join(f"{name} {loss:.4f}" for name, loss in
                               sorted(between.items(), key=lambda item: item[1]))
            lines.append(f"\nAt {bits:g} effective bits forward, between measured rates: {listed}.")
    return "\n".join(lines)


def plot(name, arms, families, path):
    """families: of the whole plan, so that one has the same colour in each plot."""
    import matplotlib
    matplotlib.use("svg")
    import matplotlib.pyplot as plt
    plt.rcParams["svg.hashsalt"] = name  # the same file from the same runs
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.5), sharey=True)
    keys = (("effective_bits_forward", "forward"), ("effective_bits_backward", "backward"))
    for axis, (key, title) in zip(axes, keys):
        for number, family in enumerate(families):
            points = sorted((arm.mean(key), *mean_and_error(arm.values("eval_loss")))
                            for arm in arms.values() if family_of(arm.name) == family)
            if not points:
                continue
            axis.errorbar([p[0] for p in points], [p[1] for p in points],
                          yerr=[p[2] or 0 for p in points], color=f"C{number % 10}",
                          marker="os^"[number // 10], capsize=2, label=family)
        axis.set_xscale("log", base=2)
        axis.set_xticks([0.5, 1, 2, 3, 4, 8, 16], labels=["0.5", "1", "2", "3", "4", "8", "16"])
        axis.set_xlabel(f"effective bits a value, {title}")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("held-out loss")
    axes[1].legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def plot_rate(folder, path):
    import matplotlib
    matplotlib.use("svg")
    import matplotlib.pyplot as plt
    plt.rcParams["svg.hashsalt"] = path.stem
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    figure, axis = plt.subplots(figsize=(8, 4))
    for key, label, style in (("bits_target", "target", "k--"), ("bits_mean_forward", "forward", "-"),
                              ("bits_mean_backward", "backward", "-")):
        axis.plot([entry["step"] for entry in history], [entry[key] for entry in history], style,
                  label=label)
    axis.set_xlabel("step")
    axis.set_ylabel("bits a value")
    axis.set_yscale("log", base=2)
    axis.set_yticks([1, 1.5, 2, 3, 4, 6, 8], labels=["1", "1.5", "2", "3", "4", "6", "8"])
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def replace_part(text, name, content):
    pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)", re.S)
    if not pattern.search(text):
        sys.exit(f"{QUALITY} has no place for the group {name}")
    return pattern.sub(lambda m: m[1] + content + "\n" + m[2], text)


def report(plan):
    text = QUALITY.read_text()
    families = sorted({family_of(arm) for arm in plan["arms"]})
    for name, arms in collect(plan, read_runs()).items():
        path = RUNS.parent / f"{name}.svg"
        plot(name, arms, families, path)
        text = replace_part(text, name, f"{table(arms)}\n\n![Loss against bits](study/{path.name})")
    QUALITY.write_text(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    runner = commands.add_parser("run", help="run what is missing")
    runner.add_argument("--group", action="append", help="only this group (may be repeated)")
    runner.add_argument("--arm", action="append", help="only this arm (may be repeated)")
    runner.add_argument("--jobs", type=int, default=1, help="runs at once")
    runner.add_argument("--data", type=pathlib.Path, default=ROOT.parent / "shared" / "data")
    runner.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release")
    commands.add_parser("report", help="write tables and plots")
    rate = commands.add_parser("rate", help="draw the bits of one run")
    rate.add_argument("folder", type=pathlib.Path)
    rate.add_argument("path", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.command == "rate":
        plot_rate(arguments.folder, arguments.path)
        return
    plan = yaml.safe_load(PLAN.read_text())
    if arguments.command == "run":
        run(plan, arguments.group, arguments.arm, arguments.data.resolve(),
            arguments.build.resolve(), arguments.jobs)
    else:
        report(plan)


if __name__ == "__main__":
    main()
