"""Learning rates are chosen on pairs that are never trained on nor tested, by the same grid for all methods."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifealign_bench.config import RunConfig
from lifealign_bench.data.cards import load_task
from lifealign_bench.data.tasks import held_out, load_task_data
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.experiments.tuning import parse_factors
from lifealign_bench.methods import load_method, method_names
from lifealign_bench.pairs import Message, Pair
from lifealign_bench.reporting.tables.experiments import tuning_grid
from lifealign_bench.reporting.tables.grid import to_markdown
from lifealign_bench.results.origins import Origins
from lifealign_bench.results.record import read_record
from lifealign_bench.results.tuning import (
    MethodTuning,
    RateTrial,
    Tuning,
    best,
    rate_in,
    read_tuning,
    with_rate,
    write_tuning,
)
from lifealign_bench.results.verify import submit_run
from lifealign_bench.runs.run import run
from tests.command import Call

FAKE = ("--model", "fake", "--stream", "fake", "--device", "cpu", "--dtype", "float32", "--quiet")
SMALL = ("--train-limit", "8", "--validation", "4")


def pairs_of(prompts: list[int]) -> tuple[Pair, ...]:
    return tuple(
        Pair(f"t/train/{row}", "t", (Message("user", f"prompt {prompt}"),), "good", "bad")
        for row, prompt in enumerate(prompts)
    )


@given(st.lists(st.integers(0, 12), min_size=3, max_size=30), st.integers(1, 5), st.none() | st.integers(1, 12))
def test_no_prompt_is_both_trained_on_and_held_out(prompts: list[int], count: int, limit: int | None) -> None:
    pairs = pairs_of(prompts)
    try:
        left, kept = held_out("t", pairs, count, limit)
    except BenchError as error:
        assert "too few" in error.message and error.remedy
        return
    assert len(kept) == count and left
    assert not {p.prompt for p in left} & {p.prompt for p in kept}
    assert list(kept) == [p for p in pairs if p in kept] and list(left) == [p for p in pairs if p in left]
    assert limit is None or len(left) <= limit


def test_a_run_without_validation_trains_on_the_same_pairs_where_the_file_is_long_enough() -> None:
    """mini: what is chosen for 96 training pairs is chosen on just these."""
    for name in ("mini-detailed", "mini-brief", "mini-direct", "mini-facts", "mini-refusal"):
        card = load_task(name)
        tuned = load_task_data(card, data_dir=None, train_limit=96, test_limit=24, validation=24)
        plain = load_task_data(card, data_dir=None, train_limit=96, test_limit=24)
        assert tuned.train == plain.train and len(tuned.test) == 24
        assert all(pair.id.split("/")[1] == "train" for pair in tuned.test)
        assert not {p.prompt for p in tuned.test} & ({p.prompt for p in tuned.train} | {p.prompt for p in plain.test})


def test_too_few_pairs_are_refused() -> None:
    with pytest.raises(BenchError, match="too few to hold 3"):
        held_out("t", pairs_of([1, 2, 3]), 3, None)
    with pytest.raises(BenchError, match="--validation"):
        held_out("t", pairs_of([1, 1, 1, 1]), 1, 2)


@pytest.mark.parametrize(
    ("values", "factor"),
    [
        ((80.0, 90.0, 85.0), 1.0),
        ((90.0, 80.0, 90.0), 0.5),  # as far from 1 on both sides: the smaller
        ((90.0, 90.0, 90.0), 1.0),
        ((90.00000000000001, 90.0, 80.0), 1.0),  # equal but for the rounding of a mean
        ((None, 40.0, 50.0), 2.0),
        ((10.0, None, None), 0.5),
    ],
)
def test_the_best_rate(values: tuple[float | None, ...], factor: float) -> None:
    trials = [RateTrial(factor=f, rate=f, value=v) for f, v in zip((0.5, 1.0, 2.0), values, strict=True)]
    assert best(trials).factor == factor


def test_no_rate_at_all() -> None:
    with pytest.raises(BenchError, match="diverged"):
        best([RateTrial(factor=1, rate=1, error="diverged"), RateTrial(factor=2, rate=2, error="diverged")])


def test_every_method_says_which_setting_is_its_rate(fake_config: Callable[..., RunConfig]) -> None:
    for name in method_names():
        setting = load_method(name).rate_setting
        config = fake_config(method=name)
        changed = with_rate(config, setting, 0.125)
        assert rate_in(changed, setting) == 0.125 != rate_in(config, setting)
        assert (
            load_method(name)(load_method(name).Config.model_validate(changed.method_settings)).learning_rate(
                "sft" if name == "sft" else "preference",
                changed.supervised.sft_learning_rate if name == "sft" else changed.training.learning_rate,
            )
            == 0.125
        )


def test_validation_is_part_of_a_run_and_no_validation_is_not(fake_config: Callable[..., RunConfig]) -> None:
    plain = fake_config()
    assert "validation" not in plain.identity()
    assert fake_config(validation=3).hash() != plain.hash()
    # A run of before the setting existed goes on, and one of the other kind is refused.
    run(plain)
    with pytest.raises(BenchError, match="validation"):
        run(fake_config(validation=3))


def test_only_the_last_stage_is_scored(fake_config: Callable[..., RunConfig]) -> None:
    whole = run(fake_config())
    last = run(fake_config(evaluate="last", out=fake_config().out / "last"))
    matrix, full = (r.scores["preference_accuracy"].value for r in (last, whole))
    assert matrix[-1] == full[-1] and all(value is None for row in matrix[:-1] for value in row)
    assert last.metrics["preference_accuracy"]["last"] == whole.metrics["preference_accuracy"]["last"]
    assert last.metrics["preference_accuracy"]["forgetting"] is None


def test_a_validation_run_is_not_published(fake_config: Callable[..., RunConfig], tmp_path: Path) -> None:
    config = fake_config(validation=3)
    run(config)
    with pytest.raises(BenchError, match="validation pairs"):
        submit_run(config.run_directory(), tmp_path / "results", Origins(None))
    assert not (tmp_path / "results").exists()


@pytest.mark.model
def test_from_the_grid_to_the_record(call: Call, tmp_path: Path) -> None:
    code, out, err = call("tune", *FAKE, *SMALL, "--method", "dpo,single,l2p", "--factors", "1,4", "--json")
    assert code == 0, err
    table = tmp_path / "results" / "tuning" / "fake" / "fake.json"
    tuning, digest = read_tuning(table)
    assert json.loads(out) == json.loads(table.read_text())
    assert list(tuning.methods) == ["dpo", "l2p", "single"] and tuning.validation == 4
    assert tuning.methods["single"].criterion == "learning" and tuning.methods["dpo"].criterion == "last"
    assert [t.rate for t in tuning.methods["l2p"].trials] == [0.03, 0.12]

    # Each number is that of a run that was scored on pairs of the training file.
    for factor, trial in zip((1, 4), tuning.methods["dpo"].trials, strict=True):
        folder = tmp_path / "runs" / "tuning" / f"x{factor}" / "fake" / "fake" / "dpo" / "seed-0"
        record = read_record(folder / "record.json")
        cells = record.scores["preference_accuracy"]
        mean = sum(value or 0.0 for value in cells.value[-1]) / 3
        assert trial.value == record.metrics["preference_accuracy"]["last"] == pytest.approx(mean)
        assert trial.standard_error == pytest.approx(math.hypot(*(e or 0.0 for e in cells.standard_error[-1])) / 3)
        assert record.config["training"]["learning_rate"] == trial.rate and record.config["validation"] == 4
        assert {d.test_pairs for d in record.data.values()} == {4}
        assert tuning.data["fake-upper"]["validation"] == record.data["fake-upper"].test_digest
    assert tuning.methods["dpo"].chosen == best(tuning.methods["dpo"].trials).rate

    # More methods join the table; the runs that are there are not done again.
    code, out, err = call("tune", *FAKE, *SMALL, "--method", "dpo,sft", "--factors", "1,4", "--json")
    assert code == 0, err
    again, _ = read_tuning(table)
    assert list(again.methods) == ["dpo", "l2p", "sft", "single"] and again.methods["dpo"] == tuning.methods["dpo"]
    code, _, err = call("tune", *FAKE, *SMALL, "--method", "dpo", "--factors", "1,2")
    assert code == 2 and "other factors" in err
    for other in ("epochs=2", "sft_epochs=2", "learning_rate=0.02"):
        code, _, err = call("tune", *FAKE, *SMALL, "--method", "dpo", "--factors", "1,4", "--set", other)
        assert code == 2 and f".{other.partition('=')[0]}" in err
    assert read_tuning(table)[0] == again

    # The record of a run with the chosen rate says where it comes from.
    words = ("--tuned", str(table), "--limit", "8", "--json")
    code, _, err = call("run", *FAKE, *words, "--method", "l2p,dpo")
    assert code == 0, err
    _, digest = read_tuning(table)
    for method, setting in (("dpo", "training.learning_rate"), ("l2p", "method.pool_learning_rate")):
        record = read_record(tmp_path / "runs" / "fake" / "fake" / method / "seed-0" / "record.json")
        assert record.tuned is not None
        assert (record.tuned["setting"], record.tuned["digest"]) == (setting, digest)
        assert record.tuned["chosen"] == again.methods[method].chosen
    assert record.method.settings["pool_learning_rate"] == again.methods["l2p"].chosen
    # Who says another rate has that, and the record does not say that it was chosen.
    code, _, err = call("run", *FAKE, *words, "--set", "learning_rate=0.011", "--out", "other")
    assert code == 2 and "no learning rate for 'lifealign'" in err
    code, _, err = call("run", *FAKE, *words, "--method", "dpo", "--set", "learning_rate=0.011", "--out", "other")
    record = read_record(tmp_path / "other" / "fake" / "fake" / "dpo" / "seed-0" / "record.json")
    assert record.tuned is None and record.config["training"]["learning_rate"] == 0.011


def some_tuning(**changes: Any) -> Tuning:
    trials = (
        RateTrial(factor=0.5, rate=0.1, error="The loss is not finite <b>"),
        RateTrial(factor=1, rate=0.2, value=71.25, standard_error=3.0),
        RateTrial(factor=2, rate=0.4, value=70, standard_error=2.0),
    )
    values: dict[str, Any] = {
        "stream": "s",
        "model": "m",
        "tasks": ("a",),
        "seed": 0,
        "validation": 4,
        "factors": (0.5, 1, 2),
        "methods": {"dpo": MethodTuning(setting="training.learning_rate", criterion="last", trials=trials, chosen=0.2)},
    }
    return Tuning.model_validate(values | changes)


def test_the_table_for_people() -> None:
    shown = to_markdown(tuning_grid(some_tuning()))
    assert "| dpo | learning\\_rate | failed (0.1) | **71.2 ±3.0 (0.2)** | 70.0 ±2.0 (0.4) | 0.2 |" in shown
    assert "dpo at 0.1: The loss is not finite \\<b\\>" in shown
    assert "held out of training" in shown and "end of the grid" not in shown
    tuning = some_tuning()
    ended = tuning.methods["dpo"].model_copy(update={"chosen": 0.4})
    shown = to_markdown(tuning_grid(tuning.model_copy(update={"methods": {"dpo": ended}})))
    assert "dpo: the best is at an end of the grid" in shown


def test_an_ablation_has_its_methods_rate(call: Call, tmp_path: Path) -> None:
    tuning = some_tuning()
    write_tuning(tmp_path / "t.json", tuning.model_copy(update={"methods": {"lifealign": tuning.methods["dpo"]}}))
    code, out, err = call("run", *FAKE, "--method", "lifealign-no-focal", "--tuned", "t.json", "--dump-config", "-")
    assert code == 0, err
    code, out, err = call(
        "run", *FAKE[:-1], "--method", "lifealign-no-focal", "--tuned", "t.json", "--dump-config", "-"
    )
    assert "learning_rate: 0.2" in out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "no table of learning rates"),
        (json.dumps({"schema_version": 2}), "schema_version"),
        (some_tuning().model_dump_json().replace("71.25", "NaN"), "no table of learning rates"),
        (some_tuning().model_dump_json().replace('"rate":0.1,', '"rate":-1,'), "greater than 0"),
    ],
)
def test_a_broken_table(call: Call, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "t.json").write_text(text)
    for words in (("run", *FAKE, "--tuned", "t.json", "--method", "dpo"), ("tune", "--show", "t.json")):
        code, _, err = call(*words)
        assert code == 2 and said in err and "Traceback" not in err


def test_a_table_that_is_not_there(call: Call) -> None:
    code, _, err = call("run", *FAKE, "--tuned", "none.json")
    assert code == 2 and "none.json cannot be read" in err and "lifealign-bench tune" in err


@pytest.mark.parametrize("text", ["", "1", "1,1", "0,1", "-1,1", "inf,1", "nan,1", "one,two"])
def test_factors_that_are_no_grid(text: str) -> None:
    with pytest.raises(UsageError, match="factors"):
        parse_factors(text)


def test_the_grid_is_of_one_stream_and_seed(call: Call) -> None:
    code, _, err = call("tune", *FAKE, "--seed", "0,1")
    assert code == 2 and "one --seed" in err
    assert parse_factors("2, 0.5,1") == (0.5, 1.0, 2.0)


def test_a_dry_run_shows_the_grid_and_trains_nothing(call: Call, tmp_path: Path) -> None:
    code, out, err = call("tune", *FAKE, *SMALL, "--method", "dpo", "--dry-run", "--json")
    assert code == 0, err
    assert [entry["state"] for entry in json.loads(out)] == ["new"] * 3
    assert not (tmp_path / "runs").exists() and not (tmp_path / "results").exists()
