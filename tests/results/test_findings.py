"""The page of findings says what the records say: its numbers are computed, its claims are checked."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import t, ttest_rel

from benchmarks import findings
from benchmarks.board_text import Boards, BoardText, UnsupportedClaimError
from benchmarks.findings import Sources, data_of, page_of, shown_figures, typed_numbers, without
from benchmarks.plan_text import PlanText
from benchmarks.transfer_text import Transfer
from benchmarks.tuning_text import TuningText
from lifealign_bench.errors import BenchError
from lifealign_bench.results.comparison import metric_function, paired_runs
from lifealign_bench.results.paired import holm
from lifealign_bench.results.view import RunView
from lifealign_bench.util.text import p_text
from tests.places import ROOT
from tests.published_records import publish, rewrite


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Boards:
    results = tmp_path_factory.mktemp("results")
    for method, level, draw in (("dpo", 0.5, 0), ("replay", 0.9, 0), ("same", 0.5, 10)):
        for seed in range(3):
            publish(results, method, seed, level=level, draw=draw + seed)
    publish(results, "once", 0, level=0.7)
    return Boards(results)


def said(boards: Boards, text: str) -> str:
    return page_of("{% set b = board('some', 'small') %}" + text, Sources(boards, lambda _: boards)).strip()


def bounds(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in re.findall(r"-?[\d.]+", text))


def test_a_difference_and_its_p_value_are_of_one_comparison_of_the_board(boards: Boards) -> None:
    board = boards("some", "small")
    planned = {(c.first, c.second): c for c in board.board.planned}
    replay = planned["replay", "dpo"]
    assert board.difference("replay", "dpo") == (
        f"{replay.difference.value:.1f} [{replay.difference.low:.1f}, {replay.difference.high:.1f}]"
    )
    assert replay.difference.low > 0 and replay.difference.p < 0.05 and board.p("replay", "dpo").startswith("< 0.001")
    same = planned["same", "dpo"].difference
    assert bounds(board.difference("dpo", "same")) == pytest.approx((-same.value, -same.high, -same.low), abs=0.051)
    assert (same.low < 0 < same.high) and same.p > 0.05
    # Another metric likewise among all methods of as many seeds: its spread is theirs, not that of two alone.
    runs = paired_runs({m: board._own(m) for m in ("dpo", "replay", "same")}, "preference_accuracy", "last")
    assert runs is not None
    pairs = list(combinations(("dpo", "replay", "same"), 2))
    wanted = runs.differences(pairs, metric_function("learning"))[pairs.index(("dpo", "same"))]
    assert bounds(board.difference("dpo", "same", "learning")) == pytest.approx(
        (wanted.value, wanted.low, wanted.high), abs=0.051
    )


def test_a_t_test_over_seeds_alone_stands_beside(boards: Boards) -> None:
    board = boards("some", "small")
    last = {m: [v.metric("preference_accuracy", "last") for v in board._own(m)] for m in ("dpo", "replay", "same")}
    pairs = [(c.first, c.second) for c in board.board.planned if np.isfinite(c.corrected)]
    found = []
    for first, second in pairs:
        gaps = np.subtract(last[first], last[second])
        found.append(2 * t.sf(abs(gaps.mean()) / (gaps.std(ddof=1) / np.sqrt(3)), 2))
    for (first, second), p in zip(pairs, holm(found), strict=True):
        assert board.seeds_p(first, second) == p_text(p)
    told = [c.corrected <= 0.05 for c in board.board.planned if np.isfinite(c.corrected)]
    assert (PlanText(board).corrected_for(), PlanText(board).apart()) == (len(pairs), sum(told)) == (3, 2)
    assert PlanText(board).apart_by_seeds() == sum(
        p <= 0.05 for p, apart in zip(holm(found), told, strict=True) if apart
    )
    assert (board.comparisons(), board.told_apart()) == (3, 2)
    assert PlanText(board).screened_apart() == PlanText(board).screened_apart_by_seeds() == 0  # all are in one table
    with pytest.raises(BenchError, match="not among the planned"):
        board.seeds_p("once", "dpo")


def test_its_numbers_are_those_of_the_records(boards: Boards) -> None:
    board = boards("some", "small")
    runs = [RunView.open(place) for place in sorted(boards.results.glob("some/small/replay/*.json"))]
    last = sum(run.metric("preference_accuracy", "last") for run in runs) / 3
    learned = sum(float(run.per_task("preference_accuracy")["learned"][1]) for run in runs) / 3
    assert len(runs) == 3 and said(boards, "{{ b.value('replay') }}") == f"{last:.1f}"
    assert board.task("replay", runs[0].tasks[1], "learned") == f"{learned:.1f}"
    assert board.interval("replay").startswith(f"{last:.1f} [")
    value, low, high = bounds(board.difference("replay", "dpo"))
    assert value == pytest.approx(float(board.value("replay")) - float(board.value("dpo")), abs=0.11) and low < value
    assert bounds(board.difference("dpo", "replay")) == (-value, -high, -low)
    assert (board.count(), board.count(3), board.runs(), board.seeds("once")) == (4, 3, 10, 1)
    assert set(board.with_at_least(1)) - set(board.with_at_least(2)) == {"once"} and len(board.with_at_least(3)) == 3
    assert board.table().count("\n") == 5 and "| replay |" in board.table()
    assert "| once |" not in board.table()  # of one seed among ranked ones
    assert float(board.detectable()) > 0


def test_a_board_of_equal_budgets_is_asked_for_by_its_budget(tmp_path: Path) -> None:
    publish(tmp_path, "dpo", level=0.6, budget="tokens")
    publish(tmp_path, "replay", level=0.8, budget="tokens")
    publish(tmp_path, "once", level=0.7)
    boards = Boards(tmp_path)
    assert boards("some", "small", "tokens").count() == 2 and boards("some", "small").count() == 1
    with pytest.raises(BenchError, match="no run of once"):
        boards("some", "small", "tokens").value("once")
    with pytest.raises(BenchError, match="There is no board of some on small, budget of steps"):
        boards("some", "small", "steps")


def test_a_board_on_which_nothing_was_learned_is_still_spoken_of(boards: Boards, tmp_path: Path) -> None:
    for method, level in (("dpo", 0.52), ("replay", 0.55)):
        for seed in range(3):
            publish(tmp_path, method, seed, level=level, first=0.5)
    board = Boards(tmp_path)("some", "small")
    assert board.unlearned("dpo", "replay") == "" and board.entered() == {} and board.count(3) == 2
    assert (board.value("dpo"), board.value("replay"), board.within(50)) == ("51.7", "54.4", "")
    assert 4.4 < float(board.detectable()) < 6
    with pytest.raises(UnsupportedClaimError, match="a method ends"):
        board.within(45)
    with pytest.raises(UnsupportedClaimError, match="the first task was not learned by dpo, replay"):
        board.unlearned("dpo")
    with pytest.raises(UnsupportedClaimError, match="the first task was not learned by none"):
        boards("some", "small").unlearned("dpo")


def test_some_of_the_tasks_are_spoken_of_by_themselves(boards: Boards) -> None:
    board = boards("some", "small")
    every = board.tasks("dpo")
    one, two = every[:2]
    ends = {task: float(board.task("replay", task)) for task in (one, two)}
    assert bounds(board.at_end("replay", [one]))[0] == pytest.approx(ends[one], abs=0.06)
    value, low, high = bounds(board.at_end("replay", [one, two]))
    assert value == pytest.approx(sum(ends.values()) / 2, abs=0.11) and low <= value <= high <= 100
    value, low, high = bounds(board.at_end_difference("replay", "dpo", [two]))
    assert value == pytest.approx(ends[two] - float(board.task("dpo", two)), abs=0.11) and low < value < high
    assert board.at_end_difference("replay", "dpo", every) == board.difference("replay", "dpo")
    assert board.near(float(board.value("dpo")), 0.1, every, "dpo", "same") == ""
    with pytest.raises(UnsupportedClaimError, match=r"same ends at .* near"):
        board.near(float(board.value("dpo")), 0.1, every, "dpo")
    with pytest.raises(UnsupportedClaimError, match="replay ends at"):
        board.near(float(board.value("dpo")), 0.1, every, "dpo", "replay")


def test_a_p_value_by_itself_is_not_corrected(boards: Boards) -> None:
    board = boards("some", "small")
    alone = {(c.first, c.second): c.difference.p for c in board.board.planned}
    assert board.alone_p("same", "dpo") == p_text(alone["same", "dpo"])
    with pytest.raises(BenchError, match="planned"):
        board.alone_p("same", "once")


def test_the_highest_mean_is_claimed_of_all_or_of_some(boards: Boards) -> None:
    assert said(boards, "{{ b.highest('replay') }}{{ b.highest('dpo', 'dpo') }}.") == "."
    with pytest.raises(UnsupportedClaimError, match="mean of replay is higher"):
        boards("some", "small").highest("dpo")
    with pytest.raises(UnsupportedClaimError, match="mean of replay is higher"):
        boards("some", "small").highest("same", "replay")


def test_what_was_computed_and_not_trained_is_said_from_the_board(boards: Boards) -> None:
    board = boards("some", "small")
    (row,) = [row for row in board.board.computed if row.name == "frozen"]
    assert board.computed("frozen").startswith(f"{row.estimates['last'].value:.1f} [")
    with pytest.raises(BenchError, match="no computed row"):
        board.computed("melted")


def test_a_board_that_resolves_no_distance_from_chance_says_so_and_no_other(boards: Boards) -> None:
    board = boards("some", "small")
    ends = [float(board.value(name)) for name in board.entered()]
    low, high, found = min(ends), max(ends), float(board.detectable())
    assert high - low > 2 * found  # replay is far from the others
    with pytest.raises(UnsupportedClaimError, match="is found"):
        board.within((low + high) / 2)
    with pytest.raises(UnsupportedClaimError, match="is found"):
        board.within(high + found + 1)
    alone = BoardText(
        replace(board.board, entries=tuple(e for e in board.board.entries if e.method == "replay")),
        board._own("replay"),
    )
    assert alone.within(high + found - 1) == ""


def test_a_claim_that_the_records_do_not_carry_stops_the_page(boards: Boards) -> None:
    assert said(boards, "It is{{ b.better('replay', 'dpo') }}{{ b.undecided('same', 'dpo') }}.") == "It is."
    assert (
        said(boards, "It is{{ b.interval_below('dpo', 'replay', 'last') }}{{ b.untold('same', 'dpo') }}.") == "It is."
    )
    for claim in (
        "b.better('same', 'dpo')",
        "b.better('dpo', 'replay')",
        "b.undecided('replay', 'dpo')",
        "b.interval_below('replay', 'dpo', 'last')",
        "b.untold('replay', 'dpo')",
        "b.untold('dpo', 'replay')",
    ):
        with pytest.raises(UnsupportedClaimError):
            said(boards, "{{ " + claim + " }}")


@pytest.mark.parametrize(
    "wrong", ["b.value('none')", "b.p('same', 'once')", "board('other', 'small')", "b.difference('dpo', 'none')"]
)
def test_what_is_not_there_is_named(boards: Boards, wrong: str) -> None:
    with pytest.raises(BenchError, match=r"none|once|other"):
        said(boards, "{{ " + wrong + " }}")


def test_a_typed_number_is_refused(boards: Boards) -> None:
    assert typed_numbers("a {{ b.value('x1') }} `--seed 0` [p](a1.md)\n```\n7\n```\n{{ cited('8.3') }}\nof 3 runs") == [
        "6: of 3 runs"
    ]
    with pytest.raises(BenchError, match="typed"):
        said(boards, "It has 12 methods.")


def test_a_table_has_the_mean_over_the_tasks_so_far_after_every_stage(boards: Boards) -> None:
    runs = [RunView.open(place) for place in sorted(boards.results.glob("some/small/replay/*.json"))]
    values = np.mean([run.record.scores["preference_accuracy"].array() for run in runs], axis=0)
    wanted = [f"{values[stage, :stage].mean():.1f}" for stage in range(1, len(runs[0].tasks) + 1)]
    head, _, row, other = said(boards, "{{ b.stages('preference_accuracy', 'replay', 'dpo') }}").splitlines()
    assert head == f"| after stage | {' | '.join(str(k + 1) for k in range(len(wanted)))} |"
    assert row == f"| replay | {' | '.join(wanted)} |" and other.startswith("| dpo |")


def test_a_second_model_bears_out_the_ranking_or_not(tmp_path: Path) -> None:
    levels = {"dpo": 0.5, "replay": 0.9, "kl": 0.7, "wise": 0.51}
    others = {"dpo": 0.5, "replay": 0.9, "kl": 0.3, "wise": 0.6, "alone": 0.8}  # kl falls below dpo
    for model, own in (("small", levels), ("other", others)):
        for method, level in own.items():
            for seed in range(3):
                publish(tmp_path, method, seed, level=level, model=model, pairs=120)
    boards = Boards(tmp_path)
    first, second = boards("some", "small"), boards("some", "other")
    found = Transfer(first, second)
    assert found.methods() == 4
    better = {c.better + c.first + c.second for c in first.board.differences if c.better}
    assert found.told_apart() == len(better) == 5  # all but wise and dpo
    assert (found.across("replay"), found.across("replay", "kl", "dpo", "wise")) == (3, 0)
    assert (found.confirmed(), found.contradicted()) == (3, 2)  # replay above all; kl was above dpo and wise
    assert found.unconfirmed() == "`kl` over `dpo`, `kl` over `wise`"
    assert Transfer(first, first).unconfirmed() == "none"
    publish(tmp_path, "lwf", 0, level=0.6)
    for seed in range(3):
        for model in ("small", "other"):
            publish(tmp_path, "ewc", seed, level=0.55, model=model, pairs=120)
    small, other = (Boards(tmp_path)("some", model) for model in ("small", "other"))
    without_one = Transfer(small, other, without=["replay", "lwf"])
    assert without_one.methods() == 4 and without_one.tau() != Transfer(small, other).tau()
    assert Transfer(first, first).tau().startswith("1.00") and Transfer(first, first).confirmed() == 5
    assert found.new() == 1  # wise and dpo
    # Of the six pairs of four methods kl stands the other way round with two.
    assert found.tau().startswith("0.33 [")
    made = page_of(
        "{{ transfer(board('some', 'small'), board('some', 'other')).tau() }}", Sources(boards, lambda _: boards)
    )
    assert made.strip() == found.tau()
    publish(tmp_path / "few", "dpo", 0)
    few = Boards(tmp_path / "few")("some", "small")
    with pytest.raises(BenchError, match="no rank correlation"):
        Transfer(few, second).tau()


def test_a_study_has_boards_of_its_own(boards: Boards, tmp_path: Path) -> None:
    publish(tmp_path / "studies" / "other", "dpo", 0, level=0.9)
    (tmp_path / "results").symlink_to(boards.results)
    given = findings.sources(tmp_path)
    made = page_of("{{ study('other')('some', 'small').runs() }} {{ board('some', 'small').runs() }}", given)
    assert made == "1 10\n"
    with pytest.raises(BenchError, match="dial"):
        page_of("{{ dose_table() }}", given)


def test_the_costs_of_some_seeds_are_theirs(tmp_path: Path) -> None:
    for seed in range(3):
        place = publish(tmp_path, "dpo", seed)
        content = json.loads(place.read_text())
        for stage in content["stages"]:
            stage["seen"] = 10 * (seed + 1) if stage["index"] else 0
        rewrite(place, content)
    text = Boards(tmp_path)("some", "small")
    stages = len(text.runs_of("dpo")[0].record.stages) - 1
    found = [text.of_seeds(*seeds).column("dpo", "pairs", 0) for seeds in ((0, 1, 2), (0,), (1, 2))]
    assert found == [f"{stages * mean}" for mean in (20, 10, 25)] and found[0] == text.column("dpo", "pairs", 0)


def test_runs_of_a_study_take_the_place_of_the_boards(boards: Boards, tmp_path: Path) -> None:
    publish(tmp_path, "dpo", 0, level=0.9)
    publish(tmp_path, "new", 0, level=0.8)
    board, study = boards("some", "small").of_seeds(0), Boards(tmp_path)("some", "small")
    both = board.with_runs_of(study)
    assert both.value("dpo") == study.value("dpo") != board.value("dpo")
    assert both.value("new") == study.value("new") and both.value("replay") == board.value("replay")
    assert both.column("new", "tokens", 0) == study.column("new", "tokens", 0)
    assert bounds(both.difference("dpo", "replay"))[0] == pytest.approx(
        float(study.value("dpo")) - float(board.value("replay")), abs=0.11
    )


RATE = "training.learning_rate"


def rate_trial(factor: float, value: float, refused: bool = False) -> dict[str, Any]:
    """A trial of one rate, a point to either side of its value."""
    guards = [{"guard": "worse", "value": 10.0, "low": 5.0, "high": 15.0, "bound": 50.0, "spoke": refused}]
    ends = {"value": value, "low": value - 1, "high": value + 1, "standard_error": 0.5}
    return {"factors": {RATE: factor}, "settings": {RATE: factor * 1e-4}, **ends, "guards": guards}


def rates_of(taken: float, *trials: dict[str, Any]) -> dict[str, Any]:
    """A method's trials, and which factor was taken."""
    chosen = {RATE: taken * 1e-4}
    end = "trials" if taken == min(one["factors"][RATE] for one in trials) else "inside"
    said = {"settings": [RATE], "criterion": "last", "trials": trials}
    return {**said, "chosen": chosen, "without_guards": chosen, "ends": {RATE: end}}


