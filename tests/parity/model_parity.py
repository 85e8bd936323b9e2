"""Logits, gradients, losses and adapters against transformers and PEFT."""

import json
import tempfile
import unittest

import torch

import parity_lib

ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def sequences(vocab, lengths, seed):
    """Random token ids whose second half is supervised."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for length in lengths:
        tokens = torch.randint(3, vocab, (length,), generator=generator).tolist()
        supervised = [int(i >= max(1, length // 2)) for i in range(length)]
        made.append({"tokens": tokens, "supervised": supervised})
    return made


def reference_loss(model, batch):
    """Mean loss over the supervised tokens of a batch, one sequence at a time (no padding)."""
    total, count = 0.0, 0
    for sequence in batch:
        tokens = torch.tensor([sequence["tokens"]])
        logits = model(input_ids=tokens).logits[0]
        mask = torch.tensor(sequence["supervised"][1:], dtype=torch.bool)
        losses = torch.nn.functional.cross_entropy(
            logits[:-1][mask].float(), tokens[0, 1:][mask], reduction="sum"
        )
        total, count = total + losses, count + int(mask.sum())
    return total / count


class ModelParity:
    """Run for each base model below."""

    path = None
    vocab = 0
    tolerance = 2e-4

    def logits_of(self, model, batch):
        with torch.no_grad():
            return torch.cat(
                [model(input_ids=torch.tensor([s["tokens"]])).logits[0] for s in batch]
            )

    def test_logits_agree(self):
        batch = sequences(self.vocab, [17, 1, 40], seed=1)
        ours = parity_lib.run_reference({"model": str(self.path), "sequences": batch})["logits"]
        theirs = self.logits_of(parity_lib.load_transformers(self.path), batch)
        self.assertLess((ours - theirs).abs().max().item(), self.tolerance)

    def run_training(self, targets, has_bias_correction=True, **changes):
        from peft import LoraConfig, get_peft_model

        steps = [sequences(self.vocab, [24, 9, 31], seed=10 + i) for i in range(8)]
        model = get_peft_model(
            parity_lib.load_transformers(self.path),
            LoraConfig(r=4, lora_alpha=12, target_modules=targets, task_type="CAUSAL_LM"),
        )
        parity_lib.fill_adapter(model, seed=3)
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            job = {"model": str(self.path), "adapter": folder, "steps": steps,
                   "learning_rate": 1e-3, "max_grad_norm": 1.0, **changes}
            ours = parity_lib.run_reference(job)
        parameters = {
            name.replace("base_model.model.", "").replace(".default", ""): value
            for name, value in model.named_parameters() if value.requires_grad
        }
        optimizer = torch.optim.AdamW(parameters.values(), lr=1e-3, weight_decay=0.0)
        losses = []
        worst_gradient = 0.0
        for batch in steps:
            optimizer.zero_grad()
            loss = reference_loss(model, batch)
            loss.backward()
            if not losses:
                for name, value in parameters.items():
                    worst_gradient = max(
                        worst_gradient, parity_lib.relative_error(ours["grad." + name], value.grad)
                    )
            losses.append(loss.item())
            torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
            if not has_bias_correction:  # the step counter far ahead makes both corrections 1
                for state in optimizer.state.values():
                    state["step"].fill_(1e6)
            optimizer.step()
        loss_error = (ours["losses"] - torch.tensor(losses)).abs().max().item()
        final_error = max(
            parity_lib.relative_error(ours["final." + name], value.detach())
            for name, value in parameters.items()
        )
        return worst_gradient, loss_error, final_error

    def test_eight_training_steps_agree(self):
        gradient, loss, final = self.run_training(self.targets)
        print(f"\n{type(self).__name__}: gradient {gradient:.2e}, loss {loss:.2e}, adapter {final:.2e}")
        self.assertLess(gradient, 1e-4)
        self.assertLess(loss, 1e-3)
        self.assertLess(final, 1e-3)

    def test_a_wrong_alpha_is_caught(self):
        gradient, _, _ = self.run_training(self.targets, alpha_factor=1.01)
        self.assertGreater(gradient, 1e-4)

    def test_a_missing_bias_correction_is_caught(self):
        gradient, _, final = self.run_training(self.targets, has_bias_correction=False)
        self.assertLess(gradient, 1e-4)
        self.assertGreater(final, 1e-3)


class Stories(ModelParity, unittest.TestCase):
    vocab = 512
    targets = ALL_LINEAR

    @classmethod
    def setUpClass(cls):
        cls.path = parity_lib.need(parity_lib.STORIES, "the model stories260K") / "hf"

    def test_stored_logits_agree(self):
        expected = json.loads((parity_lib.STORIES / "expected.json").read_text())
        tokens = [1] + expected["greedy_from_bos"][:100]
        job = {"model": str(self.path),
               "sequences": [{"tokens": tokens, "supervised": [0] * len(tokens)}]}
        logits = parity_lib.run_reference(job)["logits"]
        for position, key in ((0, "logits_after_bos_first8"), (100, "logits_pos_100_first8")):
            error = (logits[position, :8] - torch.tensor(expected[key])).abs().max().item()
            self.assertLess(error, self.tolerance, key)
        greedy = logits.argmax(dim=1)[:-1].tolist()
        self.assertEqual(greedy, expected["greedy_from_bos"][:100])


class SmolLM2(ModelParity, unittest.TestCase):
    vocab = 49152
    targets = ["q_proj", "v_proj"]

    @classmethod
    def setUpClass(cls):
        cls.path = parity_lib.need(parity_lib.SMOLLM2, "the model SmolLM2")


if __name__ == "__main__":
    parity_lib.main()
