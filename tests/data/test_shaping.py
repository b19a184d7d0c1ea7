"""Rows of one task out of many, verdicts and scores instead of columns, and HTML as text."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from lifealign_bench.data.cards import TaskCard
from lifealign_bench.data.markup import plain_html
from lifealign_bench.data.shaping import OTHER_TASK, TOO_FEW, UNDECIDED, Where, belongs, value_at
from lifealign_bench.data.sources import InlineSource
from lifealign_bench.data.tasks import load_split
from lifealign_bench.errors import BenchError

ROW = {"site": "a", "n": 1, "harm": {"White-Collar Crime": True}, "list": [{"text": "x"}, {"text": "y"}], "a.b": "dot"}


def card(rows: list[dict[str, Any]], **more: Any) -> TaskCard:
    source = InlineSource(train=tuple(rows), test=tuple(rows))
    return TaskCard.model_validate({"name": "T", "title": "T", "source": source, **more})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("site", "a"),
        ("a.b", "dot"),
        ("harm.White-Collar Crime", True),
        ("list.1.text", "y"),
        ("list.2.text", None),
        ("list.-1.text", None),
        ("site.x", None),
        ("nothing", None),
    ],
)
def test_a_field_of_a_column(name: str, expected: Any) -> None:
    assert value_at(ROW, name) == expected


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"site": "a"}, True),
        ({"site": ["b", "a"]}, True),
        ({"site": "a", "n": 2}, False),
        ([{"n": 2}, {"harm.White-Collar Crime": True}], True),
        ({"n": True}, False),  # 1 is not true
        ({"site": {"contains": "a"}}, True),
        ({"site": {"lacks": "a"}}, False),
        ({"n": {"lacks": "a"}}, False),  # no text
        ({"harm": "x"}, False),
    ],
)
def test_where(where: Any, expected: bool) -> None:
    assert belongs(ROW, TypeAdapter(Where).validate_python(where)) is expected


def verdicts(*values: Any) -> list[dict[str, Any]]:
    return [{"prompt": f"q{i}", "a": f"first {i}", "b": f"second {i}", "v": value} for i, value in enumerate(values)]


TWO = {"first": "a", "second": "b", "verdict": "v", "first_wins": [-1, -2], "second_wins": [1]}


def test_a_verdict_chooses_and_the_undecided_are_counted() -> None:
    pairs, report, _ = load_split(card(verdicts(-2, 1, 0, None), responses=TWO), "test", data_dir=None)
    assert [(pair.chosen, pair.rejected) for pair in pairs] == [("first 0", "second 0"), ("second 1", "first 1")]
    assert (report.read, report.kept, dict(report.dropped)) == (4, 2, {UNDECIDED: 2})
    assert report.examples[UNDECIDED] == [2, 3]


def test_the_best_answer_is_chosen_and_the_worst_rejected() -> None:
    def row(prompt: str, *scores: Any) -> dict[str, Any]:
        return {"q": prompt, "answers": [{"text": f"{prompt} {i}", "up": score} for i, score in enumerate(scores)]}

    rows = [
        row("a", 2, 5, -1, 5),
        row("b", 3),
        row("c", 1, 1),
        row("d", None, float("nan"), 4),
        {"q": "e", "answers": 3},
    ]
    found = card(rows, responses={"answers": "answers", "score": "up"}, columns={"prompt": "q"})
    pairs, report, _ = load_split(found, "train", data_dir=None)
    assert [(pair.chosen, pair.rejected) for pair in pairs] == [("a 1", "a 2")]
    assert dict(report.dropped) == {TOO_FEW: 3, UNDECIDED: 1}


def test_rows_of_other_tasks_are_left_out_and_counted() -> None:
    rows = [{"prompt": f"q{i}", "chosen": "yes", "rejected": "no", "site": "ab"[i % 2]} for i in range(5)]
    pairs, report, source = load_split(card(rows, where={"site": "a"}), "train", data_dir=None)
    assert [pair.id for pair in pairs] == ["T/train/0", "T/train/2", "T/train/4"]
    assert dict(report.dropped) == {OTHER_TASK: 2} and len(source.rows) == 5
    with pytest.raises(BenchError, match="no training pairs left"):
        load_split(card(rows, where={"site": "c"}), "train", data_dir=None)


@pytest.mark.parametrize(
    "more",
    [{"where": {"sight": "a"}}, {"responses": {**TWO, "verdict": "choice"}}, {"where": {"siet.x": True}}],
)
def test_a_column_that_is_not_there_is_named(more: dict[str, Any]) -> None:
    rows = [{**row, "site": "a", "chosen": "c", "rejected": "r"} for row in verdicts(1)]
    with pytest.raises(BenchError) as caught:
        load_split(card(rows, **more), "train", data_dir=None)
    assert "lacks the column" in caught.value.message and "Set 'columns'" in caught.value.remedy


@pytest.mark.parametrize(
    "more",
    [
        {"where": {}},
        {"where": []},
        {"where": {"site": []}},
        {"where": {"site": {"contians": "a"}}},
        {"responses": {"answers": "a"}},
        {"responses": {**TWO, "first_wins": []}},
        {"markup": "latex"},
    ],
)
def test_broken_fields_are_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        card(verdicts(1), **more)


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>One &amp; two</p>\n\n<p>three</p>", "One & two\nthree"),
        ("<ul><li>a</li><li>b</li></ul>", "- a\n- b"),
        ("<pre><code>if x:\n    y = 1\n</code></pre>done", "if x:\n    y = 1\ndone"),
        ("a <b>bold</b>\n  line<br>next", "a bold line\nnext"),
        ("<script>alert(1)</script>seen<style>p {}</style>", "seen"),
        ("plain 1 < 2", "plain 1 < 2"),
        ("</pre></script>never <b>closed", "never closed"),
    ],
)
def test_html_as_text(html: str, text: str) -> None:
    assert plain_html(html) == text


def test_markup_is_taken_out_of_all_texts() -> None:
    row = {"prompt": "<p>q</p>", "chosen": "<em>c</em>", "rejected": "<p>r</p>"}
    pairs, _, _ = load_split(card([row], markup="html"), "test", data_dir=None)
    assert (pairs[0].prompt[0].content, pairs[0].chosen, pairs[0].rejected) == ("q", "c", "r")


def test_a_shape_that_says_nothing_changes_nothing() -> None:
    found = card([{"prompt": "q", "chosen": "c", "rejected": "r"}])
    row = {"prompt": "<p>", "chosen": 1}
    assert found.shape.row(row) is row and found.shape.made() == () and found.shape.asked() == []
