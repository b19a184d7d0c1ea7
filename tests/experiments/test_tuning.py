"""Settings are chosen on pairs that are never trained on nor tested, by as many trials for all methods."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import Field

from benchmarks.validation_gap import accuracy_at_end, chosen_runs, settings_of, validation_accuracy
from lifealign_bench.config import RunConfig
from lifealign_bench.data.tasks import load_data
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.experiments.request import Words, build_configs
from lifealign_bench.experiments.tunechecks import check_search
from lifealign_bench.experiments.tuning import in_type_of, parse_factors, searches
from lifealign_bench.method import RATE, Method, MethodConfig, Tuned
from lifealign_bench.methods import load_method, method_names, variant_names
from lifealign_bench.reporting.tables.grid import to_markdown
from lifealign_bench.reporting.tables.tuning import tuning_grids
from lifealign_bench.results.guards import BOUNDS, Guard, GuardReading
from lifealign_bench.results.origins import Origins
from lifealign_bench.results.record import read_record
from lifealign_bench.results.recordfields import field_problems
from lifealign_bench.results.sameness import tuning_key
from lifealign_bench.results.tunes import declared, value_in, with_values
from lifealign_bench.results.tuning import (
    MethodTuning,
    SettingTrial,
    Tuning,
    best,
    read_tuning,
    tuned_rate,
    write_tuning,
)
from lifealign_bench.results.verify import submit_run
from lifealign_bench.results.view import RunView
from lifealign_bench.runs.run import run
from lifealign_bench.training.phases import phases_of
from lifealign_bench.training.workload import scored_tasks
from lifealign_bench.util.progress import Progress
from tests.command import Call

FAKE = ("--model", "fake", "--stream", "fake", "--device", "cpu", "--dtype", "float32", "--quiet")
SMALL = ("--train-limit", "8", "--validation", "4")


RATE_SETTING = "training.learning_rate"


def trial(factor: float, value: float | None = None, *spoke: Guard, **more: Any) -> SettingTrial:
    """Of a rate alone; the guards that speak against it."""
    guards = tuple(GuardReading(guard=guard, bound=bound, spoke=guard in spoke) for guard, bound in BOUNDS.items())
    return SettingTrial(
        factors={RATE_SETTING: factor}, settings={RATE_SETTING: factor / 5}, value=value, guards=guards, **more
    )


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
def test_the_best_trial(values: tuple[float | None, ...], factor: float) -> None:
    trials = [trial(f, v) for f, v in zip((0.5, 1.0, 2.0), values, strict=True)]
    assert best(trials).factors == {RATE_SETTING: factor}


def test_a_guard_takes_a_trial_away_while_there_is_another() -> None:
    low, high = trial(1.0, 70.0), trial(2.0, 95.0, "loops")
    assert best([low, high]) is low and best([low, high], guarded=False) is high
    assert best([trial(1.0, 60.0, "drift"), high]) is high
    assert best([trial(1.0, None, error="it broke"), high]) is high


def test_no_trial_at_all() -> None:
    with pytest.raises(BenchError, match="diverged"):
        best([trial(1, error="diverged"), trial(2, error="diverged")])


@pytest.mark.parametrize("name", method_names())
def test_every_method_declares_its_rate_and_its_strength(fake_config: Callable[..., RunConfig], name: str) -> None:
    config = fake_config(method=name)
    found = declared(load_method(name), config, (0.5, 1.0, 2.0))
    changed = with_values(config, {tuned.setting: value_in(config, tuned.setting) / 2 for tuned in found})
    for tuned in found:
        assert value_in(changed, tuned.setting) == value_in(config, tuned.setting) / 2, tuned.setting
    method = load_method(name)(load_method(name).Config.model_validate(changed.method_settings))
    said = changed.supervised.sft_learning_rate if name == "sft" else changed.training.learning_rate
    rate = method.learning_rate("sft" if name == "sft" else "preference", said)
    assert rate == value_in(changed, found[0].setting)


@pytest.mark.parametrize("sft", [False, True])
@pytest.mark.parametrize("name", method_names())
def test_another_rate_is_another_training(fake_config: Callable[..., RunConfig], name: str, sft: bool) -> None:
    config = fake_config(method=name, sft=sft)
    setting = declared(load_method(name), config, (0.5, 1.0, 2.0))[0].setting

    def rates(config: RunConfig) -> list[float]:
        method = load_method(name)(load_method(name).Config.model_validate(config.method_settings))
        return [phase.learning_rate(config, method) for phase in phases_of(config, method)]

    assert rates(with_values(config, {setting: value_in(config, setting) / 2})) != rates(config)


def test_what_holds_the_old_is_tuned_where_there_is_such_a_thing() -> None:
    strengths = {
        name: [tuned.setting.removeprefix("method.") for tuned in load_method(name).tunes[1:]]
        for name in method_names()
    }
    assert {name: own for name, own in strengths.items() if own} == {
        "copr": ["pull"],
        "cppo": ["retention"],
        "dare": ["scale"],
        "derpp": ["alpha"],
        "ema": ["half_life"],
        "ewc": ["strength"],
        "gem": ["strength"],
        "hma": ["alpha"],
        "kl": ["strength"],
        "l2": ["strength"],
        "l2p": ["pull"],
        "lifealign": ["plasticity"],
        "lwf": ["strength"],
        "olora": ["lambda1"],
        "online_dpo": ["beta"],
        "osf": ["preserved"],
        "ties": ["scale"],
        "wise": ["alpha"],
    }


class StrongConfig(MethodConfig):
    """Settings of what follows."""

    strength: float = Field(2.0, ge=0, le=100, description="x")
    off: float = Field(0.0, ge=0, description="x")
    kind: str = Field("a", description="x")
    pairs: int = Field(4, ge=1, description="x")


@pytest.mark.parametrize(
    ("tunes", "said", "remedy"),
    [
        ((), "is no tuple of Tuned", "Write tunes ="),
        ([RATE], "is no tuple of Tuned", "Write tunes ="),
        ((RATE, RATE), "twice", "once"),
        ((RATE, Tuned("method.strenght")), "'method.strenght', which is no setting", "mean 'method.strength'"),
        ((RATE, Tuned("strength")), "'strength', which is no setting", "mean 'method.strength'"),
        ((RATE, Tuned("generation.max_new_tokens")), "which is no setting", "training, supervised or adapter"),
        ((RATE, Tuned("method.strength", (2.0,))), "has 1 usable factor of", "two or more"),
        ((RATE, Tuned("method.strength", (1.0, 1.0))), "has 1 usable factor of", "two or more"),
        ((RATE, Tuned("method.strength", (-1.0, 1.0))), "usable factors of", "positive"),
        ((RATE, Tuned("method.strength", cast("Any", 2.0))), "has 1 usable factor of", "two or more"),
        ((RATE, Tuned(cast("Any", 7))), "is no tuple of Tuned", "Write tunes ="),
        ((RATE, Tuned("method.strength", cast("Any", ("a", 1.0)))), "has 1 usable factor of", "two or more"),
        ((RATE, Tuned("method.strength", (1.0, 2.0), within=cast("Any", "far"))), "beyond the bound far", "within"),
        ((RATE, Tuned("method.strength", (0.1, 1.0), within=5)), "beyond the bound 5", "within"),
        ((RATE, Tuned("method.strength", (1.0, 60.0))), "makes it 120: Input should be less", "allows"),
        ((RATE, Tuned("method.off", (0.1, 1.0))), "is not a positive number", "above 0"),
        ((RATE, Tuned("method.kind", (0.1, 1.0))), "is not a positive number", "above 0"),
        ((RATE, Tuned("method.pairs", (0.3, 1.0))), "valid integer", "allows"),
    ],
)
def test_a_declaration_that_cannot_be_followed_is_refused(
    fake_config: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch, tunes: Any, said: str, remedy: str
) -> None:
    class Strong(Method):
        Config = StrongConfig

    Strong.tunes = tunes
    monkeypatch.setattr("lifealign_bench.results.tunes.method_config", lambda name: StrongConfig)
    with pytest.raises(BenchError) as caught:
        declared(Strong, fake_config(method="dpo"), (0.5, 1.0, 2.0))
    assert said in caught.value.message and remedy in caught.value.remedy


def test_a_whole_number_stays_one(fake_config: Callable[..., RunConfig]) -> None:
    size = with_values(fake_config(), {"training.batch_size": 4.0}).training.batch_size
    assert size == 4 and isinstance(size, int)


def test_what_a_variant_fixes_is_not_tuned(fake_config: Callable[..., RunConfig]) -> None:
    name = "lifealign-no-consolidation"
    found = declared(load_method(name), fake_config(method=name), (0.5, 1.0, 2.0))
    assert [tuned.setting for tuned in found] == [RATE_SETTING]


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


def test_both_ends_are_scored(fake_config: Callable[..., RunConfig]) -> None:
    """The base model, since the guards hold what a setting does against it."""
    tasks = ["fake-upper", "fake-lower", "fake-digits"]
    config = fake_config(evaluate="ends")
    for name, between in (("dpo", [[], [], tasks]), ("single", [[task] for task in tasks]), ("joint", [tasks])):
        method = load_method(name)(load_method(name).Config())
        stages = range(len(between) + 1)
        assert [scored_tasks(config, method, tasks, stage) for stage in stages] == [tasks, *between], name


def test_a_validation_run_is_not_published(fake_config: Callable[..., RunConfig], tmp_path: Path) -> None:
    config = fake_config(validation=3)
    run(config)
    with pytest.raises(BenchError, match="validation pairs"):
        submit_run(config.run_directory(), tmp_path / "results", Origins(None))
    assert not (tmp_path / "results").exists()


FRAGILE = '''
"""Starts anew every stage, and cannot bear a high rate."""
from lifealign_bench.errors import BenchError
from lifealign_bench.method import Method, register_method


@register_method("fragile")
class Fragile(Method):
    """See above."""

    restarts = True

    def check(self, config):
        if config.training.learning_rate > 0.01:
            raise BenchError("The loss is not finite.", "Lower the rate.")
'''
TUNE = {"--factors": "1,4", "--trials": "3", "--seed": "0,1"}


def tune(method: str, **changes: str) -> list[str]:
    """The words of a small search."""
    options = TUNE | {"--method": method} | {f"--{name}": value for name, value in changes.items()}
    return [
        "tune",
        *FAKE,
        *SMALL,
        "--set",
        "max_new_tokens=6",
        "--json",
        *(word for option in options.items() for word in option),
    ]


def test_all_stands_for_the_methods_that_a_table_knows_and_a_name_for_itself(tmp_path: Path) -> None:
    found = some_tuning().methods["dpo"]
    write_tuning(tmp_path / "t.json", some_tuning(methods={"dpo": found, "lifealign": found}))
    words: dict[str, Any] = {"model": "fake", "stream": ["fake"], "tuned": tmp_path / "t.json"}
    choice = build_configs(Words(method=["all,ablations"], **words))
    variants = [name for name in variant_names() if name.startswith(("lifealign-", "dpo-"))]
    assert [config.method for config in choice.configs] == ["dpo", "lifealign", *variants]
    assert all(config.tuned is not None for config in choice.configs)
    (notice,) = (text for text in choice.notices if "has no settings for them" in text)
    assert "Left out, since only --method all or ablations asks for them: agem, " in notice and "ewc" in notice
    with pytest.raises(UsageError, match="no settings for 'ewc'"):
        build_configs(Words(method=["all", "ewc"], **words))
    write_tuning(tmp_path / "t.json", some_tuning(methods={"gone": found}))
    with pytest.raises(UsageError, match="No method is left"):
        build_configs(Words(method=["all"], **words))


def test_help_says_the_seeds_that_are_taken(call: Call) -> None:
    code, out, _ = call("tune", "--help")
    assert code == 0 and "(default: 0,1,2)" in " ".join(out.replace("│", " ").split())
    assert "(default: 0)" in " ".join(call("sweep", "--help")[1].replace("│", " ").split())


@pytest.mark.model
def test_from_the_trials_to_the_record(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fragile.py").write_text(FRAGILE, encoding="utf-8")
    code, out, err = call(*tune("ewc,fragile.py"))
    assert code == 2 and "not finite" in err, err
    table = tmp_path / "runs" / "tuning" / "fake" / "fake.json"  # beside the trials, away from what is published
    tuning, digest = read_tuning(table)
    ewc = tuning.methods["ewc"]
    assert json.loads(out) == json.loads(table.read_text())
    assert (tuning.validation, tuning.seeds, tuning.trials, len(ewc.trials)) == (4, (0, 1), 3, 3)
    assert ewc.settings == (RATE_SETTING, "method.strength") and ewc.criterion == "last"
    assert [t.settings for t in ewc.trials[:2]] == [
        {RATE_SETTING: 0.005, "method.strength": 1e5},
        {RATE_SETTING: 0.02, "method.strength": 1e5},
    ]
    assert ewc.trials[2].settings["method.strength"] in (1e4, 1e6)

    # Each number is a mean over runs that were scored on pairs of the training file.
    for factor, found in zip((1, 4), ewc.trials[:2], strict=True):
        values = []
        for seed in (0, 1):
            folder = tmp_path / "runs" / "tuning" / f"x{factor},1" / "fake" / "fake" / "ewc" / f"seed-{seed}"
            record = read_record(folder / "record.json")
            cells = record.scores["preference_accuracy"]
            values.append(record.metrics["preference_accuracy"]["last"] or 0.0)
            assert values[-1] == pytest.approx(sum(value or 0.0 for value in cells.value[-1]) / 3)
            assert record.config["training"]["learning_rate"] == found.settings[RATE_SETTING]
            assert record.config["validation"] == 4 and {d.test_pairs for d in record.data.values()} == {4}
            assert found.runs[str(seed)].value == values[-1]
        assert found.value == pytest.approx(sum(values) / 2)
        assert found.value is not None and found.low is not None and found.high is not None
        assert found.low <= found.value <= found.high
        assert [reading.guard for reading in found.guards] == ["worse", "loops", "drift"]
        assert all(reading.value is not None for reading in found.guards)
    assert tuning.data["fake-upper"]["validation"] == record.data["fake-upper"].test_digest
    assert ewc.chosen == best(ewc.trials).settings

    # A setting that fails is part of the table, and the search goes on to where none does.
    fragile = tuning.methods["fragile"]
    assert fragile.criterion == "learning"
    assert [t.settings[RATE_SETTING] for t in fragile.trials] == [0.005, 0.02, 0.00125]
    assert fragile.trials[1].value is None and "not finite" in str(fragile.trials[1].error)

    # More methods join a table. The runs that are there are not done again, and another search is no part of it.
    write_tuning(table, tuning.model_copy(update={"methods": {"fragile": fragile}}))
    with monkeypatch.context() as patch:
        patch.setattr("lifealign_bench.cli.tune.perform_sweep", lambda *_: pytest.fail("nothing is left to be done"))
        code, out, err = call(*tune("ewc"))
        assert code == 0 and read_tuning(table)[0] == tuning, err
        code, out, err = call(*tune("ewc"), "--dry-run")
        assert code == 0 and [run["state"] for run in json.loads(out)] == ["finished"] * 6
    # Runs of another type of the weights do not join it, asked for or not.
    code, _, err = call(*tune("ewc"), "--dtype", "bfloat16")
    assert code == 2 and "other dtype" in err, err
    with monkeypatch.context() as patch:
        other_type = tuning.model_copy(update={"hardware": {**tuning.hardware, "dtype": "bfloat16"}})
        patch.setattr("lifealign_bench.cli.tune.fits_table", lambda *_: other_type)
        code, _, err = call(*tune("ewc"))
    assert code == 2 and "different types, bfloat16 and float32" in err and read_tuning(table)[0] == tuning
    # What is not of this search is not taken for a trial that failed.
    code, _, err = call(*tune("ewc"), "--set", "epochs=2", "--results", "elsewhere")
    assert code == 2 and "--out" in err and not (tmp_path / "elsewhere").exists()
    # The models are asked anew, and say of the validation pairs what the table has.
    folder, *_ = chosen_runs(tuning, tmp_path / "runs" / "tuning", "ewc")
    view = RunView.open(folder)
    config = settings_of(view.record, tmp_path, None).model_copy(update={"validation": 4})
    assert accuracy_at_end(folder, config) == pytest.approx(validation_accuracy(view))
    other = {"factors": "1,2", "trials": "4", "seed": "0", "validation": "3"}
    for name, said in zip(other, ("factors", "trials", "seeds", "validation"), strict=True):
        code, _, err = call(*tune("ewc", **{name: other[name]}))
        assert code == 2 and f"other {said}" in err, err
    for setting in ("epochs=2", "sft_epochs=2", "learning_rate=0.02"):
        code, _, err = call(*tune("ewc"), "--set", setting)
        assert code == 2 and f".{setting.partition('=')[0]}" in err
    assert read_tuning(table)[0] == tuning

    # The record of a run with what was chosen says where it comes from.
    use = ("--tuned", str(table), "--limit", "8", "--set", "max_new_tokens=6", "--json")
    code, _, err = call("run", *FAKE, *use, "--method", "ewc")
    assert code == 0, err
    _, digest = read_tuning(table)
    record = read_record(tmp_path / "runs" / "fake" / "fake" / "ewc" / "seed-0" / "record.json")
    assert record.tuned is not None
    assert record.tuned["settings"] == ewc.chosen and record.tuned["chosen"] == ewc.chosen[RATE_SETTING]
    assert (record.tuned["digest"], record.tuned["criterion"], record.tuned["rule"]) == (digest, "last", 2)
    assert record.tuned["seeds"] == [0, 1] and record.tuned["guards"] == []
    assert record.method.settings["strength"] == ewc.chosen["method.strength"]
    assert record.config["training"]["learning_rate"] == ewc.chosen[RATE_SETTING]
    code, _, err = call("run", *FAKE, *use, "--method", "dpo")
    assert code == 2 and "no settings for 'dpo'" in err
    assert not field_problems(record)
    forged = record.model_copy(update={"tuned": {**record.tuned, "settings": {**ewc.chosen, "method.strength": 7.0}}})
    assert any("method.strength" in text and "7.0 was tuned" in text for text in field_problems(forged))


def test_who_says_another_value_has_that_and_is_not_called_tuned(fake_config: Any, tmp_path: Path) -> None:
    chosen = {RATE_SETTING: 0.2, "method.strength": 3e4}
    found = some_tuning().methods["dpo"]
    one = found.trials[1].model_copy(update={"settings": chosen, "factors": dict.fromkeys(chosen, 1.0)})
    update = {"settings": tuple(chosen), "trials": (one,), "chosen": chosen, "without_guards": chosen}
    write_tuning(tmp_path / "t.json", some_tuning(methods={"ewc": found.model_copy(update=update)}))

    def built(*assignments: str) -> RunConfig:
        table = tmp_path / "t.json"
        words = Words(assignments=assignments, model="fake", stream=["fake"], method=["ewc"], tuned=table)
        (config,) = build_configs(words).configs
        return config

    config = built()
    assert config.tuned is not None and config.tuned.values == chosen
    assert {name: value_in(config, name) for name in chosen} == chosen
    for assignment in ("learning_rate=0.011", "strength=3"):
        config = built(assignment)
        name, _, value = assignment.partition("=")
        place = next(setting for setting in chosen if setting.endswith(name))
        assert config.tuned is None and value_in(config, place) == float(value)


def test_a_table_goes_on_in_its_type_of_weights() -> None:
    """Another machine's faster type is not that of the trials that are there."""

    def types(table: Tuning | None, **said: Any) -> set[str]:
        words = Words(model="fake", stream=["fake"], method=["dpo"], seed=["0,1"], **said)
        (search,) = searches(words, (0.5, 1), 3, print)
        return {config.dtype for config in in_type_of(table, search).configs}

    made = some_tuning(hardware={"dtype": "bfloat16"})
    assert types(made) == {"bfloat16"} and types(made, dtype="float32") == {"float32"}
    assert types(None) == types(some_tuning()) == {"auto"}


