"""Forged records: whatever is written into one, it is verified or refused, and the others beside it are shown."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lifealign_bench.errors import BenchError
from lifealign_bench.reporting.made import leaderboard_markdown
from lifealign_bench.results.leaderboard import make_boards, open_published
from lifealign_bench.results.origins import Origins
from lifealign_bench.results.pairtable import read_pair_file
from lifealign_bench.results.published import digest_file, pair_scores_file, seal
from lifealign_bench.results.scores import Said, said_of, score_matrices
from lifealign_bench.results.verify import RecordState, check_results
from lifealign_bench.scoring.scorers import SCORERS
from lifealign_bench.util.plainjson import parse_plain
from tests.command import Call
from tests.places import ROOT
from tests.published_records import INFOS, TASKS, config_hash, publish, rewrite
from tests.results.test_resultscheck import places

REAL = ROOT / "results" / "mini" / "smollm2-135m"
Edit = Callable[[dict[str, Any]], None]
MARGIN = "preference_margin"


def problems(results: Path) -> list[str]:
    return [problem for state in check_results(results, Origins()) for problem in state.problems]


def forged(results: Path, edit: Edit) -> Path:
    """A record with an edit, sealed anew."""
    place = publish(results, pairs=12)
    content = json.loads(place.read_text(encoding="utf-8"))
    edit(content)
    content["config_hash"] = config_hash(content["config"])
    rewrite(place, content)
    return place


def ability(**edits: Any) -> Edit:
    """A record with an ability that could be, but for ``edits`` of what it is after stage 3."""
    base = {"value": 60.0, "standard_error": 4.0, "change": None, "change_error": None}
    last = {"value": 55.0, "standard_error": 4.0, "change": -5.0, "change_error": 3.0} | edits
    whole = {"metric": "acc", "items": 100, "chance": 25.0, "digest": "0" * 64, "stages": {"0": base, "3": last}}
    return lambda content: content.update(abilities={"facts": whole})


def test_an_ability_that_could_be_is_right(tmp_path: Path) -> None:
    forged(tmp_path, ability())
    assert not problems(tmp_path)


def _abilities(stage: str) -> Edit:
    def edit(content: dict[str, Any]) -> None:
        ability()(content)
        stages = content["abilities"]["facts"]["stages"]
        stages[stage] = stages.pop("3")

    return edit


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda c: c["metrics"].pop("preference_accuracy"), "the metrics of preference_accuracy are missing"),
        (lambda c: c["metrics"]["preference_accuracy"].pop("last"), "last of preference_accuracy is missing"),
        (lambda c: c["metrics"]["preference_margin"].update(gain=None), "its score matrix gives"),
        (lambda c: c.update(metrics={}), "are missing"),
        (ability(value=900.0), "900.0 percent"),
        (ability(value=-1.0, change=-61.0), "-1.0 percent"),
        (ability(change=5.0), "its change is 5.0"),
        (ability(change=None), "its change is None"),
        (ability(standard_error=40.0), "its standard_error is 40.0"),
        (ability(change_error=90.0), "its change_error is 90.0"),
        (ability(standard_error=None), "its standard_error is None"),
        (_abilities("x"), "after a stage 'x'"),
        (_abilities("4"), "after a stage '4'"),
        (lambda c: c.update(schema_version=True), "no schema_version"),
        (lambda c: c.update(attempts=0), "attempts is 0"),
        (lambda c: c.update(attempts="3"), "broken at attempts"),
        (lambda c: c.update(finished="tomorrow"), "no time"),
        (lambda c: c.update(error="none"), "has an error"),
        (lambda c: c["hardware"].update(memory_bytes=-1), "memory_bytes is -1"),
        (lambda c: c.update(peak_memory_bytes=-1), "broken at peak_memory_bytes"),
        (lambda c: c["stages"][1]["seconds"].update(train=-1.0), "broken at stages.1.seconds.train"),
        (lambda c: c["config"]["training"].update(epochs=0), "config.training.epochs"),
        (lambda c: c["config"].update(evaluate="none"), "config.evaluate"),
        (lambda c: c["config"].update(seed=True), "seed True"),
        (lambda c: c["config"].update(method="ewc"), "its method is 'dpo'; its config says 'ewc'"),
        (lambda c: c["data"]["one"].update(test_digest="x"), "test_digest of one is no SHA-256"),
        (lambda c: c["data"]["one"].update(encoded={"train": "x"}), "tokens of one are no SHA-256"),
        (lambda c: c["data"]["one"].update(encoded={"valid": "0" * 64}), "tokens of one are no SHA-256"),
        (lambda c: c["scores"]["preference_accuracy"].update(main=0), "its main is 0, which it is not"),
        (lambda c: c["scores"]["preference_margin"].update(main=9), "its main is 9, which it is not"),
        (lambda c: c["scores"]["preference_margin"].update(checked=True), "its checked is True"),
        (lambda c: c["scores"]["preference_margin"].update(scorer="mine"), "its scorer is 'mine'"),
        (lambda c: c["scores"]["preference_margin"].update(judged_by="judge"), "its judged_by is 'judge'"),
        (lambda c: c["data"]["one"].update(train_pairs=21), "train_limit is 20"),
        (lambda c: c["data"]["one"].update(test_prompts_in_train=13), "13 of 12 test prompts"),
        (lambda c: c["method"].update(source_sha256="x"), "source_sha256"),
        (lambda c: c["git"].update(commit="<b>"), "git.commit"),
        (lambda c: c["scores"]["preference_accuracy"].update(partial=True), "there is no judge"),
        (lambda c: c["scores"]["preference_margin"].update(unit="percent"), "its unit is percent"),
        (lambda c: c["scores"]["preference_margin"]["value"][0].pop(), "no matrices of one shape"),
        (lambda c: c["scores"]["preference_margin"]["n"].pop(), "no matrices of one shape"),
        (lambda c: c.update(tuned={"digest": "d"}), "tuned has no"),
        (lambda c: c.update(facts={"judge": {"run": {}, "stages": {"9": {}}}}), "of a stage '9'"),
        (lambda c: c["model"].update(parameters=10**30), "31 digits"),
        (lambda c: c.update(extensions={"scorers": {"mine": {"source_sha256": "x"}}}), "mine has no SHA-256"),
        (lambda c: c.update(extensions={"models": {}}), "extensions.models is no kind"),
    ],
)
def test_what_no_run_can_say_is_found(tmp_path: Path, edit: Edit, said: str) -> None:
    forged(tmp_path, edit)
    found = problems(tmp_path)
    assert any(said in problem for problem in found), found


@pytest.mark.parametrize("name", SCORERS.names())
def test_records_that_do_not_say_it_mean_what_the_scorers_say(name: str) -> None:
    for info in SCORERS.load(name).scores:
        assert said_of(info.name, None) == Said(name, info.judged_by, info.checked, info.main, info.quality)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"attempts": ', '"attempts": 1, "attempts": ', "it says 'attempts' twice"),
        ('"last": ', '"last": 99.0, "last": ', "it says 'last' twice"),
        ('"peak_memory_bytes": ', '"peak_memory_bytes": 1' + 4000 * "0" + ', "x": ', "whole number of 4001 digits"),
        ('"cores": ', '"cores": -1' + 5000 * "0" + ', "x": ', "digits"),
        ('"cores": ', '"cores": 1e999, "x": ', "too large"),
        ('"created": "', '"created": "\\ud800', "half a character"),
        ('"notices": [', '"notices": [' + 200 * "[" + 200 * "]" + ",", "nested"),
        ('"created": "', '"created": "' + 2_000_000 * "x", "text of 2,"),
    ],
)
def test_what_is_no_plain_json_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    place = publish(tmp_path, pairs=6)
    text = place.read_text(encoding="utf-8")
    assert old in text
    place.write_text(text.replace(old, new, 1), encoding="utf-8")
    seal(place)
    (found,) = problems(tmp_path)
    assert said in found and len(found) < 300


def test_a_record_of_200_megabytes_is_not_read(tmp_path: Path) -> None:
    place = publish(tmp_path, pairs=6)
    with place.open("r+b") as stream:
        stream.truncate(200_000_000)
    assert any("200,000,000 bytes" in problem for problem in problems(tmp_path))


def test_one_run_under_six_seeds_is_one_run(tmp_path: Path) -> None:
    for seed in range(6):
        publish(tmp_path, seed=seed, draw=0)
    states = check_results(tmp_path, Origins())
    assert [state.place for state in states if state.good] == ["some/small/dpo/seed-0.json"]
    assert all("that of some/small/dpo/seed-0.json" in s.problems[0] for s in states if not s.good)


def _named(name: str, settings: dict[str, Any] | None = None) -> Edit:
    """A record under another method's name, edited wherever it says so."""

    def edit(content: dict[str, Any]) -> None:
        content["config"] |= {"method": name, "method_settings": settings or {}}
        content["method"] |= {"name": name, "settings": settings or {}}

    return edit


