"""``joint``, ``dpo``, ``sft`` and ``single``: the methods that only plan."""

from __future__ import annotations

from collections.abc import Callable

from peft import PeftModel

from lifealign_bench.method import Method, Stage
from lifealign_bench.methods import load_method


def test_joint_trains_on_everything_at_once() -> None:
    cls = load_method("joint")
    assert cls(cls.Config()).plan(["a", "b", "c"]) == [("a", "b", "c")]


def test_joint_trains_on_the_pairs_it_is_given(model: PeftModel, make_stage: Callable[..., Stage]) -> None:
    cls = load_method("joint")
    stage = make_stage(1, count=1, tasks=("a", "b"))
    assert [p.id for p in cls(cls.Config()).training_pairs(stage, stage.pairs)] == [p.id for p in stage.pairs]


def test_dpo_has_a_loss_of_its_own_and_nothing_against_forgetting() -> None:
    cls = load_method("dpo")
    hooks = {name for name, value in vars(cls).items() if callable(value) and hasattr(Method, name)}
    assert hooks <= {"__init__", "Config", "pair_loss", "reference", "asks", "check"}
    assert cls(cls.Config()).plan(["a", "b"]) == [("a",), ("b",)]
    assert issubclass(cls, Method)


def test_sft_has_the_supervised_phase_alone() -> None:
    cls = load_method("sft")
    method = cls(cls.Config())
    for chosen in (("preference",), ("sft", "preference")):
        assert method.phases(chosen) == ("sft",)
    assert method.plan(["a", "b"]) == [("a",), ("b",)]


def test_single_is_dpo_that_restarts() -> None:
    cls = load_method("single")
    assert cls.restarts and not load_method("dpo").restarts
    assert cls(cls.Config()).phases(("sft", "preference")) == ("sft", "preference")
    assert cls.pair_loss is Method.pair_loss