def test_what_all_trials_had_beside_belongs_to_what_was_chosen(tmp_path: Path) -> None:
    table = tmp_path / "t.json"
    agem = some_tuning().methods["dpo"].model_copy(update={"given": {"memory_pairs": 10}})
    write_tuning(table, some_tuning(methods={"agem": agem, "dpo": some_tuning().methods["dpo"]}))

    def built(*assignments: str) -> RunConfig:
        words = Words(assignments=assignments, model="fake", stream=["fake"], method=["agem"], tuned=table)
        (config,) = build_configs(words).configs
        return config

    config = built()
    assert config.method_settings == {"memory_pairs": 10} and config.tuned is not None
    assert config.tuned.given == {"memory_pairs": 10}
    told = built("memory_pairs=11")
    assert told.method_settings == {"memory_pairs": 11} and told.tuned is None
    shown = "\n".join(to_markdown(grid) for grid in tuning_grids(read_tuning(table)[0])).replace("\\", "")
    assert (
        "agem: memory_pairs 10 in all trials, and in runs that take this." in shown
        and shown.count("in all trials") == 1
    )


@pytest.mark.parametrize("where", ["given", "chosen"])
def test_a_setting_that_the_method_has_no_more_is_named(where: str, call: Call, tmp_path: Path) -> None:
    dpo = some_tuning().methods["dpo"]
    if where == "given":
        found = dpo.model_copy(update={"given": {"gone": 1}})
    else:
        chosen = {**dpo.chosen, "method.gone": 1.0}
        one = dpo.trials[1].model_copy(update={"settings": chosen, "factors": dict.fromkeys(chosen, 1.0)})
        update = {"settings": tuple(chosen), "trials": (one,), "chosen": chosen, "without_guards": chosen, "ends": {}}
        found = dpo.model_copy(update=update)
    write_tuning(tmp_path / "t.json", some_tuning(methods={"dpo": found}))
    code, _, err = call("run", *FAKE, "--method", "dpo", "--tuned", str(tmp_path / "t.json"), "--dry-run")
    assert code == 2 and "method.gone for dpo, which has no such setting" in err and "tune --method dpo" in err


