"""Verify: whatever is changed in a published record is found; what was published long ago stays readable."""

from __future__ import annotations

import cProfile
import json
import pstats
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lifealign_bench.errors import BenchError
from lifealign_bench.results.checks import number_problems, whole_problems
from lifealign_bench.results.guards import GuardReading
from lifealign_bench.results.leaderboard import make_boards, open_published
from lifealign_bench.results.origins import Origins
from lifealign_bench.results.pairtable import PairBlock
from lifealign_bench.results.published import digest_file, digest_problem, pair_scores_file, read_pair_scores, seal
from lifealign_bench.results.record import Record, read_record
from lifealign_bench.results.recordfields import field_problems
from lifealign_bench.results.tuning import MethodTuning, SettingTrial, Tuning, write_tuning
from lifealign_bench.results.verify import check_results
from tests.places import ROOT
from tests.published_records import TASKS, V1, content_of, publish, rewrite


def problems(results: Path) -> list[str]:
    return [problem for state in check_results(results, Origins()) for problem in state.problems]


def leaves(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the numbers of plain JSON values stand."""
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(part, (*place, key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield place


def changed(content: Any, place: tuple[Any, ...]) -> Any:
    """A copy with one number a little larger."""
    copy = json.loads(json.dumps(content))
    inner = copy
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] += 1 if isinstance(inner[place[-1]], int) else max(1e-6, abs(inner[place[-1]]) * 1e-6)
    return copy


def test_cards_that_are_not_here_are_named_in_one_note(tmp_path: Path) -> None:
    publish(tmp_path)
    (state,) = check_results(tmp_path, Origins())
    assert [note for note in state.notes if "not available" in note] == [
        "the cards of one, two, three are not available: their data was not checked"
    ]


def test_every_number_of_a_record_is_guarded(tmp_path: Path) -> None:
    """Each number in turn is changed by a millionth. With the digest all are found; without it, those that follow from
    the per-pair scores and the configuration."""
    place = publish(tmp_path, pairs=6)
    content = json.loads(place.read_text())
    numbers = list(leaves(content))
    assert len(numbers) > 150 and not problems(tmp_path)
    blocks, blind = read_pair_scores(place), set()
    for number in numbers:
        edited = changed(content, number)
        rewrite(place, edited, sealed=False)
        assert "was edited" in digest_problem(place), number
        if number == ("schema_version",):
            continue
        record = Record.model_validate(edited)
        if not (whole_problems(record) or field_problems(record) or number_problems(record, blocks)):
            blind.add(number[0])
    assert any("was edited" in problem for problem in problems(tmp_path))
    # What cannot be computed again, and only that, is found by the digest alone.
    assert blind <= {"stages", "hardware", "peak_memory_bytes", "attempts", "data", "model"}, blind


def test_every_number_of_the_pairs_is_guarded_without_the_digest(tmp_path: Path) -> None:
    place = publish(tmp_path, pairs=4)
    record, blocks = read_record(place), read_pair_scores(place)
    assert not number_problems(record, blocks)
    for stage, tasks in blocks.items():
        for task, block in tasks.items():
            for score, values in block.values.items():
                for row in range(len(values)):
                    edited = values.copy()
                    edited[row] += 1e-6
                    other = PairBlock(block.ids, {**block.values, score: edited})
                    found = number_problems(record, {**blocks, stage: {**tasks, task: other}})
                    assert any("its pairs give" in problem for problem in found), (stage, task, score, row)


@pytest.mark.parametrize("what", ["stage", "task", "pair", "twice", "column", "text", "renamed", "other pair"])
def test_pairs_that_are_missing_or_too_many_are_found(tmp_path: Path, what: str) -> None:
    place = publish(tmp_path, pairs=4)
    file = pair_scores_file(place)
    frame: Any = pd.read_parquet(file)
    if what == "stage":
        frame = frame[frame["stage"] != 2]
    elif what == "task":
        frame = frame[(frame["stage"] != 2) | (frame["task"] != TASKS[0])]
    elif what == "pair":
        frame = frame.drop(index=5)
    elif what == "twice":
        frame = pd.concat([frame, frame.tail(1)])
    elif what == "column":
        frame = frame.drop(columns="preference_margin")
    elif what == "text":
        frame["preference_margin"] = frame["preference_margin"].astype(str)
    elif what == "renamed":
        frame["task"] = frame["task"].replace(TASKS[0], "unknown")
    else:
        frame.loc[0, "pair_id"] = "somewhere/else/0"
    frame.to_parquet(file, index=False)
    seal(place)
    assert problems(tmp_path)


def test_other_files_are_found(tmp_path: Path) -> None:
    place = publish(tmp_path)
    (tmp_path / "some" / "notes.md").write_text("fine")
    assert not problems(tmp_path)
    copy = place.with_name("seed-3.json")
    shutil.copyfile(place, copy)
    shutil.copyfile(pair_scores_file(place), pair_scores_file(copy))
    seal(copy)
    assert problems(tmp_path) == ["its names and seed belong to some/small/dpo/seed-0.json"]
    for path in (copy, pair_scores_file(copy), digest_file(copy)):
        path.unlink()
    (place.parent / "old.json").write_text("{}")
    assert problems(tmp_path) == ["it belongs to no record (seed-N.json)"]
    (place.parent / "old.json").unlink()
    (tmp_path / "link.json").symlink_to(place)
    assert problems(tmp_path) == ["it is a link: records lie in real files"]


def test_tables_of_learning_rates_lie_among_the_results(tmp_path: Path) -> None:
    publish(tmp_path)
    trials = tuple(SettingTrial(factors={"x.r": f}, settings={"x.r": f / 5}, value=50 + 20 * f) for f in (0.5, 1))
    chosen = {"x.r": 0.2}
    tuned = MethodTuning(settings=("x.r",), criterion="last", trials=trials, chosen=chosen, without_guards=chosen)
    table = Tuning(
        stream="some", model="small", tasks=("a",), seeds=(0,), validation=6, factors=(0.5, 1), trials=2,
        methods={"dpo": tuned},
    )  # fmt: skip
    place = tmp_path / "tuning" / "some" / "small.json"
    write_tuning(place, table)
    assert not problems(tmp_path)

    def with_changes(**changes: object) -> list[str]:
        write_tuning(place, table.model_copy(update={"methods": {"dpo": tuned.model_copy(update=changes)}}))
        return problems(tmp_path)

    assert with_changes(chosen={"x.r": 0.1}) == ["dpo: x.r = 0.1 was taken, and x.r = 0.2 is the best of its trials"]
    assert with_changes(without_guards={"x.r": 0.1}) == ["dpo: without guards it names x.r = 0.1; x.r = 0.2 is best"]
    assert with_changes(trials=(*trials, trials[0])) == ["dpo: 3 trials, where every method has 2"]
    spoke = GuardReading(guard="loops", value=30.0, bound=10.0, spoke=True)
    assert with_changes(trials=(trials[0], trials[1].model_copy(update={"guards": (spoke,)}))) == [
        "dpo: x.r = 0.2 was taken, and x.r = 0.1 is the best of its trials"
    ]
    failed = SettingTrial(factors={"x.r": 1}, settings={"x.r": 0.2}, error="it broke")
    assert with_changes(trials=(failed,)) == ["dpo: no trial has a value"]
    write_tuning(place, table.model_copy(update={"stream": "other"}))
    assert problems(tmp_path) == ["its stream and model belong to other/small.json"]
    place.write_text("{", encoding="utf-8")
    assert "small.json is not JSON" in problems(tmp_path)[0]
    place.rename(tmp_path / "tuning" / "small.json")
    assert problems(tmp_path) == ["it belongs to no record (seed-N.json)"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"schema_version": "2"}', "[" * 100_000, '{"schema_version": -1}']
)
def test_what_is_no_record_is_said_so(tmp_path: Path, text: str) -> None:
    place = publish(tmp_path)
    place.write_text(text)
    found = problems(tmp_path)
    assert any("seed-0.json" in problem for problem in found) and len(found) == 2


def test_infinity_and_nan_are_found(tmp_path: Path) -> None:
    place = publish(tmp_path)
    text = place.read_text()
    for old, new in (
        ('"peak_memory_bytes": ', '"peak_memory_bytes": 1e999, "x": '),
        ('"cores": ', '"cores": 1e999, "x": '),
        ('"last": ', '"last": NaN, "x": '),
        ('"last": ', '"last": 1e999, "y": '),
    ):
        assert old in text
        place.write_text(text.replace(old, new, 1))
        seal(place)
        assert problems(tmp_path), new


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where any value of plain JSON stands, once for all elements of a list."""
    if place:
        yield place
    if isinstance(value, dict | list):
        items = list(value.items()) if isinstance(value, dict) else list(enumerate(value))[:1]
        for key, part in items:
            yield from places(part, (*place, key))


def test_no_value_of_a_record_breaks_the_commands(tmp_path: Path) -> None:
    """Every value in turn becomes something else; it is found, or it does not matter, and nobody stumbles."""
    place = publish(tmp_path, pairs=4)
    content, origins = json.loads(place.read_text()), Origins()
    for number, path in enumerate(list(places(content))[::2]):
        copy = json.loads(json.dumps(content))
        inner = copy
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = ("\x1b[31m", None, [], {}, -1, 10**30, True, [[]])[number % 8]
        rewrite(place, copy)
        check_results(tmp_path, origins)
        views, _ = open_published([tmp_path])
        with suppress(BenchError):
            make_boards(views)


def test_a_stream_in_one_stage_and_a_method_that_restarts_are_whole(tmp_path: Path) -> None:
    publish(tmp_path, "joint", plan=[TASKS])
    assert not problems(tmp_path)


@pytest.mark.parametrize("evaluate", ["seen", "last", "ends"])
def test_stages_after_which_nothing_was_to_be_scored_have_no_pairs(tmp_path: Path, evaluate: str) -> None:
    place = publish(tmp_path, evaluate=evaluate)
    pairs = pd.read_parquet(pair_scores_file(place))
    final = len(TASKS)
    kept = {
        "seen": pairs["task"].map(TASKS.index) < pairs["stage"],
        "last": pairs["stage"] == final,
        "ends": pairs["stage"].isin([0, final]),
    }[evaluate]
    pairs[kept].to_parquet(pair_scores_file(place), index=False)
    frames = {stage: pairs[kept & (pairs["stage"] == stage)].drop(columns="stage") for stage in range(final + 1)}
    data = json.loads(place.read_text())["data"]
    rewrite(place, content_of(frames, evaluate=evaluate) | {"data": data})
    assert problems(tmp_path) == []
    pairs[kept & (pairs["stage"] < final)].to_parquet(pair_scores_file(place), index=False)
    seal(place)
    assert any("lack" in problem for problem in problems(tmp_path))


def test_the_records_in_results_are_of_the_first_schema_and_hold() -> None:
    """Records of 2026-11 stay readable, verifiable and shown."""
    old = [p for p in (ROOT / "results").rglob("seed-*.json") if json.loads(p.read_text())["schema_version"] == 1]
    for place in old:
        record = read_record(place)
        assert not whole_problems(record) and not number_problems(record, read_pair_scores(place)), place
    assert read_record(V1).method.name


def test_the_work_of_verify_is_linear_in_records(tmp_path: Path) -> None:
    """Calls of functions, which no busy machine changes. 2,000 records of five tasks have to take less than a minute:
    a table made for every cell took 160,000 calls a record here."""

    def calls(seeds: range) -> int:
        for seed in seeds:
            publish(tmp_path, seed=seed, pairs=40)
        profile = cProfile.Profile()
        assert all(state.good for state in profile.runcall(check_results, tmp_path, Origins()))
        return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]

    few, more, most = calls(range(2)), calls(range(2, 5)), calls(range(5, 8))
    assert most - more <= 3 * 90_000, "a record more costs what one did"
    assert most - more <= 1.2 * (more - few), "and no more among many"
