"""What the README shows works."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import yaml

from lifealign_bench.config import RunConfig
from lifealign_bench.data.cards import StreamCard, TaskCard
from lifealign_bench.methods import method_names
from lifealign_bench.reporting.made import BEGIN, stale_files
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.origins import Origins
from lifealign_bench.results.verify import check_results
from lifealign_bench.runs.run import run
from lifealign_bench.scoring.scorers import SCORERS
from tests.places import ROOT

RESULTS = ROOT / "results"
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


def test_the_example_method_runs(fake_config: Callable[..., RunConfig], tmp_path: Path) -> None:
    (source,) = (text for text in blocks("python") if "@register_method" in text)
    assert len(source.splitlines()) <= 40
    file = tmp_path / "averaged.py"
    file.write_text(source, encoding="utf-8")
    record = run(fake_config(method=str(file), method_settings={"smoothing": 0.2}))
    assert record.status == "complete" and record.method.name == "averaged"
    assert record.method.settings == {"smoothing": 0.2}


def test_the_leaderboard_and_the_tables_are_those_of_the_records() -> None:
    assert not stale_files(RESULTS), "run: lifealign-bench leaderboard --write"
    assert BEGIN in README


def test_the_published_records_hold() -> None:
    states = check_results(RESULTS, Origins())
    assert len(states) > 10 and not [state for state in states if not state.good]


def test_the_example_cards_are_valid() -> None:
    task, stream = (yaml.safe_load(text) for text in blocks("yaml"))
    assert TaskCard.model_validate(task).columns.prompt == "question"
    assert StreamCard.model_validate(stream).defaults.train_limit == 200


def test_every_metric_score_and_method_is_explained() -> None:
    rows = {cell.strip() for cell in re.findall(r"^\|([^|]*)\|", README, flags=re.MULTILINE)}
    named = {name for row in rows for name in re.findall(r"`([\w]+)`", row)}
    wanted = {*METRICS, *(info.name for name in SCORERS.names() for info in SCORERS.load(name).scores), *method_names()}
    assert wanted <= named, wanted - named