def some_tuning(**changes: Any) -> Tuning:
    trials = (
        trial(0.5, error="The loss is not finite <b>"),
        trial(1, 71.25, standard_error=3.0, low=65.0, high=77.5),
        trial(2, 70, standard_error=2.0, low=66.0, high=74.0),
    )
    chosen = {RATE_SETTING: 0.2}
    dpo = MethodTuning(
        settings=(RATE_SETTING,),
        criterion="last",
        trials=trials,
        chosen=chosen,
        without_guards=chosen,
        ends={RATE_SETTING: "inside"},
    )
    values: dict[str, Any] = {
        "stream": "s",
        "model": "m",
        "tasks": ("a",),
        "seeds": (0, 1),
        "validation": 4,
        "factors": (0.5, 1, 2),
        "trials": 3,
        "bounds": BOUNDS,
        "methods": {"dpo": dpo},
    }
    return Tuning.model_validate(values | changes)


def test_the_table_for_people() -> None:
    shown = "\n".join(to_markdown(grid) for grid in tuning_grids(some_tuning())).replace("\\", "")
    assert "| dpo | learning_rate 0.2 | 71.2 [65.0, 77.5] | learning_rate 0.1 to 0.4 | — | — |" in shown
    assert "| dpo | learning_rate 0.2 | **71.2 [65.0, 77.5]** | — | — | — | — |" in shown
    assert "dpo at learning_rate 0.1: The loss is not finite <b>" in shown
    assert "whole clusters" in shown and "the best is at" not in shown and "Every method had 3 trials" in shown


