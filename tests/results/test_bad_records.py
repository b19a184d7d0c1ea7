"""Every kind of bad record before every command that reads records: it is told, nothing is overwritten or runs wild."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from lxml import html

from lifealign_bench.cli.leaderboard import FORMATS
from lifealign_bench.results.published import pair_scores_file
from tests.command import Call
from tests.published_records import config_hash, publish, rewrite

Change = Callable[[dict[str, Any]], None]
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f\u202e]")
HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e\\input{x}|../../x"


@dataclass(frozen=True)
class Bad:
    """A kind of bad record.

    Args:
        change: what is wrong with its content; None: its text is ``text``.
        said: what leaderboard and report say of it.
        verify, compare: what these say of it; empty: to them it is right, by itself or beside the other.
        refused: what submit says of its run.
        sealed: whether its digest fits.
    """

    said: str
    verify: str
    compare: str
    refused: str
    change: Change | None = None
    text: str = "{"
    sealed: bool = True


def _config(**values: Any) -> Change:
    def change(content: dict[str, Any]) -> None:
        content["config"] |= values
        content["config_hash"] = config_hash(content["config"])

    return change


def _stage(content: dict[str, Any]) -> None:
    del content["stages"][2]


def _number(content: dict[str, Any]) -> None:
    content["scores"]["preference_accuracy"]["value"][3][0] = 12.5


def _metric(content: dict[str, Any]) -> None:
    content["metrics"]["preference_accuracy"]["last"] = 99.0


def _digest(content: dict[str, Any]) -> None:
    content["data"] = {task: data | {"test_digest": "0" * 64} for task, data in content["data"].items()}


def _revision(content: dict[str, Any]) -> None:
    content["model"] |= {"revision": "other", "fingerprint": "other"}


def _hostile(content: dict[str, Any]) -> None:
    content["method"]["name"] = HOSTILE
    _config(stream=HOSTILE, model=HOSTILE)(content)


KINDS = {
    "not JSON": Bad("not JSON", "not JSON", "not JSON", "not JSON"),
    "NaN": Bad("NaN", "NaN", "NaN", "NaN", text='{"schema_version": 2, "x": NaN}'),
    "future schema": Bad("schema 99", "schema 99", "schema 99", "schema 99", lambda c: c.update(schema_version=99)),
    "no seed": Bad("lacks", "seed", "lacks", "seed", lambda c: c["config"].pop("seed")),
    "a stage missing": Bad("stage 2 is missing", "stage 2 is missing", "", "stage 2 is missing", _stage),
    "an edited cell": Bad("score matrix gives|not those of", "its pairs give", "", "its pairs give", _number),
    "an edited metric": Bad("score matrix gives", "score matrix gives", "", "score matrix gives", _metric),
    "an edit without a new digest": Bad("", "it was edited", "", "", _config(token_budget=77), sealed=False),
    "other data": Bad("pairs of one are not the same", "", "", "", _digest),
    "another model of the name": Bad("model's revision is not the same", "", "", "", _revision),
    "hostile names": Bad("", "cannot be that of a published record", "", "cannot be that of", _hostile),
}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Three good records, so that the fourth is the odd one."""
    for number, method in enumerate(("dpo", "ewc", "replay")):
        publish(tmp_path / "results", method, level=0.6 + number / 10)
    return tmp_path / "results"


def spoil(results: Path, bad: Bad) -> Path:
    place = publish(results, "odd")
    if bad.change is None:
        place.write_text(bad.text, encoding="utf-8")
        return place
    content = json.loads(place.read_text(encoding="utf-8"))
    bad.change(content)
    rewrite(place, content, bad.sealed)
    return place


def quiet(code: int, out: str, err: str) -> str:
    """What was shown: a clear message, and nothing that does something to a terminal."""
    assert "Traceback" not in err and "should not happen" not in err, err
    assert not CONTROL.search(out + err)
    assert code in (0, 2)
    assert code == 0 or "error: " in err
    return " ".join((out + err).split())


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("kind", KINDS)
def test_the_leaderboard_lists_it_apart_in_every_form(results: Path, kind: str, call: Call) -> None:
    bad = KINDS[kind]
    spoil(results, bad)
    before = snapshot(results)
    for form in FORMATS:
        code, out, err = call("leaderboard", str(results), "--format", form)
        shown = quiet(code, out, err)
        assert code == 0 and "replay" in shown
        assert re.search(
            bad.said, re.sub(r"\\(?=[^a-zA-Z])|&#39;|&#x27;", lambda m: "'" if "&" in m[0] else "", shown)
        ), (
            form,
            shown,
        )
        if form == "html":
            assert not html.document_fromstring(out).xpath("//script[contains(., 'alert')]")
    assert snapshot(results) == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_of_the_folder_lists_it_apart(results: Path, kind: str, call: Call, tmp_path: Path) -> None:
    bad = KINDS[kind]
    place = spoil(results, bad)
    before = snapshot(results)
    code, out, err = call("report", str(results))
    quiet(code, out, err)
    assert code == 0 and snapshot(results) == before
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    tree = html.document_fromstring(text)
    assert re.search(bad.said, " ".join(tree.text_content().split()))
    assert not tree.xpath("//script[contains(., 'alert(1)') and not(@type)]") and not CONTROL.search(text)
    # A record that is named has to be one.
    code, out, err = call("report", str(place), "--out", "one.html")
    shown = quiet(code, out, err)
    if bad.change is None or kind in ("future schema", "no seed"):
        assert code == 2 and re.search(bad.said, shown) and not (tmp_path / "one.html").exists()


