"""What follows from the settings of a run stays as it was when published runs were made: who a run is, what may differ
in runs that are compared, flags, ``--set``, config files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from lifealign_bench.cli import app
from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.experiments.assignments import setting_fields
from lifealign_bench.experiments.configfile import dump_configs
from lifealign_bench.experiments.request import Words, build_configs
from lifealign_bench.results.sameness import run_key, tuning_key
from lifealign_bench.results.view import RunView
from lifealign_bench.runs.directory import SCORING

EXPECTED: dict[str, Any] = json.loads((Path(__file__).parent / "setting_sets.json").read_text(encoding="utf-8"))
ROOT = Path(__file__).parents[2]
RECORD = ROOT / "results" / "mini" / "smollm2-135m" / "dpo" / "seed-0.json"
VIEW = RunView.open(RECORD)
PLAIN = RunConfig(method="dpo", stream="mini", tasks=("a", "b"))
ODD = RunConfig.model_validate(
    {
        "method": "x/mine.py",
        "method_settings": {"depth": 4},
        "stream": "a,b",
        "tasks": ["a", "b"],
        "validation": 7,
        "train_limit": 3,
        "opponents": ["base", "runs/mini/m/dpo/seed-1"],
        "judge": "server:m",
        "judge_url": "http://127.0.0.1/v1",
        "judge_budget": 3,
        "judging": {"judge_retries": 1, "judge_max_tokens": 9},
        "report_to": ["wandb"],
        "out": "elsewhere",
        "data_dir": "data",
        "threads": 3,
        "task_cards": {"a": "a.yaml"},
    }
)


def options_of(command: str) -> list[list[str]]:
    """The names of every option, in an order that says nothing of the help's."""
    group: Any = typer.main.get_command(app)
    found = group.get_command(typer.Context(group), command)
    return sorted(sorted([*p.opts, *p.secondary_opts]) for p in found.params if p.param_type_name == "option")


def answer_to(name: str) -> str:
    """What ``--set name=1`` says where it is refused; empty where it is taken."""
    try:
        build_configs(Words(method=("dpo",), stream=("fake",), assignments=(f"{name}=1",)))
    except UsageError as error:
        return f"{error.message} {error.remedy}"
    return ""


def known_keys(tmp_path: Path) -> list[str]:
    """What a config file may say."""
    (tmp_path / "x.yaml").write_text("zzzzzzzz: 1\n")
    with pytest.raises(UsageError) as refused:
        build_configs(Words(config=tmp_path / "x.yaml"))
    return sorted(refused.value.remedy.partition("Known here: ")[2].rstrip(".").split(", "))


def test_who_a_run_is() -> None:
    assert json.loads(json.dumps(PLAIN.identity())) == EXPECTED["identity"]
    assert list(PLAIN.identity()) == list(EXPECTED["identity"]), "records list settings in this order"
    assert json.loads(json.dumps(ODD.identity())) == EXPECTED["odd identity"]
    assert [PLAIN.hash(), ODD.hash()] == EXPECTED["hashes"]


@pytest.mark.parametrize("score", ["preference_accuracy", "reward_model"])
def test_what_runs_that_are_compared_have_in_common(score: str) -> None:
    assert sorted(run_key(VIEW.record, score, VIEW.pair_ids)) == EXPECTED["compared"][score]


def test_what_trials_of_a_grid_have_in_common() -> None:
    assert sorted(tuning_key(PLAIN)) == EXPECTED["tuned"]


def test_what_is_only_about_scoring() -> None:
    assert sorted(SCORING) == EXPECTED["scoring"]


@pytest.mark.parametrize("command", ["run", "sweep", "tune", "score", "reproduce"])
def test_flags(command: str) -> None:
    assert options_of(command) == EXPECTED["flags"][command]


def test_names_of_set() -> None:
    assert {name: section for name, (section, _) in setting_fields().items()} == EXPECTED["set"]


def test_settings_that_have_a_flag_name_it() -> None:
    assert {name: answer_to(name) for name in EXPECTED["flag of"]} == EXPECTED["flag of"]


def test_keys_of_a_config_file(tmp_path: Path) -> None:
    assert known_keys(tmp_path) == EXPECTED["config file"]


def test_the_dump() -> None:
    assert dump_configs([PLAIN]).splitlines() == EXPECTED["dump"]