def tuned_text(folder: Path, **methods: dict[str, Any]) -> TuningText:
    """The text of a table with these methods."""
    content = {"schema_version": 2, "stream": "some", "model": "small", "tasks": ["one"], "seeds": [0]}
    numbers = {"validation": 24, "trials": 3, "factors": [0.5, 1, 2]}
    place = folder / "tuning" / "some" / "small.json"
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps({**content, **numbers, "methods": methods}))
    return TuningText(folder, "some", "small")


def test_a_table_of_tuned_rates_says_what_was_reached_and_taken(tmp_path: Path) -> None:
    tried = [rate_trial(1, 50.0), rate_trial(0.5, 60.0), rate_trial(2, 70.0, refused=True)]
    found = tuned_text(tmp_path, dpo=rates_of(0.5, *tried), same=rates_of(1, *tried[:2]))
    rows = [
        "| dpo | **60.0 [59.0, 61.0]** | 50.0 [49.0, 51.0] | 70.0 [69.0, 71.0] (refused) | x 0.5 |",
        "| same | 60.0 [59.0, 61.0] | **50.0 [49.0, 51.0]** | — | x 1 |",
    ]
    assert found.table().splitlines()[2:] == rows and found.table("same").splitlines()[2:] == rows[1:]
    assert found.changed() == ["dpo"] and found.at_end() == 1 and found.trials() == 3
    assert found.changed("same") == [] and (found.at_end("dpo"), found.at_end("same")) == (1, 0)
    assert found.refusals() == "`dpo` at x 2 (worse 10.0, bound 50)"
    with pytest.raises(BenchError, match="nothing of none"):
        found.factor("none")


