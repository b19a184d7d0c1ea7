"""A stage's training is stock TRL's on the same pairs, calls every hook, and leaves nothing behind."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import get_scheduler
from trl import DPOConfig, DPOTrainer

from lifealign_bench.config import RunConfig, TrainingConfig
from lifealign_bench.data.tasks import load_data
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.method import Method, MethodConfig, PairBatch
from lifealign_bench.models.fake import fake_model
from lifealign_bench.pairs import Pair
from lifealign_bench.runs.session import Session
from lifealign_bench.training.checkpoint import adapter_tensors
from lifealign_bench.training.phases import PHASES
from lifealign_bench.training.trainer import StageTraining, TrainingResult, train_stage
from lifealign_bench.util.progress import Progress

Make = Callable[..., RunConfig]


class Plain(Method):
    """Sequential DPO without a file of its own."""


def build(config: RunConfig, method: Method) -> Session:
    return Session.build(config, load_data(config, Progress()), method, Progress())


def train(
    session: Session,
    folder: Path,
    notice: Callable[[str], None] = lambda text: None,
    log: Callable[[dict[str, Any]], None] = lambda entry: None,
) -> TrainingResult:
    pairs = session.train["fake-upper"]
    return train_stage(
        session.speaker,
        session.method,
        session.config,
        StageTraining(
            index=1,
            phase=PHASES.get("preference"),
            pairs=pairs,
            reference=session.references(["fake-upper"]),
            folder=folder,
            resume=None,
            seed=7,
            on_step=lambda step, loss, tokens: None,
            on_log=log,
            on_checkpoint=lambda path: None,
            notice=notice,
            stopped=lambda: False,
        ),
    )


def stock_trl(config: RunConfig, folder: Path) -> dict[str, torch.Tensor]:
    """The same stage by TRL alone: its tokens, its forward pass, its reference (adapter off), its loss."""
    session = build(config, Plain(MethodConfig()))
    rows = [
        {
            "prompt": [{"role": m.role, "content": m.content} for m in p.pair.prompt],
            "chosen": [{"role": "assistant", "content": p.pair.chosen}],
            "rejected": [{"role": "assistant", "content": p.pair.rejected}],
        }
        for p in session.train["fake-upper"]
    ]
    t = config.training
    trainer = DPOTrainer(
        model=session.model,
        processing_class=session.base.tokenizer,
        train_dataset=Dataset.from_list(rows),
        args=DPOConfig(
            output_dir=str(folder),
            learning_rate=t.learning_rate,
            num_train_epochs=t.epochs,
            per_device_train_batch_size=2,
            gradient_accumulation_steps=t.batch_size // 2,
            lr_scheduler_type="cosine",
            warmup_steps=0,
            beta=t.beta,
            max_length=None,
            seed=7,
            data_seed=7,
            bf16=False,
            activation_checkpointing=False,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        ),
    )
    session.model.delete_adapter("ref")
    trainer.train()
    return {name: tensor.clone() for name, tensor in adapter_tensors(session.model).items()}


def test_weights_equal_stock_trl(fake_config: Make, tmp_path: Path) -> None:
    # TRL's warm-up begins at a rate of 0; ours is compared below.
    training = TrainingConfig(learning_rate=5e-3, batch_size=4, epochs=5, warmup_ratio=0)
    config = fake_config(training=training, train_limit=16)
    session = build(config, Plain(MethodConfig()))
    start = {name: tensor.clone() for name, tensor in adapter_tensors(session.model).items()}
    result = train(session, tmp_path / "ours")
    assert result.complete and result.steps == 20
    ours, theirs = adapter_tensors(session.model), stock_trl(config, tmp_path / "trl")
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.allclose(tensor, theirs[name], atol=1e-4), name
    assert any(not torch.allclose(tensor, start[name], atol=1e-3) for name, tensor in ours.items())


def test_no_step_has_a_rate_of_0_and_what_follows_the_warm_up_is_transformers(
    fake_config: Make, tmp_path: Path
) -> None:
    """10 steps of which 3 are warm-up, by hand."""
    training = TrainingConfig(learning_rate=1e-3, batch_size=4, epochs=5, warmup_ratio=0.3)
    config = fake_config(training=training, train_limit=8)
    rates: list[float] = []
    session = build(config, Plain(MethodConfig()))
    assert train(session, tmp_path, log=lambda entry: rates.append(entry["learning_rate"])).steps == 10
    cosine = [0.5 * (1 + math.cos(math.pi * k / 7)) for k in range(7)]
    expected = [0.25, 0.5, 0.75, *cosine]
    assert rates == pytest.approx([1e-3 * share for share in expected])
    assert min(rates) > 0
    plain = [1e-3 * x for x in (0.0, 1 / 3, 2 / 3, *cosine)]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    scheduler = get_scheduler("cosine", optimizer, num_warmup_steps=3, num_training_steps=10)
    theirs = []
    for _ in range(10):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert theirs == pytest.approx(plain)


@pytest.mark.parametrize("scheduler", ["linear", "constant_with_warmup", "cosine"])
def test_every_schedule_begins_above_0(scheduler: str, fake_config: Make, tmp_path: Path) -> None:
    settings = {"learning_rate": 1e-3, "batch_size": 4, "warmup_ratio": 0.5, "scheduler": scheduler}
    config = fake_config(training=TrainingConfig.model_validate(settings), train_limit=8)
    rates: list[float] = []
    train(build(config, Plain(MethodConfig())), tmp_path, log=lambda entry: rates.append(entry["learning_rate"]))
    assert rates == pytest.approx([0.5e-3, 1e-3])


class Spy(Method):
    """Writes down what is called."""

    def __init__(self) -> None:
        super().__init__(MethodConfig())
        self.sizes: list[int] = []
        self.losses: list[torch.Tensor] = []
        self.steps = 0
        self.norms: list[float] = []
        self.seen: list[str] = []

    def pair_loss(self, logits: torch.Tensor, batch: PairBatch) -> torch.Tensor:
        self.sizes.append(len(batch.pairs))
        self.seen += [p.id for p in batch.pairs]
        gained = (batch.chosen - batch.ref_chosen) - (batch.rejected - batch.ref_rejected)
        assert torch.allclose(logits, 0.1 * gained)
        sums = torch.zeros(2 * len(batch.pairs)).index_add(0, batch.owner, batch.tokens).view(-1, 2)
        assert torch.allclose(sums, torch.stack((batch.chosen, batch.rejected), dim=1))
        return super().pair_loss(logits, batch)

    def penalty(self, model: Any) -> torch.Tensor | None:
        weights = [p for n, p in model.named_parameters() if "lora_A" in n]
        return torch.stack([w.square().sum() for w in weights]).sum()

    def on_gradients(self, model: Any) -> None:
        self.steps += 1
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        assert gradients
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
        self.norms.append(float(norm))
        if self.steps > 1:
            for g in gradients:
                g.zero_()


def test_every_hook_is_called_and_can_change_the_step(fake_config: Make, tmp_path: Path) -> None:
    spy = Spy()
    session = build(fake_config(), spy)
    before = {name: t.clone() for name, t in adapter_tensors(session.model).items()}
    train(session, tmp_path)
    assert spy.sizes == [2, 2, 2, 2] and spy.steps == 2
    assert spy.norms[0] > 1.0, "hooks see the gradient before it is clipped"
    assert sorted(spy.seen) == sorted(p.pair.id for p in session.train["fake-upper"])
    after = adapter_tensors(session.model)
    assert any(not torch.equal(before[name], after[name]) for name in before)


class Penalised(Method):
    """A penalty alone: its gradient must not depend on the number of passes."""

    def pair_loss(self, logits: torch.Tensor, batch: PairBatch) -> torch.Tensor:
        return 0.0 * logits

    def penalty(self, model: Any) -> torch.Tensor | None:
        return torch.stack([p.sum() for n, p in model.named_parameters() if "lora_" in n]).sum()

    def on_gradients(self, model: Any) -> None:
        self.gradient = [p.grad.clone() for p in model.parameters() if p.grad is not None]


def test_penalty_counts_once_a_step_whatever_the_passes(fake_config: Make, tmp_path: Path) -> None:
    found = []
    for budget in (200, 35):
        method = Penalised(MethodConfig())
        training = TrainingConfig(batch_size=4, max_grad_norm=1e9)
        session = build(fake_config(training=training, token_budget=budget), method)
        train(session, tmp_path / str(budget))
        found.append(method.gradient)
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a, b, atol=1e-6) and torch.allclose(a, torch.ones_like(a))


def test_nothing_is_left_on_the_model(fake_config: Make, tmp_path: Path) -> None:
    session = build(fake_config(), Plain(MethodConfig()))
    train(session, tmp_path)
    base = session.model.get_base_model()
    assert list(session.model.peft_config) == ["default"]
    assert not base.get_input_embeddings()._forward_hooks
    for module in (session.model, session.model.base_model, base):
        assert not {"forward", "_original_forward", "_is_accelerate_prepared"} & module.__dict__.keys()
    assert all(p.grad is None for p in session.model.parameters())


class Diverges(Method):
    """Gives NaN for one pair from the second step on."""

    calls = 0

    def pair_loss(self, logits: torch.Tensor, batch: PairBatch) -> torch.Tensor:
        self.calls += 1
        losses = super().pair_loss(logits, batch)
        return torch.where(torch.arange(len(losses)) == 1, torch.nan, losses) if self.calls == 3 else losses


def test_a_loss_that_is_not_finite_names_step_and_pairs(fake_config: Make, tmp_path: Path) -> None:
    method = Diverges(MethodConfig())
    session = build(fake_config(), method)
    with pytest.raises(BenchError) as caught:
        train(session, tmp_path)
    assert "stage 1 at step 2" in caught.value.message
    named = [p.pair.id for p in session.train["fake-upper"] if p.pair.id in caught.value.message.replace(".", ",")]
    assert named and caught.value.exit_code == 2


def test_the_token_budget_changes_no_weight(fake_config: Make, tmp_path: Path) -> None:
    """An optimizer step sees batch_size pairs, whatever the packing."""
    found = []
    for budget in (1000, 33):
        spy = Spy()
        session = build(fake_config(token_budget=budget), spy)
        result = train(session, tmp_path / str(budget))
        assert result.steps == 2
        found.append((spy.sizes, adapter_tensors(session.model)))
    (one_pass, together), (many, apart) = found
    assert one_pass == [4, 4] and many == [1] * 8
    for name, tensor in together.items():
        assert torch.allclose(tensor, apart[name], atol=1e-5), name


class Sqrt(Method):
    """A penalty that is a number with a gradient that is none: the norm of matrices that begin at zero."""

    def penalty(self, model: Any) -> torch.Tensor | None:
        return torch.stack([p.square().sum() for n, p in model.named_parameters() if "lora_B" in n]).sum().sqrt()


class BadPenalty(Method):
    """A penalty that is no number."""

    def penalty(self, model: Any) -> torch.Tensor | None:
        return torch.tensor(float("nan"))


@pytest.mark.parametrize(("method", "said"), [(Sqrt, "The gradient"), (BadPenalty, "the method's penalty")])
def test_what_is_not_finite_never_reaches_the_weights(
    fake_config: Make, tmp_path: Path, method: type[Method], said: str
) -> None:
    session = build(fake_config(), method(MethodConfig()))
    with pytest.raises(BenchError, match="not finite in stage 1 at step 1") as caught:
        train(session, tmp_path)
    assert said in caught.value.message and "fake-upper/train" not in caught.value.message
    assert all(bool(torch.isfinite(t).all()) for t in adapter_tensors(session.model).values())


def test_a_stage_of_one_step_trains(fake_config: Make, tmp_path: Path) -> None:
    """Warm-up begins at a learning rate of zero; with one step in all that would be the whole stage."""
    session = build(fake_config(train_limit=4), Plain(MethodConfig()))
    before = {name: t.clone() for name, t in adapter_tensors(session.model).items()}
    assert train(session, tmp_path).steps == 1
    assert any(not torch.equal(before[name], t) for name, t in adapter_tensors(session.model).items())


class NoRoom(Method):
    """Out of memory, as torch says it on a CPU, in every pass of more than one pair; counts what it was shown."""

    def __init__(self, most: int, late: bool = False) -> None:
        super().__init__(MethodConfig())
        self.late = late
        self.most = most
        self.seen: list[str] = []
        self.failed_late = False

    def pair_loss(self, logits: torch.Tensor, batch: PairBatch) -> torch.Tensor:
        if len(batch.pairs) > self.most and (self.seen or not self.late):
            self.failed_late = bool(self.seen)
            self.seen.clear()
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory"
            )
        self.seen += [p.id for p in batch.pairs]
        return super().pair_loss(logits, batch)


def test_out_of_memory_halves_the_budget_and_takes_the_step_again(fake_config: Make, tmp_path: Path) -> None:
    told: list[str] = []
    method = NoRoom(most=1)
    session = build(fake_config(token_budget=100), method)
    assert train(session, tmp_path / "a", notice=told.append).steps == 2
    # Every notice comes before the first pass that went well, and the budget stays down.
    assert len(told) == 2 and all("stage 1 at step 1" in text and "token_budget" in text for text in told)
    assert len(method.seen) == 8 and len(set(method.seen)) == 8
    plain = build(fake_config(token_budget=33), Plain(MethodConfig()))
    train(plain, tmp_path / "b")
    for name, tensor in adapter_tensors(plain.model).items():
        assert torch.allclose(tensor, adapter_tensors(session.model)[name], atol=1e-5), name


def test_a_model_that_takes_no_packed_pairs_says_so_once_and_trains(fake_config: Make, tmp_path: Path) -> None:
    told: list[str] = []

    class Told(Progress):
        def notice(self, text: str) -> None:
            told.append(text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lifealign_bench.runs.session.choose_layout", lambda *_: "rows")
        session = Session.build(fake_config(), load_data(fake_config(), Progress()), Plain(MethodConfig()), Told())
    session.base.model.set_attn_implementation("sdpa")
    assert train(session, tmp_path / "rows").complete
    assert [text for text in told if "padded rows" in text] == told and len(told) == 1
    packed = build(fake_config(), Plain(MethodConfig()))
    train(packed, tmp_path / "packed")
    for name, tensor in adapter_tensors(packed.model).items():
        assert torch.allclose(tensor, adapter_tensors(session.model)[name], atol=1e-5), name


def test_lengths_that_no_pass_can_hold_are_refused(fake_config: Make) -> None:
    with pytest.raises(UsageError, match="token_budget is 30, but the longest pair has 33 tokens") as caught:
        build(fake_config(token_budget=30), Plain(MethodConfig()))
    assert "token_budget=33" in caught.value.remedy
    data = load_data(fake_config(), Progress())
    model, _ = fake_model()
    model.config.max_position_embeddings = 12
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lifealign_bench.models.load.fake_model", lambda: (model, fake_model()[1]))
        with pytest.raises(BenchError, match="a context of 12"):
            Session.build(fake_config(), data, Plain(MethodConfig()), Progress())


def test_gradients_of_a_step_that_ran_out_of_memory_are_not_kept(fake_config: Make, tmp_path: Path) -> None:
    """The second pass of the step fails after the first one's backward pass: nothing of it may count twice."""
    method = NoRoom(most=1, late=True)
    session = build(fake_config(token_budget=65, train_limit=4), method)
    assert train(session, tmp_path / "a").steps == 1
    assert method.failed_late
    plain = build(fake_config(token_budget=33, train_limit=4), Plain(MethodConfig()))
    train(plain, tmp_path / "b")
    for name, tensor in adapter_tensors(plain.model).items():
        assert torch.allclose(tensor, adapter_tensors(session.model)[name], atol=1e-5), name


def test_out_of_memory_with_one_pair_says_so(fake_config: Make, tmp_path: Path) -> None:
    session = build(fake_config(token_budget=100), NoRoom(most=0))
    with pytest.raises(BenchError, match="Out of memory in stage 1 at step 1, with a single pair") as caught:
        train(session, tmp_path)
    assert "max_length" in caught.value.remedy


def test_pairs_and_tokens_are_those_of_trl(fake_config: Make) -> None:
    """Our tokens equal the ones that TRL makes of the same conversation."""
    session = build(fake_config(), Plain(MethodConfig()))
    tokenizer = session.base.tokenizer
    for encoded in session.train["fake-digits"]:
        pair: Pair = encoded.pair
        turns = [{"role": m.role, "content": m.content} for m in pair.prompt]
        for text, ids in ((pair.chosen, encoded.chosen), (pair.rejected, encoded.rejected)):
            whole = tokenizer.apply_chat_template([*turns, {"role": "assistant", "content": text}])["input_ids"]
            assert list(whole) == [*encoded.prompt, *ids]
        prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]
        assert list(prompt) == list(encoded.prompt)
