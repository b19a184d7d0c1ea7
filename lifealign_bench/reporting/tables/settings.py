"""Every setting of a run: how it is said, its default, its unit and what it means."""

from __future__ import annotations

import sys
from typing import Any

from pydantic import BaseModel

from lifealign_bench.config import PRESETS, SECTIONS, RunConfig, Setting, settings_of
from lifealign_bench.reporting.tables.grid import Grid, to_markdown
from lifealign_bench.util.text import plain_value

# What stands for all of them where a name is asked for.
SETTINGS = "settings"

_HEADS = ("setting", "default", "unit", "given by", "meaning")

_HEAD = """\
# Settings

Every setting of a run, as `lifealign-bench show settings` lists them. A setting that has a flag is given by it, every
other one by `--set name=value`, or with its section, `--set training.epochs=2`. In a
[config file](configuration.md#a-run-as-a-file) they have the names below. A method has settings of its own:
`lifealign-bench show METHOD`. An option that does not exist but is a setting, such as `--learning-rate` or `--lr`, is
answered with what to write instead.

This page is made from the code: `python -m lifealign_bench.reporting.tables.settings > docs/settings.md`.
"""


def settings_grids() -> list[Grid]:
    """The settings of a run, then those of each section."""
    grids = []
    for section in ("", *SECTIONS):
        rows = tuple(_row(*found) for found in _asked() if found[0].rpartition(".")[0] == section)
        title = f"Settings of {section.replace('_', ' ')}" if section else "Settings of a run"
        doc = (SECTIONS[section].__doc__ or "").partition("\n")[0].replace("``", "") if section else ""
        grids.append(Grid(title, _HEADS, rows, (doc,) if doc else (), prose=(4,), labels=len(_HEADS)))
    return grids


def defaults_grid() -> Grid:
    """What every setting is where nobody says it: the preset ``small``."""
    rows = tuple((place.rpartition(".")[2], _default(model, place)) for place, model, _ in _asked())
    notes = ("Flags and --set change them; a stream's card has defaults of its own.",)
    return Grid("Settings", ("setting", "value"), rows, notes, prose=(1,))


def settings_page() -> str:
    """The page of the documentation."""
    tables = (to_markdown(grid).replace("### ", "## ", 1) for grid in settings_grids())
    return "\n".join([_HEAD, *tables]).rstrip("\n") + "\n"


def _asked() -> list[tuple[str, type[BaseModel], Setting]]:
    return [found for found in settings_of(RunConfig) if found[2].asked or found[2].flag]


def _row(place: str, model: type[BaseModel], setting: Setting) -> tuple[str, ...]:
    key = place.rpartition(".")[2]
    said = setting.flag.partition(" ")[0].replace("/", ", ") or f"--set {key}="
    said = "--set" if key == "method_settings" else said
    return key, _default(model, place), setting.unit, said, model.model_fields[key].description or ""


def _default(model: type[BaseModel], place: str) -> str:
    info = model.model_fields[place.rpartition(".")[2]]
    value: Any = PRESETS["small"].get(place, info.get_default(call_default_factory=True))
    text = plain_value(value)
    return "" if info.is_required() else text.lower() if isinstance(value, bool) else text


if __name__ == "__main__":
    sys.stdout.write(settings_page())