def test_a_report_of_nothing_but_broken_records_writes_nothing(tmp_path: Path, call: Call) -> None:
    spoil(tmp_path / "results", KINDS["not JSON"])
    code, out, err = call("report", "results")
    assert code == 2 and "not JSON" in quiet(code, out, err) and not (tmp_path / "report.html").exists()


def test_a_comparison_lists_it_apart_as_well(results: Path, call: Call, tmp_path: Path) -> None:
    for file in sorted(results.rglob("seed-0.json")):
        folder = tmp_path / "runs" / file.parent.name
        folder.mkdir(parents=True)
        shutil.copyfile(file, folder / "record.json")
    (tmp_path / "runs" / "ewc" / "record.json").write_text("{", encoding="utf-8")
    code, out, err = call("report", "runs")
    assert code == 0 and "comparison" in out and "1 record cannot be read" in quiet(code, out, err)
    # So does the board, which reads folders of runs as well.
    code, board, err = call("leaderboard", "runs", "--format", "json")
    assert code == 0 and len(json.loads(board)["boards"]) == 1 and '"dpo"' in board, err
    assert [entry["record"] for entry in json.loads(board)["unreadable"]] == ["ewc/record.json"]
    tree = html.fromstring((tmp_path / "runs" / "report.html").read_text(encoding="utf-8"))
    assert "ewc/record.json" in tree.get_element_by_id("table-broken").text_content()


@pytest.mark.parametrize("kind", KINDS)
def test_verify_names_it(results: Path, kind: str, call: Call) -> None:
    bad = KINDS[kind]
    spoil(results, bad)
    before = snapshot(results)
    code, out, err = call("verify", str(results))
    shown = quiet(code, out, err)
    assert code == (2 if bad.verify else 0) and bad.verify in shown and snapshot(results) == before
    code, out, err = call("verify", str(results), "--json")
    quiet(code, "", err)
    states = {state["place"]: state for state in json.loads(out)}
    assert [place for place, state in states.items() if not state["good"]] == (
        ["some/small/odd/seed-0.json"] if bad.verify else []
    )


@pytest.mark.parametrize("kind", KINDS)
def test_compare_shows_or_refuses_it(results: Path, kind: str, call: Call) -> None:
    bad = KINDS[kind]
    place, good = spoil(results, bad), results / "some" / "small" / "dpo" / "seed-0.json"
    for words in ((good, place), (place, good), (place, place)):
        code, out, err = call("compare", *map(str, words))
        shown = quiet(code, out, err)
        if bad.compare:
            assert code == 2 and bad.compare in shown


@pytest.mark.parametrize("kind", KINDS)
def test_submit_refuses_its_run_and_writes_nothing(results: Path, kind: str, call: Call, tmp_path: Path) -> None:
    bad = KINDS[kind]
    place = spoil(tmp_path / "elsewhere", bad)
    run = tmp_path / "run"
    for stage, frame in pd.read_parquet(pair_scores_file(place)).groupby("stage"):
        (run / f"stage-{stage}").mkdir(parents=True)
        frame.drop(columns="stage").to_parquet(run / f"stage-{stage}" / "scores.parquet", index=False)
    shutil.copyfile(place, run / "record.json")
    before = snapshot(results)
    code, out, err = call("submit", str(run), "--results", str(results))
    shown = quiet(code, out, err)
    after = snapshot(results)
    assert {name: after[name] for name in before} == before
    if bad.refused:
        assert code == 2 and bad.refused in shown and after == before
    else:
        assert code == 0 and "added" in shown
        # Once more with other numbers: it is in the way and stays.
        content = json.loads((run / "record.json").read_text(encoding="utf-8"))
        (run / "record.json").write_text(json.dumps(content | {"attempts": 7}), encoding="utf-8")
        code, out, err = call("submit", str(run), "--results", str(results))
        assert code == 2 and "Nothing was overwritten" in quiet(code, out, err) and snapshot(results) == after


def test_the_same_seed_twice(results: Path, call: Call, tmp_path: Path) -> None:
    twin = results / "twin" / "small" / "dpo" / "seed-0.json"
    twin.parent.mkdir(parents=True)
    for file in (results / "some" / "small" / "dpo").iterdir():
        shutil.copyfile(file, twin.parent / file.name)
    before = snapshot(tmp_path)
    for form in FORMATS:
        code, out, err = call(
            "leaderboard", str(results), "--format", form, *(("-o", "x") if form != "terminal" else ())
        )
        assert code == 2 and "is there twice" in quiet(code, out, err) and str(twin) in err
    code, out, err = call("report", str(results))
    assert code == 2 and "is there twice" in quiet(code, out, err)
    code, out, err = call("verify", str(results))
    assert code == 2 and "its names and seed belong to some/small/dpo/seed-0.json" in quiet(code, out, err)
    assert snapshot(tmp_path) == before