def _put(results: Path, content: dict[str, Any], scores: Path) -> None:
    content["config_hash"] = config_hash(content["config"])
    where = content["config"]
    place = results / where["stream"] / where["model"] / content["method"]["name"] / f"seed-{where['seed']}.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(scores, pair_scores_file(place))
    rewrite(place, content)


def _times(content: dict[str, Any]) -> None:
    for stage in content["stages"]:
        stage["seconds"] = {part: seconds * 1.01 for part, seconds in stage["seconds"].items()}


def _source(name: str) -> Edit:
    digest = hashlib.sha256((ROOT / "methods" / f"{name}.py").read_bytes()).hexdigest()
    return lambda content: content["method"].update(source_sha256=digest)


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ((), "its code is methods/dpo.py, and its method is ewc"),
        ((), "the times of stage 1 are those of mini/smollm2-135m/dpo/seed-0.json to the last digit"),
        ((_source("ewc"), _times), "the method ewc has a setting 'decay'"),
        ((_times,), "its last scores are those of mini/smollm2-135m/dpo/seed-0.json, another method"),
        ((_times, lambda c: c["config"].update(seed=4)), "its last scores are those of"),
        ((_times, _named("mine")), "its last scores are those of"),
        # Of another seed, nothing that was switched off explains it.
        ((_times, _named("mine", {"weight": 0}), lambda c: c["config"].update(seed=4)), "its last scores are those of"),
    ],
)
def test_a_run_under_another_methods_name_is_found(tmp_path: Path, edits: tuple[Edit, ...], said: str) -> None:
    own = REAL / "dpo" / "seed-0.json"
    content = json.loads(own.read_text(encoding="utf-8"))
    _put(tmp_path, json.loads(own.read_text(encoding="utf-8")), pair_scores_file(own))
    for edit in (_named("ewc"), *edits):
        edit(content)
    _put(tmp_path, content, pair_scores_file(own))
    found = {state.place: state.problems for state in check_results(tmp_path, Origins())}
    (copy,) = set(found) - {"mini/smollm2-135m/dpo/seed-0.json"}
    assert any(said in problem for problem in found[copy]), found


