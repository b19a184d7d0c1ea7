"""Budgets: what a phase spends, in which steps, and that every method spends the same."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.data_loader import SeedableRandomSampler
from hypothesis import given
from hypothesis import strategies as st

from lifealign_bench.config import RunConfig, SftConfig, TrainingConfig
from lifealign_bench.data.tasks import load_data
from lifealign_bench.errors import Interrupted, UsageError
from lifealign_bench.experiments.estimate import GPUS, estimated_lengths
from lifealign_bench.experiments.plan import make_plan
from lifealign_bench.method import Method, MethodConfig, Stage
from lifealign_bench.methods import method_names
from lifealign_bench.models.passcost import PassCost
from lifealign_bench.pairs import Pair
from lifealign_bench.results.record import Record
from lifealign_bench.runs.run import run
from lifealign_bench.runs.setup import make_method
from lifealign_bench.training.budget import PhaseBudget, phase_budget
from lifealign_bench.training.course import make_course
from lifealign_bench.training.foresight import foreseen_mixes
from lifealign_bench.training.phases import phases_of
from lifealign_bench.training.workload import Lengths, Workload, workload_of
from lifealign_bench.util.progress import Progress

Make = Callable[..., RunConfig]
TOKENS = st.lists(st.integers(1, 60), min_size=1, max_size=20)


def made(method: str, **settings: Any) -> tuple[RunConfig, Method]:
    config = RunConfig(method=method, stream="s", tasks=("a",), device="cpu", dtype="float32", **settings)
    return config, make_method(config)


@given(TOKENS, st.integers(1, 7), st.integers(0, 9), st.integers(1, 3))
def test_without_a_budget_passes_are_those_of_accelerates_sampler(
    tokens: list[int], size: int, seed: int, epochs: int
) -> None:
    sampler = SeedableRandomSampler(tokens, data_seed=seed)
    wanted = []
    for _ in range(epochs):
        order = list(sampler)
        wanted += [tuple(order[i : i + size]) for i in range(0, len(order), size)]
    assert make_course(tokens, size, seed, epochs).batches == tuple(wanted)


@given(TOKENS, st.integers(1, 7), st.integers(0, 9), st.sampled_from(["steps", "pairs", "tokens"]), st.floats(0.2, 4))
def test_a_course_spends_its_budget(tokens: list[int], size: int, seed: int, unit: str, factor: float) -> None:
    whole = {"steps": -(-len(tokens) // size), "pairs": len(tokens), "tokens": sum(tokens)}[unit]
    amount = max(1, round(whole * factor))
    course = make_course(tokens, size, seed, 1, PhaseBudget(unit, amount))
    spent = {"steps": course.steps, "pairs": course.seen, "tokens": sum(tokens[i] for i in course.places)}[unit]
    if unit == "tokens":
        assert abs(spent - amount) <= max(tokens) / 2 or course.seen == 1
    else:
        assert spent == amount
    assert all(1 <= len(batch) <= size and len(set(batch)) == len(batch) for batch in course.batches)
    # All but the last step are those of plain passes.
    plain = make_course(tokens, size, seed, 40).batches
    assert course.batches[:-1] == plain[: course.steps - 1]


@pytest.mark.parametrize("unit", ["steps", "pairs", "tokens"])
@pytest.mark.parametrize("epochs", [1, 3])
def test_the_own_pairs_budget_is_the_own_pairs_passes(unit: str, epochs: int) -> None:
    tokens = [5, 9, 2, 7, 7, 3, 11]
    config, method = made("dpo", budget=unit, training=TrainingConfig(epochs=epochs, batch_size=3))
    (phase,) = phases_of(config, method)
    budget = phase_budget(config, method, phase, [[(0, t, 0) for t in tokens]])
    assert make_course(tokens, 3, 4, epochs, budget) == make_course(tokens, 3, 4, epochs)


def test_the_last_step_is_fitted_by_one_pair() -> None:
    def last(tokens: list[int], amount: int) -> list[int]:
        course = make_course(tokens, 3, 0, 1, PhaseBudget("tokens", amount))
        return [tokens[i] for i in course.batches[-1]]

    order = torch.randperm(4, generator=torch.Generator().manual_seed(0)).tolist()
    tokens = [0] * 4
    for place, count in zip(order, (10, 10, 30, 15), strict=True):
        tokens[place] = count
    assert last(tokens, 20) == [10, 10]
    assert last(tokens, 34) == [10, 10, 15], "one is added, from the rest of the pass: 35 is nearer than 20 and 50"
    assert last(tokens, 24) == [10, 15], "one is exchanged: 25 is nearer than 20"
    assert last(tokens, 1) == [10], "no phase is without a pair"


def test_amounts_by_hand() -> None:
    """Prompt 10, chosen 20, rejected 30: 60 tokens in the preference phase, 30 in the supervised one."""
    own = [[(10, 20, 30)] * 10]
    tuned = {"training": TrainingConfig(epochs=2, batch_size=4), "supervised": SftConfig(sft_epochs=3)}

    def amounts(name: str, sizes: Sequence[Sequence[tuple[int, int, int]]] = own, **settings: Any) -> dict[str, int]:
        config, method = made(name, **tuned, **settings)
        found = {phase.name: phase_budget(config, method, phase, sizes) for phase in phases_of(config, method)}
        return {name: budget.amount for name, budget in found.items() if budget is not None}

    assert amounts("dpo") == {}
    assert amounts("dpo", budget="steps") == {"preference": 2 * 3}
    assert amounts("dpo", budget="pairs") == {"preference": 20}
    assert amounts("dpo", budget="tokens") == amounts("replay", budget="tokens") == {"preference": 1200}
    assert amounts("dpo", budget="tokens", budget_factor=1.5) == {"preference": 1800}
    assert amounts("dpo", budget="tokens", sft=True) == {"sft": 900, "preference": 1200}
    # One phase instead of another, or of both, has what these spend.
    assert amounts("sft", budget="tokens") == {"sft": 1200}
    assert amounts("sft", budget="steps") == {"sft": 6}
    assert amounts("sft", budget="tokens", sft=True) == {"sft": 2100}
    # Joint has the sum of its tasks', whose steps are not full.
    assert amounts("joint", [*own, *own], budget="steps") == {"preference": 12}


def test_budgets_that_cannot_be_kept_are_refused() -> None:
    with pytest.raises(UsageError, match=r"budget_factor is 1\.4, and there is no budget") as caught:
        made("dpo", budget_factor=1.4)
    assert "--budget" in caught.value.remedy
    made("grpo", budget="pairs")
    with pytest.raises(UsageError, match="phase of grpo trains on what the model generates") as caught:
        made("grpo", budget="tokens")
    assert "--budget steps" in caught.value.remedy


def works(train: Mapping[str, Sequence[Lengths]], **settings: Any) -> dict[str, Workload]:
    """The work of every method on some tasks; no model is needed. What a model generates has no budget of tokens."""
    found = {}
    for name in method_names():
        config, method = made(name)
        if settings.get("budget") == "tokens" and any(phase.samples for phase in phases_of(config, method)):
            continue
        config, method = made(name, training=TrainingConfig(batch_size=8), **settings)
        mixes = foreseen_mixes(config, method, {task: len(pairs) for task, pairs in train.items()})
        found[name] = workload_of(config, method, train, train, [], None, mixes)
    return found


def equal(found: Mapping[str, Workload], unit: str) -> None:
    """Within 1 % of plain training: stage by stage, and in the whole where there is one stage for all."""
    spent = {n: [sum(getattr(p, unit) for p in stage.phases) for stage in w.stages] for n, w in found.items()}
    for own in spent.values():
        pairs = [(sum(own), sum(spent["dpo"]))] if len(own) == 1 else zip(own, spent["dpo"], strict=True)
        assert all(abs(a / b - 1) < 0.01 for a, b in pairs), (unit, spent)


@pytest.fixture(scope="module")
def mini() -> dict[str, list[Lengths]]:
    names = tuple(f"mini-{name}" for name in ("detailed", "brief", "direct", "facts", "refusal"))
    config = RunConfig(method="dpo", stream="mini", tasks=names, train_limit=96)
    return {
        name: estimated_lengths(task.train, 512, "shorten")[0] for name, task in load_data(config, Progress()).items()
    }


@pytest.mark.parametrize("settings", [{}, {"sft": True}, {"budget_factor": 1.42}], ids=str)
@pytest.mark.parametrize("unit", ["steps", "pairs", "tokens"])
def test_all_methods_have_equal_budgets_on_mini(
    mini: dict[str, list[Lengths]], unit: str, settings: dict[str, Any]
) -> None:
    settings = dict(settings)
    found = works(mini, budget=unit, **settings)
    assert all(work.foreseen for work in found.values())
    equal(found, unit)
    factor = settings.pop("budget_factor", 1.0)
    plain = sum(getattr(p, unit) for stage in works(mini, **settings)["dpo"].stages for p in stage.phases)
    own = sum(getattr(p, unit) for stage in found["dpo"].stages for p in stage.phases)
    assert abs(own / plain / factor - 1) < 0.01


def test_all_methods_have_equal_budgets_on_the_papers_data(shared_data: Path) -> None:
    names = ("TruthfulQA", "safe-rlhf", "hh-rlhf-helpful-base", "hh-rlhf-harmless-base")
    config = RunConfig(method="dpo", stream="paper", tasks=names, data_dir=shared_data)
    train = {n: estimated_lengths(task.train, 2048, "shorten")[0] for n, task in load_data(config, Progress()).items()}
    equal(works(train, budget="tokens"), "tokens")


def test_repeat_has_replays_steps_and_pairs_and_no_old_pair(mini: dict[str, list[Lengths]]) -> None:
    found = works(mini)
    for repeat, replay in zip(found["repeat"].stages, found["replay"].stages, strict=True):
        for mine, its in zip(repeat.phases, replay.phases, strict=True):
            assert (mine.steps, mine.pairs) == (its.steps, its.pairs)
    assert [stage.phases[0].pairs for stage in found["repeat"].stages] == [96, 115, 134, 153, 172]
    tokens = [sum(p.tokens for stage in found[name].stages for p in stage.phases) for name in ("repeat", "replay")]
    assert abs(tokens[0] / tokens[1] - 1) < 0.05
    config, method = made("repeat")
    mixes = foreseen_mixes(config, method, {"a": 40, "b": 40})
    assert mixes is not None and {task for task, _ in mixes[2, "preference"]} == {"b"}


class NeedsText(Method):
    """Mixes in what it finds in a text."""

    def training_pairs(self, stage: Stage, pairs: Sequence[Pair]) -> Sequence[Pair]:
        return [p for p in pairs if p.prompt[-1].content]


def test_what_cannot_be_foreseen_is_not_made_up() -> None:
    config, _ = made("dpo")
    assert foreseen_mixes(config, NeedsText(MethodConfig()), {"a": 3}) is None
    train = {"a": [Lengths(1, 1, 1)] * 3}
    assert not workload_of(config, NeedsText(MethodConfig()), train, train, []).foreseen


def test_operations_by_hand() -> None:
    """Prompt 3, responses 2 and 1; W 100, H 10, A 4, attention 7."""
    cost = PassCost(body=100, head=10, adapter=4, attention=7)
    seen = (1 + 2 + 3) + (4 + 5) + 4
    assert cost.forward((3, 2, 1)) == 2 * 104 * 6 + 2 * 10 * 3 + 4 * 7 * seen
    assert cost.training((3, 2, 1)) == cost.forward((3, 2, 1)) + 2 * 108 * 6 + 2 * 10 * 3 + 8 * 7 * seen
    # Each response behind a prompt of its own, with one soft token before it.
    apart = PassCost(body=100, head=10, adapter=4, attention=7, packed=False, added=1)
    seen = 2 * (1 + 2 + 3 + 4) + (5 + 6) + 5
    assert apart.forward((3, 2, 1)) == 2 * 104 * 11 + 2 * 10 * 3 + 4 * 7 * seen
    assert apart.forward((3, 2, 0)) == 2 * 104 * 6 + 2 * 10 * 2 + 4 * 7 * (10 + 11)


def numbers(record: Record) -> list[Any]:
    matrices = [matrix.value for matrix in record.scores.values()]
    return [matrices, [(s.steps, s.seen, s.tokens["train"], s.final_loss, s.flops) for s in record.stages[1:]]]


def test_a_method_that_repeats_nothing_is_the_same_under_a_budget(fake_config: Make, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"tasks": ("fake-upper", "fake-lower"), "evaluate": "last", "scorers": ("preference",)}
    settings |= {"method": "agem", "training": TrainingConfig(learning_rate=5e-3, batch_size=3, epochs=2)}
    plain, bound = fake_config(**settings), fake_config(budget="tokens", out=tmp_path / "bound", **settings)
    assert plain.hash() != bound.hash() and "budget" not in plain.identity()
    record = run(plain)
    assert numbers(record) == numbers(run(bound))
    # The passes that a method asks for are counted: A-GEM's memory has a gradient at every step after the first stage.
    first, second = (stage.flops or {} for stage in record.stages[1:])
    assert first.keys() == {"train", "reference"} and second["hooks"] > 0.5 * second["train"]


def test_under_a_budget_replay_spends_as_dpo_stopped_or_not(fake_config: Make, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "method": "replay",
        "method_settings": {"replay_fraction": 0.5},
        "budget": "tokens",
        "tasks": ("fake-upper", "fake-lower"),
        "evaluate": "last",
        "scorers": ("preference",),
        "train_limit": 14,
        "training": TrainingConfig(learning_rate=5e-3, batch_size=4, checkpoint_steps=1),
    }
    config = fake_config(**settings)
    record = run(config)
    planned = make_plan(config, GPUS["H100"]).work.stages
    for stage, plan in zip(record.stages[1:], planned, strict=True):
        own = sum(phase.tokens for phase in plan.phases)
        assert (stage.steps, stage.seen, stage.tokens["train"]) == (
            plan.phases[0].steps,
            plan.phases[0].pairs,
            own,
        )
        assert stage.flops == {"train": plan.phases[0].flops, "reference": plan.reference_flops}
    plain = make_plan(fake_config(**{**settings, "method": "dpo", "method_settings": {}, "budget": None}), GPUS["H100"])
    for stage, plan in zip(record.stages[1:], plain.work.stages, strict=True):
        assert stage.tokens["train"] == pytest.approx(plan.tokens, rel=0.01)
    assert record.stages[2].pairs == 21 and (record.stages[2].seen or 0) < 21

    calls = itertools.count()
    again = fake_config(**{**settings, "out": tmp_path / "stopped"})
    with pytest.raises(Interrupted, match="stage 2 at step"):
        run(again, stopped=lambda: next(calls) == 5)
    assert numbers(run(again)) == numbers(record)
