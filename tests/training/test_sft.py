"""The supervised phase: the loss of TRL's SFTTrainer, the same hooks, the same resume."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from datasets import Dataset
from peft import PeftModel
from trl import SFTConfig, SFTTrainer

from lifealign_bench.config import RunConfig, SftConfig, TrainingConfig
from lifealign_bench.data.tasks import load_data
from lifealign_bench.errors import Interrupted
from lifealign_bench.method import Asked, DemonstrationBatch, Method, MethodConfig, PairBatch, Phase, Stage
from lifealign_bench.models.logprobs import Layout, log_probs
from lifealign_bench.pairs import Pair
from lifealign_bench.runs.run import run
from lifealign_bench.runs.session import Session
from lifealign_bench.training.checkpoint import adapter_tensors, load_state
from lifealign_bench.training.phases import PHASES
from lifealign_bench.training.trainer import StageTraining, train_stage
from lifealign_bench.util.progress import Progress
from tests.runs.test_resume import Ear, Stops, same

Make = Callable[..., RunConfig]
RATE = 5e-3


class StopsAt(Ear):
    """Asks to stop as soon as a part of a stage has begun."""

    def __init__(self, place: tuple[int, str]) -> None:
        super().__init__()
        self.place = place

    def stop(self) -> bool:
        return bool(self.phases) and self.phases[-1] == self.place


def build(config: RunConfig, method: Method) -> Session:
    return Session.build(config, load_data(config, Progress()), method, Progress())


def train(session: Session, folder: Path, budget: int) -> list[float]:
    """Train the supervised phase on fake-upper; the loss of every step."""
    losses: list[float] = []
    train_stage(
        replace(session.speaker, token_budget=budget),
        session.method,
        session.config,
        StageTraining(
            index=1,
            phase=PHASES.get("sft"),
            pairs=[p.demonstration() for p in session.train["fake-upper"]],
            reference={},
            folder=folder,
            resume=None,
            seed=7,
            on_step=lambda step, loss, tokens: losses.append(loss),
            on_log=lambda entry: None,
            on_checkpoint=lambda path: None,
            notice=lambda text: None,
            stopped=lambda: False,
        ),
    )
    return losses


def stock_trl(config: RunConfig, folder: Path) -> tuple[dict[str, torch.Tensor], list[float]]:
    """The same phase by TRL's SFTTrainer alone: its tokens, its batches, its loss."""
    session = build(config, Method(MethodConfig()))
    t = config.training
    trainer = SFTTrainer(
        model=session.model,
        processing_class=session.base.tokenizer,
        train_dataset=Dataset.from_list(
            [
                {
                    "prompt": [{"role": m.role, "content": m.content} for m in p.pair.prompt],
                    "completion": [{"role": "assistant", "content": p.pair.chosen}],
                }
                for p in session.train["fake-upper"]
            ]
        ),
        args=SFTConfig(
            output_dir=str(folder),
            learning_rate=config.supervised.sft_learning_rate,
            num_train_epochs=config.supervised.sft_epochs,
            per_device_train_batch_size=2,
            gradient_accumulation_steps=t.batch_size // 2,
            lr_scheduler_type="cosine",
            warmup_steps=0,
            max_length=None,
            completion_only_loss=True,
            seed=7,
            data_seed=7,
            bf16=False,
            activation_checkpointing=False,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            logging_steps=1,
        ),
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {name: tensor.clone() for name, tensor in adapter_tensors(session.model).items()}, losses


@pytest.mark.parametrize("budget", [60, 1000])
def test_losses_and_weights_equal_those_of_trl(fake_config: Make, tmp_path: Path, budget: int) -> None:
    config = fake_config(
        training=TrainingConfig(batch_size=4, warmup_ratio=0),  # TRL's warm-up begins at a rate of 0
        sft=True,
        supervised=SftConfig(sft_learning_rate=RATE, sft_epochs=3),
        train_limit=14,  # the last step of an epoch has two pairs
    )
    session = build(config, Method(MethodConfig()))
    losses = train(session, tmp_path / "ours", budget)
    theirs, wanted = stock_trl(config, tmp_path / "trl")
    assert len(losses) == len(wanted) == 12
    assert losses == pytest.approx(wanted, abs=2e-4)
    assert losses[-1] < losses[0] - 0.05
    for name, tensor in adapter_tensors(session.model).items():
        assert torch.allclose(tensor, theirs[name], atol=1e-4), name


class Doubled(Method):
    """Its supervised loss is twice the plain one, and it looks at what it is given."""

    seen: ClassVar[list[str]] = []

    def demonstration_loss(self, losses: torch.Tensor, batch: DemonstrationBatch) -> torch.Tensor:
        torch.testing.assert_close(losses, -batch.sums(batch.tokens))
        assert batch.asked.keys() == {"kl_from_start"} and not batch.asked["kl_from_start"].any()
        self.seen.extend(pair.id for pair in batch.pairs)
        return 2 * losses

    def asks(self, phase: Phase) -> tuple[Asked, ...]:
        return ("kl_from_start",)


@pytest.mark.parametrize("budget", [60, 1000])
def test_a_method_changes_the_loss_of_demonstrations(
    fake_config: Make, tmp_path: Path, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # At a rate of 0 nothing moves, so that every step's loss is the first model's.
    training = TrainingConfig(batch_size=4, warmup_ratio=0)
    supervised = SftConfig(sft_learning_rate=1e-30, sft_epochs=1)
    config = fake_config(training=training, sft=True, supervised=supervised, train_limit=14)
    plain = train(build(config, Method(MethodConfig())), tmp_path / "plain", budget)
    monkeypatch.setattr(Doubled, "seen", [])
    doubled = train(build(config, Doubled(MethodConfig())), tmp_path / "doubled", budget)
    assert doubled == pytest.approx([2 * loss for loss in plain], rel=1e-5)
    assert len(Doubled.seen) == len(set(Doubled.seen)) == 14


@pytest.mark.parametrize("layout", ["segments", "mask", "rows", "plain"])
def test_a_demonstration_is_worth_its_chosen_response_in_every_layout(fake_config: Make, layout: Layout) -> None:
    session = build(fake_config(), Method(MethodConfig()))
    pairs = session.train["fake-upper"][:5]
    more: dict[str, Any] = {"pad_id": session.speaker.pad_id, "token_budget": 100, "device": session.speaker.device}
    if layout in ("mask", "rows", "plain"):
        session.base.model.set_attn_implementation("sdpa")
    with torch.no_grad():
        whole = log_probs(session.model, pairs, layout=layout, **more)
        alone = log_probs(session.model, [p.demonstration() for p in pairs], layout=layout, **more)
    assert torch.allclose(whole[:, 0], alone[:, 0], atol=1e-4)
    assert torch.equal(alone[:, 1], torch.zeros(5)) and float(whole[:, 1].max()) < -1


class Diary(Method):
    """Writes down the calls of its hooks."""

    calls: ClassVar[list[Any]] = []

    def before_stage(self, stage: Stage, model: PeftModel) -> None:
        self.stage = stage
        self.calls.append(("before", stage.index, stage.phase, stage.final))
        losses = stage.losses(model, stage.pairs[:3])
        if stage.phase == "sft":
            with pytest.raises(RuntimeError, match="ask for losses"):
                stage.margins(model, stage.pairs[:3])
        else:
            margins = stage.margins(model, stage.pairs[:3])
            assert torch.allclose(losses, -torch.nn.functional.logsigmoid(margins), atol=1e-5)
        assert losses.shape == (3,) and losses.requires_grad

    def training_pairs(self, stage: Stage, pairs: Sequence[Pair]) -> Sequence[Pair]:
        self.calls.append(("pairs", stage.index, stage.phase))
        return pairs

    def pair_loss(self, logits: torch.Tensor, batch: PairBatch) -> torch.Tensor:
        assert self.stage.phase == "preference"
        return super().pair_loss(logits, batch)

    def on_gradients(self, model: PeftModel) -> None:
        self.calls.append(("gradients", self.stage.index, self.stage.phase))

    def after_stage(self, stage: Stage, model: PeftModel) -> None:
        self.calls.append(("after", stage.index, stage.phase, stage.final))


def test_hooks_take_part_in_both_phases(fake_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    config = fake_config(sft=True, train_limit=8, training=TrainingConfig(batch_size=4))
    monkeypatch.setattr("lifealign_bench.runs.run.make_method", lambda config: Diary(MethodConfig()))
    monkeypatch.setattr(Diary, "calls", [])
    record = run(config)
    wanted = []
    for stage in (1, 2, 3):
        for phase, final in (("sft", False), ("preference", True)):
            wanted += [("before", stage, phase, final), ("pairs", stage, phase)]
            wanted += [("gradients", stage, phase)] * 2
            wanted += [("after", stage, phase, final)]
    assert Diary.calls == wanted
    log = [json.loads(line) for line in (config.run_directory() / "log.jsonl").read_text().splitlines()]
    steps = [(e["stage"], e["phase"], e["step"]) for e in log if "loss" in e]
    assert steps == [(s, p, n) for s in (1, 2, 3) for p in ("sft", "preference") for n in (1, 2)]
    assert [s.steps for s in record.stages] == [0, 4, 4, 4]
    for done in record.stages[1:]:
        assert done.seconds["sft"] > 0 and done.seconds["train"] > 0
        assert 0 < done.tokens["sft"] < done.tokens["train"]


def test_lifealign_consolidates_after_each_phase_and_remembers_once(fake_config: Make) -> None:
    config = fake_config(method="lifealign", sft=True)
    run(config)
    state = load_state(config.run_directory() / "stage-2" / "method.safetensors")
    numbers = {name.split("/")[1] for name in state if name.startswith("history/")}
    assert numbers == {"0", "1", "2", "3"}  # two stages of two phases
    kept = {name: ids for name, ids in state.items() if name.startswith("replay/")}
    assert list(kept) == ["replay/fake-upper", "replay/fake-lower"]
    assert [len(ids) for ids in kept.values() if isinstance(ids, list)] == [2, 2]  # a fifth of 8, once


@pytest.mark.parametrize("method", ["lifealign", "gem"])
def test_stopped_again_and_again_in_both_phases_equals_unbroken(fake_config: Make, tmp_path: Path, method: str) -> None:
    training = TrainingConfig(learning_rate=RATE, batch_size=4, checkpoint_steps=1)
    settings: dict[str, Any] = {"training": training, "scorers": ("preference",)}
    whole = fake_config(method=method, sft=True, out=tmp_path / "whole", **settings)
    broken = whole.model_copy(update={"out": tmp_path / "broken"})
    run(whole)
    for place in ((1, "sft"), (1, "train"), (2, "sft"), (2, "score"), (3, "train")):
        ear = StopsAt(place)
        with pytest.raises(Interrupted):
            run(broken, ear, ear.stop)
        assert not ear.notices
    run(broken)
    same(whole, broken)
    left = {p.name for p in (broken.run_directory() / "stage-1").iterdir()}
    assert "sft" not in left and "checkpoints" not in left


def test_a_damaged_end_of_the_supervised_phase_is_trained_again(fake_config: Make, tmp_path: Path) -> None:
    whole = fake_config(sft=True, out=tmp_path / "whole")
    broken = whole.model_copy(update={"out": tmp_path / "broken"})
    run(whole)

    ear = StopsAt((2, "train"))
    with pytest.raises(Interrupted, match=r"stage 2 .*preference"):
        run(broken, ear, ear.stop)
    adapter = broken.run_directory() / "stage-2" / "sft" / "adapter" / "adapter_model.safetensors"
    adapter.write_bytes(adapter.read_bytes()[:-8])
    ear = StopsAt((0, "never"))
    run(broken, ear)
    assert (2, "sft") in ear.phases and any("damaged" in n or "hash" in n or "again" in n for n in ear.notices)
    same(whole, broken)


class Afresh(Method):
    """Every stage from the base model; keeps what every stage began with."""

    restarts = True
    found: ClassVar[list[dict[str, torch.Tensor]]] = []

    def before_stage(self, stage: Stage, model: PeftModel) -> None:
        self.found.append({name: tensor.clone() for name, tensor in adapter_tensors(model).items()})


def test_a_method_that_restarts_is_scored_on_its_own_task_alone(
    fake_config: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("lifealign_bench.runs.run.make_method", lambda config: Afresh(MethodConfig()))
    monkeypatch.setattr(Afresh, "found", [])
    config = fake_config(out=tmp_path / "whole")
    record = run(config)
    for row, cells in enumerate(record.scores["preference_accuracy"].value):
        assert [value is not None for value in cells] == [row == 0 or row == j for j in (1, 2, 3)]
    metrics = record.metrics["preference_accuracy"]
    assert metrics["learning"] is not None
    assert metrics["last"] is metrics["average_performance"] is metrics["backward_transfer"] is None
    first, *others = Afresh.found
    assert len(others) == 2
    for start in others:
        assert all(torch.equal(tensor, first[name]) for name, tensor in start.items())

    broken = config.model_copy(update={"out": tmp_path / "broken"})
    for _ in range(60):
        try:
            run(broken, Ear(), Stops(2))
            break
        except Interrupted:
            continue
    same(config, broken)


def test_phases_a_method_chooses(fake_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    class OnlySft(Method):
        def phases(self, chosen: tuple[Phase, ...]) -> tuple[Phase, ...]:
            return ("sft",)

    monkeypatch.setattr("lifealign_bench.runs.run.make_method", lambda config: OnlySft(MethodConfig()))
    config = fake_config()
    record = run(config)
    assert all(set(s.tokens) == {"sft", "score", "generate"} for s in record.stages[1:])