def test_what_choosing_rates_gave_is_said_and_who_led_before_and_after(tmp_path: Path) -> None:
    found = tuned_text(
        tmp_path,
        a=rates_of(2, rate_trial(1, 80.0), rate_trial(2, 84.0)),  # apart: [79, 81] and [83, 85]
        b=rates_of(2, rate_trial(1, 70.0), rate_trial(2, 72.0)),  # they meet at 71
        c=rates_of(2, rate_trial(1, 60.0), rate_trial(2, 73.0)),
        d=rates_of(1, rate_trial(1, 50.0), rate_trial(2, 49.0)),
    )
    assert found.refusals() == "nothing"
    assert found.apart() == "`a`, `c`" and found.gain() == "4.8 (0.0 to 13.0)"  # (4 + 2 + 13 + 0) / 4 = 4.75
    # Of the six pairs of methods one, b and c, stands in the other order: (5 - 1) / 6.
    assert found.agreement().startswith("0.67 [")
    with pytest.raises(BenchError, match="no rank correlation"):
        found.agreement("b", "c")  # the two whose order changed are too few
    assert found.leading("a") == ""
    for other, claimed in {"a": ("b",), "c": ("a", "b")}.items():  # at one of its rates c reaches more than b at one
        with pytest.raises(UnsupportedClaimError, match=f"{other} reached 70.0 or more"):
            found.leading(*claimed)


