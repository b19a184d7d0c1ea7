"""The site of the documentation: it builds without a warning, needs no network, and says what the code says."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lxml import html
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort
from pydantic import BaseModel

from docs.hooks import written
from lifealign_bench.config import TunedRate
from lifealign_bench.data.cardfile import CardModel
from lifealign_bench.data.cards import StreamCard, StreamDefaults, TaskCard, load_task
from lifealign_bench.data.generated import GeneratedSource
from lifealign_bench.data.rewards import load_reward
from lifealign_bench.data.sources import FileSource, GitSource, HubSource, InlineSource
from lifealign_bench.method import PairBatch, Stage
from lifealign_bench.pairs import Message, Pair
from lifealign_bench.results import record as records
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.record import SCHEMA_VERSION, Record, ScoreMatrix
from lifealign_bench.scoring.judging import JUDGES
from lifealign_bench.scoring.scorer import TaskView
from lifealign_bench.scoring.scorers import SCORERS
from tests.browser import find_chromium, open_browser
from tests.command import Call
from tests.documented import ROOT, blocks, pages

pytestmark = pytest.mark.xdist_group("docs")
# Pages that are parts of others, and lines of code.
PARTS = {"performance-notes.md"}


def build_site(folder: Path, **changes: Any) -> list[str]:
    """Build as ``make docs`` does, into ``folder``; what was warned of."""
    warned: list[str] = []

    class Listener(logging.Handler):
        def emit(self, message: logging.LogRecord) -> None:
            warned.append(message.getMessage())

    listener = Listener(logging.WARNING)
    logger = logging.getLogger("mkdocs")
    logger.addHandler(listener)
    try:
        config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), **changes)
        config.plugins.on_startup(command="build", dirty=False)
        try:
            build(config)
        finally:
            config.plugins.on_shutdown()
    finally:
        logger.removeHandler(listener)
    return warned


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        assert build_site(folder) == []
    yield folder


def page(site: Path, name: str) -> Any:
    return html.fromstring((site / name).read_bytes())


def test_every_page_is_there_and_in_the_navigation(site: Path) -> None:
    docs = {p.relative_to(ROOT / "docs") for p in pages()[1:] if p.name not in PARTS}
    links = {
        link.partition("#")[0]
        for link in page(site, "index.html").xpath("//nav[contains(@class, 'md-nav--primary')]//a/@href")
    }
    for name in docs:
        assert (site / name.with_suffix(".html")).is_file(), name
        assert name.with_suffix(".html").as_posix() in links, f"{name} is not in mkdocs.yml's nav"
    built = {p.relative_to(site).with_suffix(".md") for p in site.rglob("*.html")} - {Path("404.md")}
    assert built == docs


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for file in site.rglob("*.html"):
        content = page(site, str(file.relative_to(site)))
        loaded = content.xpath("//script/@src | //img/@src | //iframe/@src | //link[not(@rel='canonical')]/@href")
        assert not [address for address in loaded if re.match(r"(https?:)?//", address)], file
        # The leaderboard's report is whole in itself; every other page loads at least the site's style.
        assert bool(loaded) != (file.name == "report.html"), file
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?(https?:)?//|@import", style.read_text(encoding="utf-8")), style


def test_formulas_are_drawn_by_the_browser_alone(site: Path) -> None:
    protocol = page(site, "protocol.html")
    assert len(protocol.xpath("//math")) > 60 and len(protocol.xpath("//math[@display='block']")) >= 6
    assert not protocol.xpath("//*[contains(@class, 'arithmatex')]")
    assert not [text for text in protocol.xpath("//article//text()") if re.search(r"\\[a-z(\[]|\$", text)]


def test_the_protocol_has_every_metrics_formula() -> None:
    text = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)`.*\$", text, flags=re.MULTILINE)) == set(METRICS)


def test_what_is_kept_elsewhere_is_shown_whole(site: Path) -> None:
    board = (ROOT / "results" / "LEADERBOARD.md").read_text(encoding="utf-8")
    shown = page(site, "results.html").xpath("//article//h3/text()")
    assert re.findall(r"^### (.*)$", board, flags=re.MULTILINE) == [text.strip() for text in shown] != []
    scores = page(site, "protocol.html").xpath("//article//td//code/text()")
    assert {"preference_accuracy", "judged_win_rate_base", "rouge_l"} <= set(scores)
    assert "lifealign" in page(site, "builtin-methods.html").xpath("//article//td//code/text()")
    assert page(site, "tasks.html").xpath("//article//code[contains(., 'type') and contains(., 'my-train.jsonl')]")
    assert "0.2.0" in page(site, "changelog.html").text_content()


def test_the_pages_read_on_github_as_they_are() -> None:
    """Nothing is filled in by the site's builder alone; of the reference the names are written out."""
    for file in (ROOT / "docs").rglob("*.md"):
        text = re.sub(r"<!--.*?-->", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)  # GitHub shows no comments
        assert not re.search(r"-8<-|^::: |^!!! ", text, flags=re.MULTILINE), file.name
        for link in re.findall(r"\]\((?!https?:)([^)#\s]+)", text):
            # A page of the site that is made with it stands under results/ in the repository.
            assert (file.parent / link).exists(), (file.name, link)


