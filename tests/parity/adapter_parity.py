"""The adapter that a split run writes, loaded by PEFT: no key too many or too few, and our logits."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
import warnings

import torch

import parity_lib
from model_parity import sequences


class JoinedAdapter(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        parity_lib.need(parity_lib.SMOLLM2, "the model SmolLM2")
        cls.folder = tempfile.TemporaryDirectory()
        root = pathlib.Path(cls.folder.name)
        demo = parity_lib.SOURCE_DIR / "scripts" / "make_demo_data.py"
        subprocess.run([sys.executable, demo, "--out", root / "data", "--train", "8", "--eval", "4"],
                       check=True, stdout=subprocess.DEVNULL)
        cls.adapter = root / "adapter"
        settings = {
            "model.model_name_or_path": parity_lib.SMOLLM2, "split.client_blocks": 7,
            "lora.r": 4, "lora.target_modules": "all-linear",
            "data.train_file": root / "data/train.jsonl",
            "data.prompt_template": "Question: {question}\\nAnswer:",
            "data.completion_template": " {answer}", "data.max_length": 48,
            "train.max_steps": 3, "train.per_device_train_batch_size": 2,
            "train.learning_rate": "1e-3", "train.lr_scheduler_type": "constant",
            "quant.method": "fixed", "server.address": "inproc", "output.dir": cls.adapter}
        config = root / "client.yaml"
        config.write_text("split:\n  client_blocks: 7\n")
        subprocess.run([os.environ["AMAQ_CLIENT"], "--config", config,
                        *(f"--set={key}={value}" for key, value in settings.items())],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def load(self):
        from peft import PeftModel

        base = parity_lib.load_transformers(parity_lib.SMOLLM2)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = PeftModel.from_pretrained(base, str(self.adapter))
        return model.eval(), [str(w.message) for w in caught]

    def test_peft_finds_every_key_and_no_other(self):
        from safetensors.torch import load_file

        model, messages = self.load()
        self.assertFalse([m for m in messages if "missing" in m or "unexpected" in m], messages)
        stored = load_file(str(self.adapter / "adapter_model.safetensors"))
        loaded = {name.replace(".default", ""): value
                  for name, value in model.named_parameters() if "lora_" in name}
        self.assertEqual(set(stored), set(loaded))
        for name, value in stored.items():
            self.assertTrue(torch.equal(value, loaded[name]), name)

    def test_both_halves_were_trained(self):
        from safetensors.torch import load_file

        stored = load_file(str(self.adapter / "adapter_model.safetensors"))
        for name, value in stored.items():
            if "lora_B" in name:  # starts at zero
                self.assertGreater(value.abs().max().item(), 0, name)

    def test_logits_equal_ours(self):
        batch = sequences(49152, [23, 11], seed=5)
        ours = parity_lib.run_reference({"model": str(parity_lib.SMOLLM2), "sequences": batch,
                                         "adapter": str(self.adapter)})["logits"]
        model, _ = self.load()
        with torch.no_grad():
            theirs = torch.cat([model(input_ids=torch.tensor([s["tokens"]])).logits[0]
                                for s in batch])
            with model.disable_adapter():
                base = torch.cat([model(input_ids=torch.tensor([s["tokens"]])).logits[0]
                                  for s in batch])
        self.assertLess((ours - theirs).abs().max().item(), 2e-4)
        self.assertGreater((ours - base).abs().max().item(), 2e-2)  # the adapter does something

    def test_results_name_what_was_asked(self):
        results = json.loads((self.adapter / "all_results.json").read_text())
        for key in ("train_loss", "train_tokens", "tokens_per_second", "wire_bytes_up",
                    "wire_bytes_down", "effective_bits_forward", "effective_bits_backward",
                    "mean_bits_forward_final", "wire_bytes_total", "traffic_ratio_vs_bf16"):
            self.assertIn(key, results)


if __name__ == "__main__":
    parity_lib.main()
