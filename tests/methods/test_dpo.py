"""``dpo``'s losses: each that of TRL's trainers on the same pairs, with its gradient; and what cannot be had."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from trl import DPOConfig, DPOTrainer
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.method import Method, PairBatch
from lifealign_bench.methods import load_method
from lifealign_bench.models.encode import EncodedPair, encode_pairs
from lifealign_bench.models.logprobs import completion_log_probs, lay_out, summed
from lifealign_bench.pairs import Message, Pair
from lifealign_bench.runs.setup import make_method
from tests.methods.golden import QUIET, gradients, random_adapter, same

dpo: Any = importlib.import_module("lifealign_bench.methods.dpo")
BETA = 0.3
TEXTS = [("say hello", "hello there", "no"), ("a", "b", "a longer answer"), ("count to two", "one two", "two one zero")]


def make(**settings: Any) -> Method:
    cls = load_method("dpo")
    return cls(cls.Config.model_validate(settings))


class Golden:
    """A random policy with TRL's trainer around it, and the same pairs for ours."""

    def __init__(self, folder: Path) -> None:
        self.model, tokenizer = random_adapter()
        rows = [
            {
                "prompt": [{"role": "user", "content": prompt}],
                "chosen": [{"role": "assistant", "content": chosen}],
                "rejected": [{"role": "assistant", "content": rejected}],
            }
            for prompt, chosen, rejected in TEXTS
        ]
        self.trainer = DPOTrainer(
            model=self.model,
            processing_class=tokenizer,
            train_dataset=Dataset.from_list(rows),
            args=DPOConfig(
                output_dir=str(folder),
                per_device_train_batch_size=1,
                beta=BETA,
                max_length=None,
                precompute_ref_log_probs=True,
                activation_checkpointing=False,
                **QUIET,
            ),
        )
        theirs = self.trainer.train_dataset
        names = ("ref_chosen_logps", "ref_rejected_logps")
        self.reference = torch.stack([torch.tensor(theirs[name]) for name in names], 1)
        self.batches = [self.trainer.data_collator([row]) for row in theirs]
        self.model.delete_adapter("ref")
        self.model.set_adapter("default")
        # A policy that has moved away from its reference.
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in self.model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        self.pairs, _ = encode_pairs(
            tokenizer,
            [Pair(f"t/train/{i}", "t", (Message("user", p),), c, r) for i, (p, c, r) in enumerate(TEXTS)],
            1000,
            "shorten",
        )

    def ours(self, number: int, method: Method) -> torch.Tensor:
        """The loss of one pair."""
        pair: EncodedPair = self.pairs[number]
        rows = lay_out([pair], 0, "rows")
        tokens = completion_log_probs(self.model, rows)
        (policy,), (reference,) = summed(tokens, rows), self.reference[number : number + 1]
        gained = policy - reference
        chosen, rejected, ref_chosen, ref_rejected = (v.view(1) for v in (*policy, *reference))
        batch = PairBatch((pair.pair,), chosen, rejected, ref_chosen, ref_rejected, tokens, rows.owner, BETA)
        return method.pair_loss(BETA * (gained[:1] - gained[1:]), batch)[0]

    def theirs(self, number: int, losses: list[str], weights: list[float], smoothing: float) -> torch.Tensor:
        """The loss of one pair by TRL."""
        self.trainer.loss_types, self.trainer.loss_weights, self.trainer.label_smoothing = losses, weights, smoothing
        found: torch.Tensor = self.trainer.compute_loss(self.model, self.batches[number])
        return found


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Golden:
    return Golden(tmp_path_factory.mktemp("trl"))


IN_TRL = [name for name in dpo._LOSSES if name not in ("simpo", "orpo")]


@pytest.mark.parametrize("loss", [*IN_TRL, "sigmoid with sft", "ipo with sft"])
def test_every_loss_is_that_of_trl(golden: Golden, loss: str) -> None:
    name, _, sft = loss.partition(" with ")
    smoothing = 0.1 if name in ("robust", "exo_pair") else 0.0
    method = make(loss=name, label_smoothing=smoothing, sft_weight=0.7 if sft else 0.0)
    for number in range(len(TEXTS)):
        wanted = golden.theirs(number, [name, *([sft] if sft else [])], [1.0, *([0.7] if sft else [])], smoothing)
        torch.autograd.backward(wanted)
        slopes = gradients(golden.model)
        found = golden.ours(number, method)
        torch.autograd.backward(found)
        assert found.item() == pytest.approx(wanted.item(), rel=1e-5, abs=1e-5)
        scale = max(float(slope.abs().max()) for slope in slopes.values())
        found_slopes = gradients(golden.model)
        same({k: v / scale for k, v in found_slopes.items()}, {k: v / scale for k, v in slopes.items()})