def test_what_is_written_out_of_the_reference_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert written.main(["--check"]) == 0, capsys.readouterr().out
    methods = (ROOT / "docs" / "api" / "methods.md").read_text(encoding="utf-8")
    assert written.on_page_markdown(methods).count("::: lifealign_bench.method\n") == 1
    shown = methods + (ROOT / "docs" / "api" / "index.md").read_text(encoding="utf-8")
    for name in ("Stage", "PairBatch", "Run"):
        assert f"#### `{name}`" in shown
    for name in (field.name for part in (Stage, PairBatch) for field in dataclasses.fields(part)):
        assert f"\n| `{name}` |" in methods, name
    for name in ("scores", "metrics", "per_task", "pairs", "responses"):
        assert f"\n| `{name}` |" in shown, name


def test_the_reference_has_docstrings_links_and_settings(site: Path) -> None:
    for name, wanted in {
        "api/methods.html": "lifealign_bench.method.Method.pair_loss",
        "api/tasks.html": "lifealign_bench.data.cards.TaskCard",
        "api/scorers.html": "lifealign_bench.scoring.scorer.Scorer.score",
        "api/metrics.html": "lifealign_bench.results.metrics.backward_transfer",
        "api/config.html": "lifealign_bench.config.TrainingConfig.learning_rate",
        "api/record.html": "lifealign_bench.results.record.read_record",
    }.items():
        content = page(site, name)
        assert content.xpath(f"//*[@id='{wanted}']"), wanted
        text = content.xpath("string(//article)")
        assert not re.search(r":(func|class|meth|data|mod|attr):", text) and not content.xpath("//autoref"), name
    metrics = page(site, "api/metrics.html")
    assert metrics.xpath("//a[@href='#lifealign_bench.results.inference.p_value'][code]")
    settings = page(site, "api/config.html").xpath("string(//article)")
    assert settings.count("peak learning rate of AdamW") == 1 and "description=" not in settings


def test_a_warning_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.md").write_text("[nowhere](nothing.md)", encoding="utf-8")
    with pytest.raises(Abort):
        build_site(tmp_path / "site", docs_dir=str(docs), nav=["index.md"], extra_css=[], extra={}, hooks=[])


def test_a_browser_shows_it_from_disk_without_a_network(site: Path) -> None:
    binary = find_chromium()
    if binary is None:
        pytest.skip("no chromium")
    with open_browser(binary) as browser:
        for name in ("protocol.html", "api/config.html", "results.html"):
            for width in (1280, 390):
                tab = browser.open(site / name, width=width)
                assert tab.run("document.documentElement.scrollWidth <= innerWidth"), (name, width)
                assert all(address.startswith(("file:", "data:")) for address in tab.requests())
                assert tab.errors() == []
        tab = browser.open(site / "api" / "config.html")
        tab.run(
            "(() => { const field = document.querySelector('[data-md-component=search-query]'); field.focus();"
            " field.value = 'randomization'; field.dispatchEvent(new Event('input', {bubbles: true})) })()"
        )
        tab.wait("document.querySelectorAll('.md-search-result__item').length > 0")


def section(page: str, title: str) -> str:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.split(r"^#{1,3} ", text.split(f"# {title}\n", 1)[1], flags=re.MULTILINE)[0]


def rows(text: str) -> dict[str, str]:
    """First cell's words in code to the second cell, of all tables."""
    found = {}
    for first, rest in re.findall(r"^\| (`[^|]*?) \|(.*)\|$", text, flags=re.MULTILINE):
        found.update(dict.fromkeys(re.findall(r"`([^`]+)`", first), rest))
    return found


def test_the_records_fields_are_those_of_the_code() -> None:
    text = section("file-formats.md", "The record")
    shown = rows(text)
    assert set(shown) == {*Record.model_fields, *ScoreMatrix.model_fields}
    assert f"schema version {SCHEMA_VERSION}." in text and shown["schema_version"].strip() == str(SCHEMA_VERSION)
    parts: dict[str, type[BaseModel]] = {
        "method": records.MethodRecord,
        "model": records.ModelRecord,
        "data": records.DataRecord,
        "stages": records.StageRecord,
        "facts": records.ScorerFacts,
        "additions": records.Addition,
        "tuned": TunedRate,
    }
    for field, part in parts.items():
        assert set(re.findall(r"`(\w+)`", shown[field])) >= set(part.model_fields), field
    ability = {*records.AbilityRecord.model_fields, *records.AbilityStage.model_fields}
    assert set(re.findall(r"`(\w+)`", shown["abilities"])) == ability


