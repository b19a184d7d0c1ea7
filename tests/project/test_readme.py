"""The README is one page, and what it and the pages that it leads to show works."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from lifealign_bench.config import RunConfig
from lifealign_bench.data.cards import StreamCard, TaskCard
from lifealign_bench.methods import method_names
from lifealign_bench.reporting.made import BEGIN, END, stale_files
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.origins import Origins
from lifealign_bench.results.verify import check_results
from lifealign_bench.runs.run import run
from lifealign_bench.scoring.scorers import SCORERS
from tests.documented import blocks
from tests.places import ROOT

RESULTS = ROOT / "results"
README = (ROOT / "README.md").read_text(encoding="utf-8")


def shown(page: str, language: str) -> list[str]:
    """The page's blocks of code in a language."""
    return [text for _, found, text in blocks(ROOT / page) if found == language]


def test_it_is_one_page() -> None:
    assert len(README.encode("utf-8")) <= 8000


def test_its_board_has_few_columns_and_a_line_for_each_term() -> None:
    made = README.partition(BEGIN)[2].partition(END)[0]
    (head,) = re.findall(r"^\| (.*method.*) \|$", made, flags=re.MULTILINE)
    terms = set(re.findall(r"^([\w ]+): ", made, flags=re.MULTILINE))
    # Of the methods' seeds, since some have more than others.
    assert head.split(" | ") == ["rank set", "method", "last", "learning", "forgetting", "accuracy", "seeds"]
    assert {"rank set", "bound", "last", "learning", "forgetting", "win rate", "accuracy", "In brackets"} <= terms


def test_every_page_in_docs_is_one_link_away_or_two() -> None:
    """From the README, or from the page of the documentation that it calls its home."""
    starts = (ROOT / "README.md", ROOT / "docs" / "index.md", ROOT / "docs" / "commands.md")
    linked = {
        (start.parent / link).resolve()
        for start in starts
        for link in re.findall(r"\]\(([^)#:]+\.md)", start.read_text(encoding="utf-8"))
    }
    parts = {"index.md", "performance-notes.md"}
    wanted = {page for page in (ROOT / "docs").glob("*.md") if page.name not in parts}
    assert wanted <= linked, sorted(page.name for page in wanted - linked)


@pytest.mark.parametrize(("number", "name", "settings"), [(0, "averaged", {"smoothing": 0.2}), (1, "best_of_four", {})])
def test_the_example_methods_run(
    fake_config: Callable[..., RunConfig], tmp_path: Path, number: int, name: str, settings: dict[str, float]
) -> None:
    sources = [text for text in shown("docs/methods.md", "python") if "@register_method" in text]
    assert len(sources) == 2 and len(sources[number].splitlines()) <= 40
    file = tmp_path / f"{name}.py"
    file.write_text(sources[number], encoding="utf-8")
    record = run(fake_config(method=str(file), method_settings=settings, tasks=("fake-upper", "fake-lower")))
    assert record.status == "complete" and record.method.name == name
    assert record.method.settings == settings


def test_the_leaderboard_and_the_tables_are_those_of_the_records() -> None:
    assert not stale_files(RESULTS), "run: lifealign-bench leaderboard --write"
    assert BEGIN in README


def test_the_published_records_hold() -> None:
    states = check_results(RESULTS, Origins())
    assert len(states) > 10 and not [state for state in states if not state.good]


def test_the_example_cards_are_valid() -> None:
    task, stream = (yaml.safe_load(text) for text in shown("docs/tasks.md", "yaml"))
    assert TaskCard.model_validate(task).columns.prompt == "question"
    assert StreamCard.model_validate(stream).defaults.train_limit == 200


def test_every_metric_score_and_method_is_explained() -> None:
    text = "".join((ROOT / "docs" / page).read_text(encoding="utf-8") for page in ("protocol.md", "builtin-methods.md"))
    rows = {cell.strip() for cell in re.findall(r"^\|([^|]*)\|", text, flags=re.MULTILINE)}
    named = {name for row in rows for name in re.findall(r"`([\w]+)`", row)}
    wanted = {*METRICS, *(info.name for name in SCORERS.names() for info in SCORERS.load(name).scores), *method_names()}
    assert wanted <= named, wanted - named
