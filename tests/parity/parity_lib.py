"""What the parity tests share: jobs for amaq_reference_run, the reference model, small comparisons."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

SOURCE_DIR = pathlib.Path(__file__).resolve().parents[2]
SHARED_DATA = pathlib.Path(os.environ.get("AMAQ_SHARED_DATA", SOURCE_DIR.parent / "shared" / "data"))
CACHE = pathlib.Path(os.environ.get("AMAQ_CACHE", pathlib.Path.home() / ".cache" / "amaq"))
SMOLLM2 = CACHE / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
STORIES = SHARED_DATA / "stories260K"


def need(path, what):
    if not path.exists():
        raise unittest.SkipTest(f"{what} is not on this machine ({path.name})")
    return path


def run_reference(job):
    """Runs amaq_reference_run on the job; returns its tensors by name."""
    from safetensors.torch import load_file

    binary = os.environ["AMAQ_REFERENCE_RUN"]
    with tempfile.TemporaryDirectory() as folder:
        job_path = pathlib.Path(folder) / "job.json"
        out_path = pathlib.Path(folder) / "out.safetensors"
        job_path.write_text(json.dumps(job))
        subprocess.run([binary, str(job_path), str(out_path)], check=True)
        return load_file(str(out_path))


def load_transformers(path):
    """The base model in fp32, from a GGUF file or a Hugging Face folder."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    if path.suffix == ".gguf":
        model = AutoModelForCausalLM.from_pretrained(
            str(path.parent), gguf_file=path.name, dtype=torch.float32
        )
    else:
        model = AutoModelForCausalLM.from_pretrained(str(path), dtype=torch.float32)
    return model.eval()


def fill_adapter(model, seed):
    """Non-zero A and B in every adapter of a PEFT model."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_" in name:
                value.copy_(torch.randn(value.shape, generator=generator) * 0.02)


def relative_error(ours, theirs):
    return ((ours - theirs).norm() / theirs.norm().clamp_min(1e-30)).item()


def main():
    program = unittest.main(module="__main__", exit=False, verbosity=2)
    result = program.result
    failed = len(result.failures) + len(result.errors)
    print(f"parity: {result.testsRun - failed - len(result.skipped)} passed, {failed} failed, "
          f"{len(result.skipped)} skipped")
    sys.exit(1 if failed else 0)