def test_the_files_of_a_run_are_those_that_are_named(call: Call, tmp_path: Path) -> None:
    words = ("--model", "fake", "--stream", "fake", "--limit", "6", "--set", "max_new_tokens=6")
    assert call("run", "--method", "dpo", *words)[0] == 0
    folder = tmp_path / "runs" / "fake" / "fake" / "dpo" / "seed-0"
    shown = rows(section("file-formats.md", "A run's folder"))
    named = {name.rstrip("/") for name in shown}
    for file in folder.iterdir():
        assert re.sub(r"stage-\d+", "stage-<k>", file.name) in named, file.name
    for file in (folder / "stage-1").iterdir():
        assert file.name in named, file.name
    tables = rows(section("file-formats.md", "tables/"))
    for name, columns in tables.items():
        header = (folder / "tables" / name).read_text(encoding="utf-8").split("\n")[0].split(",")
        assert set(re.findall(r"`([a-z]\w*)`", columns)) == {c for c in header if "_standard_error" not in c}, name
    assert {p.name for p in (folder / "tables").iterdir()} == {*tables, "summary.md", "summary.json"}
    for name in ("log.jsonl", "stage-1/generations.jsonl"):
        line = json.loads((folder / name).read_text(encoding="utf-8").split("\n")[0])
        text = section("file-formats.md", name.removeprefix("stage-1/"))
        assert set(line) <= set(re.findall(r"`(\w+)`", text)), name


def test_the_cards_fields_are_those_of_the_code() -> None:
    assert set(rows(section("tasks.md", "The fields of a task card"))) == set(TaskCard.model_fields) - {"path"}
    sources: dict[str, type[CardModel]] = {
        "file": FileSource,
        "hub": HubSource,
        "git": GitSource,
        "inline": InlineSource,
        "generated": GeneratedSource,
    }
    shown = rows(section("tasks.md", "Sources"))
    for name, source in sources.items():
        assert all(re.search(rf"\b{field}\b", shown[name]) for field in set(source.model_fields) - {"type"}), name
    stream = section("tasks.md", "A stream's card")
    for field in ({*StreamCard.model_fields} - {"path"}) | {*StreamDefaults.model_fields}:
        assert f"`{field}`" in stream, field


def python_of(page: str) -> str:
    """All Python of a page, as one file."""
    return "\n".join(text for _, language, text in blocks(ROOT / "docs" / page) if language == "python")


def code_of(page: str) -> dict[str, Any]:
    """The names that the page's Python makes."""
    text = python_of(page)
    assert text
    names: dict[str, Any] = {"__name__": "shown"}
    exec(compile(text, page, "exec"), names)
    return names


@pytest.mark.parametrize("name", ["config", "metrics", "record"])
def test_the_references_examples_hold(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    code_of(f"api/{name}.md")


def test_the_examples_are_files_that_are_found(tmp_path: Path) -> None:
    for page in ("scorers.md", "judge-code.md", "tasks.md"):
        (tmp_path / f"{page.removesuffix('.md').replace('-', '_')}.py").write_text(python_of(page))
    assert SCORERS.load(str(tmp_path / "scorers.py")).__name__ == "QuestionScorer"
    assert JUDGES.load(f"{tmp_path / 'judge_code.py'}:LengthJudge").in_words
    assert load_reward("tasks.py:rhymes", tmp_path)("The hat.", {"with": "cat"}) == 1.0


def test_the_example_of_a_scorer_scores() -> None:
    scorer = code_of("scorers.md")["QuestionScorer"]()
    pairs = tuple(Pair(f"t/test/{i}", "t", (Message("user", "q"),), "yes", "no") for i in range(3))
    zero = np.zeros((3, 2))
    view = TaskView(load_task("mini-brief"), pairs, zero, zero, zero + 1, ("Why? ", "So.", ""))
    assert scorer.score(view).values["asks_back"].tolist() == [1.0, 0.0, 0.0]


def test_the_example_of_a_judge_judges() -> None:
    from lifealign_bench.scoring.judging.judge import Contest, Question

    code = code_of("judge-code.md")
    judge = code["LengthJudge"]()
    (reply,) = judge.ask([Question((Message("user", "word " * 120),), "1")])
    assert reply.text == "Score: 3" and judge.facts() == {"judge": judge.name}
    contest = Contest((Message("user", "q"),), "short", "much longer", {})
    ((verdict,), _) = code["ShorterJudge"]().decide(load_task("mini-brief"), [contest])
    assert verdict.value == 1.0


def test_the_example_of_a_reward_rewards() -> None:
    rhymes = code_of("tasks.md")["rhymes"]
    assert [rhymes(text, {"with": "cat"}) for text in ("The hat.", "The dog.")] == [1.0, 0.0]