def test_methods_that_do_the_same_are_no_forgery(tmp_path: Path) -> None:
    """By design before there is a second task, and where a setting switches off what one of them does: that is said."""
    place = REAL / "dpo" / "seed-0.json"
    content, scores = json.loads(place.read_text(encoding="utf-8")), pair_scores_file(place)
    _put(tmp_path, json.loads(place.read_text(encoding="utf-8")), scores)
    for edit in (_named("mine", {"weight": 0.0}), _times):
        edit(content)
    _put(tmp_path, content, scores)
    mine = {state.place: state for state in check_results(tmp_path, Origins())}["mini/smollm2-135m/mine/seed-0.json"]
    assert not mine.problems
    note = "its last scores are those of mini/smollm2-135m/dpo/seed-0.json in every pair: as they were set, both"
    assert any(text.startswith(note) for text in mine.notes), mine.notes
    # Real runs of dpo and gem: what they did of the first task is the same, and no more.
    gem = REAL / "gem" / "seed-0.json"
    _put(tmp_path, json.loads(gem.read_text(encoding="utf-8")), pair_scores_file(gem))
    one, other = (read_pair_file(pair_scores_file(REAL / name / "seed-0.json")) for name in ("dpo", "gem"))
    margins = [(one[1][task].values[MARGIN], other[1][task].values[MARGIN]) for task in one[1]]
    assert all(np.array_equal(dpo, other) for dpo, other in margins)
    assert not problems(tmp_path)