def test_two_tables_are_held_against_each_other(tmp_path: Path) -> None:
    one, two = rate_trial(1, 50.0), rate_trial(2, 60.0)
    first = tuned_text(tmp_path / "studies" / "other", dpo=rates_of(1, two, one), few=rates_of(1, one))
    second = tuned_text(tmp_path / "results", dpo=rates_of(1, rate_trial(1, 51.5), two), few=rates_of(1, one, two))
    assert first.minus(second, "dpo") == "-1.5, 0.0" and second.minus(first, "dpo") == "1.5, 0.0"
    with pytest.raises(BenchError, match="few was tried at other rates"):
        first.minus(second, "few")
    publish(tmp_path / "results", "dpo", 0)
    given = findings.sources(tmp_path)
    page = "{{ tuned('some', 'small', 'other').minus(tuned('some', 'small'), 'dpo') }}"
    assert findings.page_of(page, given) == "-1.5, 0.0\n"


def test_a_method_without_its_own_rate_or_a_value_is_named(tmp_path: Path) -> None:
    failed = {"factors": {RATE: 1}, "settings": {RATE: 1e-4}, "error": "out of range"}
    found = tuned_text(tmp_path, none=rates_of(2, rate_trial(2, 50.0)), failed=rates_of(2, failed, rate_trial(2, 50.0)))
    with pytest.raises(BenchError, match="no trial of none at its own rate"):
        found.apart()
    with pytest.raises(BenchError, match="no trial of none"):
        found.gain()
    other = tuned_text(tmp_path / "other", failed=rates_of(2, failed, rate_trial(2, 50.0)))
    assert other.apart() == "`failed`"
    with pytest.raises(BenchError, match="reached nothing"):
        other.gain()