OLD = Path(__file__).parents[2] / "results" / "tuning" / "mini" / "smollm2-135m.json"


def test_a_table_of_the_old_rule_is_read_and_marked_as_such(call: Call, tmp_path: Path) -> None:
    tuning, _ = read_tuning(OLD)
    written = json.loads(OLD.read_text(encoding="utf-8"))
    assert (tuning.rule, tuning.seeds, tuning.trials) == (1, (0,), 0)
    for name, found in written["methods"].items():
        here = tuning.methods[name]
        assert here.chosen == {found["setting"]: found["chosen"]} and here.criterion == found["criterion"]
        assert [(t.value, t.standard_error, t.tasks) for t in here.trials] == [
            (t["value"], t["standard_error"], t["tasks"]) for t in found["trials"]
        ]
    code, out, _ = call("tune", "--show", str(OLD))
    assert code == 0 and "Chosen by the old rule" in out
    (tmp_path / "runs" / "tuning" / "fake").mkdir(parents=True)
    shutil.copy(OLD, tmp_path / "runs" / "tuning" / "fake" / "fake.json")
    code, _, err = call("tune", *FAKE, *SMALL, "--method", "dpo")
    assert code == 2 and "made by the old rule" in err and "--results" in err
    # A run takes its rate, and its record says by which rule.
    tuned = tuned_rate(OLD, "ewc")
    assert (tuned.rule, tuned.values, tuned.seeds) == (1, {RATE_SETTING: 0.0014}, (0,))