def _copied(results: Path, seed: int, change: Callable[[Any], Any]) -> Path:
    """A real record of ``ewc`` under another seed, with its pairs changed and numbers that fit them not needed."""
    there = results / "mini" / "smollm2-135m" / "ewc"
    there.mkdir(parents=True, exist_ok=True)
    for file in (REAL / "ewc").glob("seed-0.*"):
        shutil.copyfile(file, there / file.name)
    copy = there / f"seed-{seed}.json"
    content = json.loads((there / "seed-0.json").read_text(encoding="utf-8"))
    content["config"]["seed"] = seed
    content["config_hash"] = config_hash(content["config"])
    change(pd.read_parquet(there / "seed-0.scores.parquet")).to_parquet(pair_scores_file(copy), index=False)
    rewrite(copy, content)
    return copy


def test_a_copy_with_its_pairs_in_another_order_or_a_few_edited_is_the_same_run(tmp_path: Path) -> None:
    def shuffled(frame: Any) -> Any:
        return frame.sample(frac=1.0, random_state=1)

    def edited(frame: Any) -> Any:
        first = frame.groupby(["stage", "task"]).head(1).index[:3]
        frame.loc[first, "policy_margin"] += 1e-3
        return frame

    for seed, change in enumerate((shuffled, edited), start=5):
        _copied(tmp_path, seed, change)
    states = {state.place[-11:]: state.problems for state in check_results(tmp_path, Origins())}
    assert not states["seed-0.json"]
    for name in ("seed-5.json", "seed-6.json"):
        assert any("it is the same run" in problem for problem in states[name]), states


def _pairs(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def edit(place: Path) -> None:
        frame = change(pd.read_parquet(pair_scores_file(place)))
        frame.to_parquet(pair_scores_file(place), index=False)
        seal(place)

    return edit


@pytest.mark.parametrize(
    "rename", [lambda i: f"x{i}", lambda i: i.replace("/test/", "/train/"), lambda i: i + "0 ", lambda i: i + "\u0660"]
)
def test_renamed_pairs_are_found(tmp_path: Path, rename: Callable[[str], str]) -> None:
    place = publish(tmp_path, pairs=6)
    _pairs(lambda frame: frame.assign(pair_id=frame["pair_id"].map(rename)))(place)
    assert any("is no test pair of" in problem for problem in problems(tmp_path))


def test_pairs_that_are_called_otherwise_than_in_other_records_are_found(tmp_path: Path) -> None:
    for method in ("dpo", "ewc"):
        publish(tmp_path, method, pairs=6)
    place = publish(tmp_path, "replay", pairs=6)
    _pairs(lambda frame: frame.assign(pair_id=frame["pair_id"].str.replace("/5", "/55")))(place)
    states = {state.place: state.problems for state in check_results(tmp_path, Origins()) if not state.good}
    assert list(states) == ["some/small/replay/seed-0.json"] and "called otherwise" in str(states)


def _clustered(place: Path, names: Callable[[pd.DataFrame], list[str]]) -> None:
    file = pair_scores_file(place)
    frame = pd.read_parquet(file)
    frame.assign(cluster=names(frame)).to_parquet(file, index=False)
    seal(place)


def _by_prompt(frame: pd.DataFrame) -> list[str]:
    return [f"{int(pair.rpartition('/')[2]) // 2}" for pair in frame["pair_id"]]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (lambda frame: ["a"] * len(frame), "all test pairs of one are of one cluster"),
        (lambda frame: [f"{row}" for row in range(len(frame))], "other clusters after stage 1"),
        (lambda frame: list(frame["pair_id"]), "clustered otherwise in other records"),
    ],
)
def test_forged_clusters_are_found(tmp_path: Path, names: Callable[[pd.DataFrame], list[str]], said: str) -> None:
    """Finer clusters than there are would make every error smaller."""
    places = [publish(tmp_path, seed=seed, pairs=40) for seed in range(3)]
    for place in places[1:]:
        _clustered(place, _by_prompt)
    assert not problems(tmp_path), "a record of before there were clusters says nothing of them"
    _clustered(places[0], names)
    assert any(said in problem for problem in problems(tmp_path))


