"""A setting stands in one place: a field that is added to RunConfig is everywhere where settings are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from lifealign_bench.config import SECTIONS, RunConfig, settings_of
from lifealign_bench.reporting.tables.settings import settings_page
from tests.places import ROOT

# RunConfig gets two fields, one with a flag and one for --set, before anything else is imported.
CODE = """
import sys
from typing import Annotated
from pydantic import Field
import lifealign_bench.config as module
from lifealign_bench.config import RunConfig, Setting


class Extended(RunConfig):
    patience: Annotated[int, Setting("--patience", "Machine", unit="stages", compare="never")] = Field(
        3, ge=1, description="stages without gain until a run ends"
    )
    dropout: Annotated[float, Setting(unit="share", compare="free")] = Field(0.0, ge=0, description="share left")


module.RunConfig = Extended
from lifealign_bench.cli import main

main(sys.argv[1:])
"""


def call(*words: str, folder: Path) -> str:
    """What the command says with the added fields."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "160"}
    done = subprocess.run(
        [sys.executable, "-c", CODE, *words], capture_output=True, text=True, cwd=folder, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_field_that_is_added_is_a_flag_a_set_a_key_a_line_of_the_dump_and_listed(tmp_path: Path) -> None:
    help_text = " ".join(call("sweep", "--help", folder=tmp_path).split())
    assert "--patience" in help_text and "Stages without gain until a run ends (default: 3)" in help_text
    assert "--dropout" not in help_text
    asked = ("run", "--method", "dpo", "--stream", "fake", "--model", "fake")
    dump = call(*asked, "--patience", "5", "--set", "dropout=0.25", "--dump-config", "-", folder=tmp_path)
    assert "patience: 5  # stages without gain until a run ends\n" in dump
    assert "dropout: 0.25  # share left\n" in dump
    (tmp_path / "run.yaml").write_text(dump)
    assert call("run", "--config", "run.yaml", "--dump-config", "-", folder=tmp_path) == dump
    small = call("show", "small", folder=tmp_path)
    assert any(line.split()[:2] == ["patience", "3"] for line in small.splitlines())
    assert any(line.split()[:2] == ["dropout", "0"] for line in small.splitlines())
    listed = call("show", "settings", folder=tmp_path)
    assert any(line.split()[:4] == ["patience", "3", "stages", "--patience"] for line in listed.splitlines())


def test_a_field_that_is_added_is_part_of_who_a_run_is_and_of_comparison(tmp_path: Path) -> None:
    code = CODE.partition("from lifealign_bench.cli")[0] + (
        "import json\n"
        "from lifealign_bench.results.sameness import tuning_key\n"
        "config = Extended(method='dpo', stream='s', tasks=('a',), patience=5)\n"
        "print(json.dumps([config.identity()['patience'], config.hash() == config.model_copy(update={'patience': 3})"
        ".hash(), sorted(tuning_key(config))]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=300)
    patience, same, key = json.loads(done.stdout)
    assert (patience, same) == (5, False)
    assert "patience" in key and "dropout" not in key


def test_every_setting_says_what_it_means() -> None:
    for place, model, setting in settings_of(RunConfig):
        if setting.asked or setting.flag:
            assert model.model_fields[place.rpartition(".")[2]].description, place
    names = [place.rpartition(".")[2] for place, _, _ in settings_of(RunConfig)]
    assert len(set(names)) == len(names), "--set knows a setting without its section"


def test_other_names_are_no_setting_s_own_and_of_one_setting_alone() -> None:
    others = [name for _, _, setting in settings_of(RunConfig) for name in setting.aka]
    known = {place.rpartition(".")[2] for place, _, _ in settings_of(RunConfig)} | set(SECTIONS)
    assert len(set(others)) == len(others) and not known & set(others)


def test_the_page_of_settings_is_up_to_date() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert page == settings_page(), "python -m lifealign_bench.reporting.tables.settings > docs/settings.md"