def test_what_a_guard_refused_stands_in_the_record(tmp_path: Path) -> None:
    trials = (trial(1, 71.0), trial(2, 90.0, "worse", "loops"))
    found = MethodTuning(
        settings=(RATE_SETTING,), criterion="last", trials=trials,
        chosen={RATE_SETTING: 0.2}, without_guards={RATE_SETTING: 0.4},
    )  # fmt: skip
    write_tuning(tmp_path / "t.json", some_tuning(methods={"dpo": found}))
    tuned = tuned_rate(tmp_path / "t.json", "dpo")
    assert tuned.guards == ("worse", "loops") and tuned.without_guards == {RATE_SETTING: 0.4}


def test_an_ablation_has_its_methods_settings_but_for_what_it_fixes(call: Call, tmp_path: Path) -> None:
    chosen = {RATE_SETTING: 0.2, "method.plasticity": 0.25}
    found = some_tuning().methods["dpo"]
    one = found.trials[1].model_copy(
        update={"settings": chosen, "factors": {RATE_SETTING: 1.0, "method.plasticity": 0.5}}
    )
    own = found.model_copy(
        update={"settings": tuple(chosen), "trials": (one,), "chosen": chosen, "without_guards": chosen}
    )
    write_tuning(tmp_path / "t.json", some_tuning(methods={"lifealign": own}))
    for name, fixed in (("lifealign-no-focal", False), ("lifealign-no-consolidation", True)):
        code, out, err = call("run", *FAKE[:-1], "--method", name, "--tuned", "t.json", "--dump-config", "-")
        assert code == 0, err
        assert "learning_rate: 0.2" in out and ("plasticity: 0.25" in out) is not fixed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "no table of tuned settings"),
        (json.dumps({"schema_version": 3}), "schema_version"),
        (some_tuning().model_dump_json().replace("71.25", "NaN"), "no table of tuned settings"),
        (some_tuning().model_dump_json().replace('"trials":3', '"trials":-1'), "greater than"),
        (some_tuning().model_dump_json().replace('":2.0}', '":-2.0}'), "greater than"),
        (
            some_tuning().model_dump_json().replace('"chosen":{"training.', '"chosen":{"other.'),
            "not everywhere the sett",
        ),
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