def test_figures_are_of_the_board_and_kept_as_data(boards: Boards) -> None:
    figures = boards("some", "small").figures()
    wanted = next(figure.id for figure in figures if "learning" in figure.id)
    (shown,) = shown_figures(f"![x](findings/{wanted}.png)", figures)
    data = json.loads(data_of([shown]))
    assert {row["name"] for row in data[wanted]} == {"dpo", "replay", "same", "once"}
    ranked = {figure.id: figure for figure in boards("some", "small").ranked().figures()}
    assert {row["name"] for row in ranked[wanted].data} == {"dpo", "replay", "same"}
    with pytest.raises(BenchError, match=r"no-such"):
        shown_figures("![x](findings/no-such.png)", figures)


def test_a_page_that_is_not_what_the_records_say_is_named(
    boards: Boards, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results").symlink_to(boards.results)
    source, page = Path("docs/findings/one.jinja"), Path("docs/findings.md")
    (tmp_path / source).parent.mkdir(parents=True)
    (tmp_path / source).write_text("{{ board('some', 'small').value('dpo') }} %\n")
    monkeypatch.setattr(findings, "ROOT", tmp_path)
    monkeypatch.setattr(findings, "PAGES", {source: page})
    monkeypatch.setattr(findings, "BOARD", ("some", "small"))
    assert findings.main(["--check"]) == 1 and "docs/findings.md" in capsys.readouterr().out
    assert findings.main([]) == 0 and findings.main(["--check"]) == 0
    (tmp_path / page).write_text("99.9 %\n")
    assert findings.main(["--check"]) == 1
    (tmp_path / source).write_text("{{ board('some', 'small').better('dpo', 'replay') }}")
    assert findings.main(["--check"]) == 2 and "not significantly better" in capsys.readouterr().err


def test_the_findings_are_two_pages() -> None:
    """At some five hundred words and a table or a picture each; all else is on docs/boards.md."""
    page = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
    assert len(page.split()) <= 1150 and page.count("![") == 1 and "(boards.md)" in page


def test_the_pages_of_this_repository_have_no_typed_number() -> None:
    for source in findings.PAGES:
        assert typed_numbers((ROOT / source).read_text(encoding="utf-8")) == []


def test_a_page_that_speaks_of_three_seeds_stops_when_one_has_more(boards: Boards) -> None:
    board = boards("some", "small")
    assert board.with_seeds(3) == ""
    with pytest.raises(UnsupportedClaimError, match="has 3 seeds, and the page speaks of 5"):
        board.with_seeds(5)


def test_who_leads_in_a_score_is_claimed_of_all_ranked_methods(boards: Boards) -> None:
    board = boards("some", "small")
    assert board.leading("preference_accuracy", "replay") == board.leading("", "replay") == ""
    with pytest.raises(UnsupportedClaimError, match="replay is not below dpo"):
        board.leading("preference_accuracy", "dpo")


def test_methods_that_are_not_told_apart_among_all_are_alike(boards: Boards) -> None:
    board = boards("some", "small")
    assert board.alike("same", "dpo") == "" and not board.excludes_zero("same", "dpo")
    assert board.excludes_zero("dpo", "replay") and board.excludes_zero("replay", "dpo")
    with pytest.raises(UnsupportedClaimError, match="told apart among all"):
        board.alike("dpo", "replay")


def test_the_rank_that_a_method_may_have(boards: Boards) -> None:
    board = boards("some", "small")
    assert (board.rank("replay"), board.rank("dpo"), board.rank("same")) == ("1", "2-3", "2-3")
    with pytest.raises(BenchError, match="no rank of once"):
        board.rank("once")
    again = boards("some", "small", score="preference_margin")
    assert again.board.score == "preference_margin" and again.rank("replay") == "1"


def test_a_table_is_shown_without_a_column_and_a_row() -> None:
    table = "| rank | name | seeds |\n| --- | --- | ---: |\n| 1 | a | 3 |\n| 2 | b | 5 |"
    assert without(table, "seeds", "b") == "| rank | name |\n| --- | --- |\n| 1 | a |"
    for column, row in (("p", "a"), ("seeds", "c")):
        with pytest.raises(BenchError, match="no column"):
            without(table, column, row)


def test_what_the_test_pairs_alone_tell_apart_is_named(boards: Boards) -> None:
    board = boards("some", "small")
    tested = [c for c in board.board.planned if np.isfinite(c.corrected)]
    last = {m: [v.metric("preference_accuracy", "last") for v in board._own(m)] for m in ("dpo", "replay", "same")}
    by_seeds = holm([float(ttest_rel(last[c.first], last[c.second]).pvalue) for c in tested])
    left = [(c, p) for c, p in zip(tested, by_seeds, strict=True) if c.corrected <= 0.05 < p]
    wanted = ", ".join(f"`{c.first}` against `{c.second}` {p_text(p)}" for c, p in left)
    assert PlanText(board).only_by_pairs() == (wanted or "none")
    every = {(c.first, c.second): c.corrected for c in board.board.differences}
    assert board.whole_p("dpo", "replay") == p_text(every["replay", "dpo"])
    with pytest.raises(BenchError, match="are not compared"):
        board.whole_p("dpo", "dpo")