@pytest.mark.parametrize("name", ["dp0", "DPO", "d-p-o", "dро", "dpo\u200b", "dpo ", "ｄｐｏ"])
def test_names_that_look_like_others_are_found(tmp_path: Path, name: str) -> None:
    for seed in range(2):
        publish(tmp_path, "dpo", seed)
    place = publish(tmp_path, name, 0, level=0.9)
    states = {state.place: state.problems for state in check_results(tmp_path, Origins()) if not state.good}
    assert list(states) == [place.relative_to(tmp_path).as_posix()], states
    assert "look like" in str(states) or "cannot be that of" in str(states) or "no name" in str(states)


def _bomb(file: Path, rows: int) -> None:
    """A small file of very many rows."""
    one = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, dtype=np.int8)), pa.array(["one"]))
    columns = {"stage": pa.array(np.zeros(rows, dtype=np.int8)), "task": one, "pair_id": one}
    pq.write_table(pa.table(columns | {"preference_accuracy": pa.array(np.zeros(rows))}), file, compression="zstd")


def test_files_that_would_hang_or_fill_the_checker(tmp_path: Path, call: Call) -> None:
    """A device, a pipe, a few bytes of very many rows: in the place of each file of a record, and beside the others."""
    publish(tmp_path / "results", "dpo")
    place = publish(tmp_path / "results", "ewc")
    for file in (place, pair_scores_file(place), digest_file(place)):
        content = file.read_bytes()
        for kind in ("device", "pipe", "folder"):
            file.unlink()
            if kind == "device":
                file.symlink_to("/dev/zero")
            elif kind == "pipe":
                os.mkfifo(file)
            else:
                file.mkdir()
            code, out, err = call("verify", "results")
            assert code == 2 and "dpo/seed-0.json" in out and "Traceback" not in err, (file, kind)
            assert file.parent.name in err and file.name in err
            code, out, err = call("leaderboard", "results")
            assert code == 0 and "dpo" in out, (file, kind, err)
            file.rmdir() if kind == "folder" else file.unlink()
            file.write_bytes(content)
    _bomb(pair_scores_file(place), 5_000_000)
    assert pair_scores_file(place).stat().st_size < 200_000
    seal(place)
    code, out, err = call("verify", "results")
    assert code == 2 and "5,000,000 rows" in err and call("leaderboard", "results")[0] == 0


def test_a_long_text_in_many_rows_is_one_text(tmp_path: Path) -> None:
    place = publish(tmp_path, pairs=6)
    _pairs(lambda frame: frame.assign(task="x" * 100_000))(place)
    assert any("more than 1000 characters" in problem for problem in problems(tmp_path))


@pytest.mark.parametrize("name", ["stage", "task", "pair_id", "preference_accuracy"])
@pytest.mark.parametrize("kind", ["null", "list", "text", "time"])
def test_columns_of_other_kinds_are_refused(tmp_path: Path, name: str, kind: str) -> None:
    place = publish(tmp_path, pairs=4)
    file = pair_scores_file(place)
    table = pq.read_table(file)
    n = table.num_rows
    values = {
        "null": pa.nulls(n),
        "list": pa.array([[1]] * n),
        "text": pa.array(["9"] * n, pa.binary()),
        "time": pa.array([10**15] * n, pa.timestamp("s")),
    }
    pq.write_table(table.set_column(table.column_names.index(name), name, values[kind]), file)
    with pytest.raises(ValueError, match="column"):
        read_pair_file(file)
    seal(place)
    assert problems(tmp_path)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["", "0", "../..", "dpo", "one", "\x1b[31m", "1e999", -1, 0.5, 10**18, 1e300]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], bytes]:
    """A folder with a good record and one that is forged again and again: the latter's content as it was."""
    results = tmp_path_factory.mktemp("two")
    publish(results, "ewc", pairs=4)
    place = publish(results, "dpo", pairs=4)
    content = json.loads(place.read_text(encoding="utf-8"))
    ability()(content)
    content["facts"] = {"judge": {"run": {"model": {"name": "m"}, "tasks": {"one": {}}}, "stages": {"1": {"one": {}}}}}
    content["tuned"] = {"setting": "training.learning_rate", "rates": [0.005], "chosen": 0.005, "stream": "some"}
    content["tuned"] |= {"model": "small", "seed": 0, "validation": 4, "score": "preference_accuracy"}
    content["tuned"] |= {"criterion": "last", "digest": "0" * 64}
    rewrite(place, content)
    assert not problems(results)
    return results, content, pair_scores_file(place).read_bytes()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), value=VALUES, delete=st.booleans())