def test_the_search_is_of_one_stream_and_has_trials_enough(call: Call) -> None:
    code, _, err = call("tune", *FAKE, "--stream", "mini")
    assert code == 2 and "one --stream" in err
    for number in ("2", "31"):
        code, _, err = call("tune", *FAKE, *SMALL, "--trials", number)
        assert code == 2 and "from 3 to 30" in err
    assert parse_factors("2, 0.5,1") == (0.5, 1.0, 2.0)


def test_pairs_that_cannot_be_held_out_are_refused_before_any_run(call: Call, tmp_path: Path) -> None:
    code, _, err = call("tune", *FAKE, "--method", "dpo", "--validation", "50")
    assert code == 2 and "Task fake-upper has 20 training pairs" in err and "--validation 10" in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--device", "cuda:1"), "names one of several GPUs"),
        (("--model", "./nothing"), "no folder ./nothing with a model"),
        (("--results", "file/tables"), "file is no folder"),
        (("--out", "file"), "file is no folder"),
    ],
)
def test_what_would_fail_in_every_run_is_refused_before_the_first(
    call: Call, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = call(*tune("ewc"), *words)
    assert code == 2 and said in err and not (tmp_path / "runs").exists()


def test_a_table_of_other_pairs_is_refused_before_the_first_run(call: Call, tmp_path: Path) -> None:
    words: dict[str, Any] = {"method": ["dpo"], "stream": ["fake"], "model": "fake", "seed": ["0", "1"]}
    own = searches(Words(**words, validation=4, limit=8), (0.5, 1.0), 3, lambda _: None)
    table = tmp_path / "table.json"
    settings, data = tuning_key(own[0].config), load_data(own[0].config, Progress())
    pairs = {name: {"train": task.hashes()["train"], "validation": "other"} for name, task in data.items()}
    there = some_tuning(data=pairs, settings=settings)
    with pytest.raises(UsageError, match="was made with other pairs"):
        check_search(own[0].config, table, there, data)
    same = {name: {"train": t.hashes()["train"], "validation": t.hashes()["test"]} for name, t in data.items()}
    check_search(own[0].config, table, there.model_copy(update={"data": same}), data)


def test_a_dry_run_shows_the_first_trials_and_trains_nothing(call: Call, tmp_path: Path) -> None:
    """With the seeds of the published procedure, where none are said."""
    code, out, err = call("tune", *FAKE, *SMALL, "--method", "dpo", "--dry-run", "--json")
    assert code == 0, err
    assert [(entry["state"], entry["seed"]) for entry in json.loads(out)] == [("new", seed) for seed in (0, 1, 2)] * 3
    assert not (tmp_path / "runs").exists() and not (tmp_path / "results").exists()
