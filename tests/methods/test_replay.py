"""The replay buffer, which ``replay`` and ``lifealign`` each hold."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel

from lifealign_bench.method import Method, Stage
from lifealign_bench.methods import load_method
from lifealign_bench.pairs import Pair

MakeStage = Callable[..., Stage]
MakePairs = Callable[[str, int], tuple[Pair, ...]]
NAMES = ("replay", "lifealign")


def make(name: str, **settings: Any) -> Method:
    cls = load_method(name)
    return cls(cls.Config.model_validate(settings))


def finish(method: Method, stage: Stage, model: PeftModel) -> None:
    method.before_stage(stage, model)
    method.after_stage(stage, model)


def replayed(method: Method, stage: Stage) -> list[str]:
    pairs = method.training_pairs(stage, stage.pairs)
    assert list(pairs[: len(stage.pairs)]) == list(stage.pairs), "the stage's own pairs come first"
    return [pair.id for pair in pairs[len(stage.pairs) :]]


@pytest.mark.parametrize("name", NAMES)
def test_a_share_of_each_finished_task_comes_back(name: str, model: PeftModel, make_stage: MakeStage) -> None:
    method = make(name)
    assert replayed(method, make_stage(1)) == []
    finish(method, make_stage(1), model)
    finish(method, make_stage(2), model)
    ids = replayed(method, make_stage(3))
    assert len(ids) == len(set(ids)) == 4
    assert {i.split("/")[0] for i in ids[:2]} == {"t1"}
    assert {i.split("/")[0] for i in ids[2:]} == {"t2"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("fraction", "count", "kept"), [(0.2, 10, 2), (0.2, 13, 3), (0.2, 1, 0), (1, 7, 7), (0, 9, 0)])
def test_how_many_are_kept(
    name: str,
    fraction: float,
    count: int,
    kept: int,
    model: PeftModel,
    make_stage: MakeStage,
    make_pairs: MakePairs,
) -> None:
    method = make(name, replay_fraction=fraction)
    finish(method, make_stage(1, pairs=make_pairs("t1", count)), model)
    assert len(replayed(method, make_stage(2))) == kept


@pytest.mark.parametrize("name", NAMES)
def test_capacity_is_shared_and_samples_only_shrink(
    name: str, model: PeftModel, make_stage: MakeStage, make_pairs: MakePairs
) -> None:
    method = make(name, replay_fraction=1, replay_capacity=12)
    before: set[str] = set()
    for index, expected in ((1, [10]), (2, [6, 6]), (3, [4, 4, 4]), (4, [3, 3, 3, 3])):
        finish(method, make_stage(index, count=5), model)
        ids = replayed(method, make_stage(5, count=5))
        assert [sum(i.startswith(f"t{t + 1}/") for i in ids) for t in range(index)] == expected
        assert {i for i in ids if not i.startswith(f"t{index}/")} <= before
        before = set(ids)


@pytest.mark.parametrize("name", NAMES)
def test_the_published_rule_by_hand(name: str, model: PeftModel, make_stage: MakeStage, make_pairs: MakePairs) -> None:
    """The first int(0.2 n) of each task, in file order; the first ones that came stay, and the fourth finds no room."""
    method = make(name, replay_rule="first", replay_capacity=5)
    for index, count in enumerate((14, 9, 15, 20), start=1):
        finish(method, make_stage(index, count=5, pairs=make_pairs(f"t{index}", count)), model)
    kept = ["t1/train/0", "t1/train/1", "t2/train/0", "t3/train/0", "t3/train/1"]
    assert replayed(method, make_stage(5, count=5)) == kept
    again = make(name, replay_rule="first", replay_capacity=5)
    again.load_state_dict(method.state_dict())
    finish(again, make_stage(5, count=6, pairs=make_pairs("t5", 30)), model)
    assert replayed(again, make_stage(6, count=6)) == kept


@pytest.mark.parametrize("name", NAMES)
def test_sampling_depends_on_the_stages_generator_alone(name: str, model: PeftModel, make_stage: MakeStage) -> None:
    def sample(seed: int) -> list[str]:
        method = make(name)
        finish(method, make_stage(1, seed=seed), model)
        return replayed(method, make_stage(2))

    assert sample(0) == sample(0)
    assert len({tuple(sample(seed)) for seed in range(6)}) > 1


@pytest.mark.parametrize("name", NAMES)
def test_state_holds_ids_and_restores_the_buffer(name: str, model: PeftModel, make_stage: MakeStage) -> None:
    method = make(name)
    finish(method, make_stage(1), model)
    state = method.state_dict()
    ids = state["replay/t1"]
    assert isinstance(ids, list)
    assert all(isinstance(i, str) and i.startswith("t1/train/") for i in ids)
    again = make(name)
    again.load_state_dict(state)
    assert replayed(again, make_stage(2)) == replayed(method, make_stage(2)) == ids
    finish(method, make_stage(2), model)
    assert state["replay/t1"] == ids, "state that was handed out does not change afterwards"
    again.load_state_dict({})
    assert replayed(again, make_stage(2)) == []


@pytest.mark.parametrize("name", NAMES)
@given(sizes=st.lists(st.integers(0, 50), max_size=6), capacity=st.integers(0, 120))
def test_fair_shares(name: str, sizes: list[int], capacity: int) -> None:
    shares = importlib.import_module(f"lifealign_bench.methods.{name}").fair_shares(sizes, capacity)
    assert len(shares) == len(sizes)
    assert sum(shares) == min(sum(sizes), capacity)
    assert all(0 <= share <= size for share, size in zip(shares, sizes, strict=True))
    # Max-min fair: a task that had to give something up has no less than any other, but for what does not divide.
    cut = [share for share, size in zip(shares, sizes, strict=True) if share < size]
    assert not cut or max(shares) - min(cut) <= 1


def test_fair_shares_by_hand() -> None:
    fair_shares = importlib.import_module("lifealign_bench.methods.replay").fair_shares
    assert fair_shares([100, 2, 100], 12) == [5, 2, 5]
    assert fair_shares([10, 10], 5) == [2, 3]
    assert fair_shares([3, 4], 100) == [3, 4]
    assert fair_shares([], 5) == []


def test_the_loss_is_that_of_dpo() -> None:
    assert load_method("replay").pair_loss is Method.pair_loss