@pytest.mark.parametrize("loss", ["simpo", "orpo"])
def test_losses_without_a_reference_are_those_of_trl(golden: Golden, loss: str) -> None:
    """Their trainers' own functions, given each token's log-probability: a mean, as both trainers take it."""
    accelerator = SimpleNamespace(device=torch.device("cpu"))
    for number in range(len(TEXTS)):
        found = golden.ours(number, make(loss=loss, gamma=0.4)).item()
        pair = golden.pairs[number]
        rows = lay_out([pair], 0, "rows")
        sums = summed(completion_log_probs(golden.model, rows), rows)[0]
        chosen, rejected = sums[:1] / len(pair.chosen), sums[1:] / len(pair.rejected)
        if loss == "simpo":
            said = SimpleNamespace(
                alpha=0.0, beta=BETA, loss_type="simpo", simpo_gamma=0.4, label_smoothing=0.0, accelerator=accelerator
            )
            wanted = CPOTrainer.cpo_loss(said, chosen, rejected)[0].item()
        else:
            said = SimpleNamespace(beta=BETA, accelerator=accelerator)
            wanted = (-chosen - ORPOTrainer.odds_ratio_loss(said, chosen, rejected)[0]).item()
        assert found == pytest.approx(wanted, abs=1e-5)


def batch_of(values: list[float], owner: list[int]) -> PairBatch:
    zero = torch.zeros(1)
    pair = Pair("t/train/0", "t", (), "", "")
    return PairBatch((pair,), zero, zero, zero, zero, torch.tensor(values), torch.tensor(owner), 0.5)


def test_lengths_means_and_losses_by_hand() -> None:
    batch = batch_of([-1.0, -4.0, -2.0], [0, 1, 0])
    assert batch.lengths.tolist() == [[2, 1]] and batch.means.tolist() == [[-1.5, -4.0]]
    # simpo: 0.5 * (-1.5 + 4) - 0.5 = 0.75.
    assert make(loss="simpo").pair_loss(torch.zeros(1), batch).item() == pytest.approx(math.log(1 + math.exp(-0.75)))
    odds = [math.log(p / (1 - p)) for p in (math.exp(-1.5), math.exp(-4.0))]
    wanted = 1.5 + 0.5 * math.log(1 + math.exp(odds[1] - odds[0]))
    assert make(loss="orpo").pair_loss(torch.zeros(1), batch).item() == pytest.approx(wanted)
    # robust with e = 0.25: (-0.75 log sig(1) + 0.25 log sig(-1)) / 0.5.
    up, down = -math.log(1 + math.exp(-1)), -math.log(1 + math.exp(1))
    found = make(loss="robust", label_smoothing=0.25).pair_loss(torch.ones(1), batch).item()
    assert found == pytest.approx((-0.75 * up + 0.25 * down) / 0.5)
    assert make(sft_weight=2.0).pair_loss(torch.zeros(1), batch).item() == pytest.approx(math.log(2) + 3.0)


def test_orpo_of_a_certain_response_has_a_gradient() -> None:
    tokens = torch.tensor([-1e-4, -30.0], requires_grad=True)
    zero, pair = torch.zeros(1), Pair("t/train/0", "t", (), "", "")
    batch = PairBatch((pair,), zero, zero, zero, zero, tokens, torch.tensor([0, 1]), 0.5)
    slope = torch.autograd.grad(make(loss="orpo").pair_loss(zero, batch).sum(), tokens)[0]
    assert bool(torch.isfinite(slope).all()) and slope[0] < 0


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"label_smoothing": 0.1}, "sigmoid has no label_smoothing"),
        ({"loss": "exo_pair"}, "exo_pair needs label_smoothing"),
        ({"loss": "aot"}, "loss"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    fake_config: Callable[..., RunConfig], settings: dict[str, Any], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        make_method(fake_config(method_settings=settings))
