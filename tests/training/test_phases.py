"""A further kind of phase: here one that learns from what the model itself says, which nothing else knows of."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch.nn.functional import logsigmoid

from lifealign_bench.config import RunConfig
from lifealign_bench.data.rewards import load_reward
from lifealign_bench.errors import Interrupted, UsageError
from lifealign_bench.method import Method, MethodConfig, Phase, Stage
from lifealign_bench.models.encode import EncodedPair
from lifealign_bench.results.record import Record
from lifealign_bench.runs.run import run
from lifealign_bench.training.phases import PHASES, Learned, Sampling, TrainedPhase, phases_of
from lifealign_bench.training.workload import Lengths, workload_of
from lifealign_bench.util.progress import Progress

Make = Callable[..., RunConfig]
NAME = cast(Phase, "spoken")


class Spoken(TrainedPhase):
    """Greedy responses against the rejected ones, ranked by the task's reward."""

    name = NAME
    title = "spoken"
    part = "spoken"
    samples = True
    order = ("spoken",)
    sampled: list[tuple[int, str]]

    def asked(self, config: RunConfig) -> bool:
        return True

    def chosen_rate(self, config: RunConfig, method: Method) -> float:
        return 1e-2

    def epochs(self, config: RunConfig, method: Method) -> int:
        return 2

    def sample(self, sampling: Sampling, pairs: Sequence[EncodedPair]) -> list[EncodedPair]:
        speaker, found = sampling.speaker, []
        said = speaker.respond([p.prompt for p in pairs], [()] * len(pairs))
        for pair, ids in zip(pairs, said, strict=True):
            text = speaker.tokenizer.decode(ids, skip_special_tokens=True)
            self.sampled.append((sampling.step, text))
            reward = load_reward(str(sampling.cards[pair.pair.task].reward))
            own, other = replace(pair, chosen=tuple(ids)), replace(pair, chosen=pair.rejected, rejected=tuple(ids))
            check = dict(pair.pair.check)
            found.append(own if reward(text, check) > reward(pair.pair.rejected, check) else other)
        return found

    def losses(self, learned: Learned, method: Method) -> torch.Tensor:
        return self.plain_losses(learned)

    def plain_losses(self, learned: Learned) -> torch.Tensor:
        return -logsigmoid(learned.beta * (learned.policy[:, 0] - learned.policy[:, 1]))


class Watching(Method):
    """Sees the phases that it is called in."""

    seen: list[tuple[int, str, bool]]

    def before_stage(self, stage: Stage, model: Any) -> None:
        self.seen.append((stage.index, stage.phase, stage.final))


@pytest.fixture
def spoken() -> Iterator[Spoken]:
    phase = Spoken()
    phase.sampled = []
    PHASES.add(NAME, phase)
    yield phase
    PHASES.forget([NAME])


@pytest.fixture
def method(monkeypatch: pytest.MonkeyPatch) -> Watching:
    watching = Watching(MethodConfig())
    watching.seen = []
    monkeypatch.setattr("lifealign_bench.runs.run.make_method", lambda config: watching)
    return watching


def weights(config: RunConfig, stage: int) -> bytes:
    return (config.run_directory() / f"stage-{stage}" / "adapter" / "adapter_model.safetensors").read_bytes()


def test_a_phase_that_learns_from_responses_needs_a_class_and_no_more(
    fake_config: Make, spoken: Spoken, method: Watching, tmp_path: Path
) -> None:
    config = fake_config(tasks=("fake-upper", "fake-lower"))
    record = run(config)
    assert method.seen == [(1, "preference", False), (1, "spoken", True), (2, "preference", False), (2, "spoken", True)]
    first = record.stages[1]
    assert first.steps == (1 + 2) * 2 and first.seconds["spoken"] > 0 and first.tokens["spoken"] > 0
    lines = [json.loads(line) for line in (config.run_directory() / "log.jsonl").read_text().splitlines()]
    assert [line["phase"] for line in lines if line["stage"] == 1] == ["preference"] * 2 + ["spoken"] * 4
    assert {step for step, _ in spoken.sampled} == {1, 2, 3, 4}
    # What the model says is what it has learned so far: not the same at the first and the last step.
    assert {text for step, text in spoken.sampled if step == 1} != {text for step, text in spoken.sampled if step == 4}

    again = fake_config(tasks=("fake-upper", "fake-lower"), out=tmp_path / "stopped")
    method.seen.clear()
    with pytest.raises(Interrupted, match=r"stage 1 at step 1 of 4 \(spoken phase\)"):
        run(again, stopped=lambda: (1, "spoken", True) in method.seen)
    assert _numbers(run(again)) == _numbers(record) and weights(again, 2) == weights(config, 2)


def _numbers(record: Record) -> dict[str, Any]:
    return {name: matrix.value for name, matrix in record.scores.items()}


def test_its_work_is_planned(fake_config: Make, spoken: Spoken) -> None:
    lengths = {"fake-upper": [Lengths(2, 3, 4)] * 8}
    config = fake_config(tasks=("fake-upper",))
    stage = workload_of(config, Watching(MethodConfig()), lengths, lengths, []).stages[0]
    assert [(p.phase, p.steps, p.tokens) for p in stage.phases] == [("preference", 2, 72), ("spoken", 4, 144)]


def test_a_method_that_wants_a_phase_that_there_is_not_is_refused(fake_config: Make) -> None:
    class Odd(Method):
        def phases(self, chosen: tuple[Phase, ...]) -> tuple[Phase, ...]:
            return (cast(Phase, "preferences"),)

    with pytest.raises(UsageError, match="no phase called 'preferences'"):
        phases_of(fake_config(), Odd(MethodConfig()))


def test_nothing_compares_the_names_of_phases() -> None:
    """Whoever asks which phase it is would have to be told of a further one."""
    package = Path(__file__).resolve().parents[2] / "lifealign_bench"
    words = ('== "sft"', '== "preference"', '!= "sft"', '!= "preference"', '"sft" in', '"preference" in')
    found = [f.name for f in package.rglob("*.py") for word in words if word in f.read_text(encoding="utf-8")]
    assert found == []


def test_progress_of_it_is_told_by_its_part(fake_config: Make, spoken: Spoken, method: Watching) -> None:
    class Parts(Progress):
        def phase_started(self, stage: int, name: str, tasks: tuple[str, ...], steps: int) -> None:
            parts.append((name, steps))

    parts: list[tuple[str, int]] = []
    run(fake_config(tasks=("fake-upper",), scorers=("preference",)), Parts())
    assert [part for part in parts if part[1]] == [("train", 2), ("spoken", 4)]