def test_any_field_may_hold_anything(
    two: tuple[Path, dict[str, Any], bytes], data: Any, value: Any, delete: bool
) -> None:
    """Verified or refused, and the page of the other record comes out."""
    results, content, _ = two
    where = data.draw(st.sampled_from([*places(content)]))
    copy = json.loads(json.dumps(content))
    inner = copy
    for key in where[:-1]:
        inner = inner[key]
    if delete:
        del inner[where[-1]]
    else:
        inner[where[-1]] = value
    if data.draw(st.booleans()) and isinstance(copy.get("config"), dict):
        copy["config_hash"] = config_hash(copy["config"])
    rewrite(results / "some" / "small" / "dpo" / "seed-0.json", copy)
    states: dict[str, RecordState] = {state.place: state for state in check_results(results, Origins())}
    assert states["some/small/ewc/seed-0.json"].good
    views, broken = open_published([results])
    try:
        boards = make_boards(views)
    except BenchError as error:  # one record in two places
        assert "is there twice" in error.message
        return
    assert "ewc" in leaderboard_markdown(boards, broken)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_json_or_refused(content: bytes) -> None:
    try:
        parse_plain(content)
    except ValueError as error:
        assert str(error)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_any_damage_of_the_pairs_is_found(two: tuple[Path, dict[str, Any], bytes], place: int, byte: int) -> None:
    """One byte of the scores is another, and the digest fits."""
    results, content, scores = two
    record = results / "some" / "small" / "dpo" / "seed-0.json"
    damaged = bytearray(scores)
    damaged[place % len(scores)] = byte
    pair_scores_file(record).write_bytes(damaged)
    rewrite(record, content)
    try:
        check_results(results, Origins())  # right or wrong: a byte may be one that nobody reads
        views, _ = open_published([results])
        make_boards(views)
    finally:
        pair_scores_file(record).write_bytes(scores)


def test_errors_that_go_by_cluster_are_those_of_the_clusters_in_the_file(tmp_path: Path) -> None:
    place = publish(tmp_path, pairs=12)
    _clustered(place, lambda frame: [f"topic {int(pair.rpartition('/')[2]) // 3}" for pair in frame["pair_id"]])
    assert problems(tmp_path) == [], "a record of before errors went by cluster keeps its own"
    frame = pd.read_parquet(pair_scores_file(place))
    rows = {stage: frame[frame["stage"] == stage] for stage in range(len(TASKS) + 1)}
    content = json.loads(place.read_text())
    by_pair = content["scores"]["preference_accuracy"]["standard_error"]
    matrices = score_matrices(TASKS, rows, len(TASKS), INFOS)
    content["scores"] = {name: matrix.model_dump(mode="json") for name, matrix in matrices.items()}
    assert content["scores"]["preference_accuracy"]["standard_error"] != by_pair
    rewrite(place, content)
    assert problems(tmp_path) == []
    content["scores"]["preference_accuracy"]["standard_error"] = by_pair
    rewrite(place, content)
    assert any("preference_accuracy (standard_error) of" in problem for problem in problems(tmp_path))
    del content["scores"]["preference_accuracy"]["errors_by"]
    rewrite(place, content)
    assert problems(tmp_path) == [], "a score of before, beside one of today"
    frame.drop(columns="cluster").to_parquet(pair_scores_file(place), index=False)
    rewrite(place, content)
    assert problems(tmp_path) == [
        "the errors of preference_margin go by cluster, and the per-pair scores name no clusters"
    ]
