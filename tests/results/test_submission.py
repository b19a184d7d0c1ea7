"""A finished run becomes a published record, or a clear message says why not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lifealign_bench.config import GenerationConfig, RunConfig, TrainingConfig
from lifealign_bench.errors import BenchError
from lifealign_bench.results.origins import Origins
from lifealign_bench.results.published import digest_file, digest_problem, pair_scores_file, publish_run, record_place
from lifealign_bench.results.record import Record, read_record
from lifealign_bench.results.verify import check_results, submit_run
from lifealign_bench.runs.run import run
from tests.command import Call
from tests.published_records import config_hash

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a finished run; tests copy it."""
    out = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIFEALIGN_BENCH_CACHE", str(out / "cache"))
        config = RunConfig(
            method="replay",
            stream="fake",
            tasks=("fake-upper", "fake-lower"),
            model="fake",
            dtype="float32",
            device="cpu",
            out=out / "runs",
            train_limit=8,
            test_limit=6,
            training=TrainingConfig(learning_rate=5e-3, batch_size=4),
            generation=GenerationConfig(max_new_tokens=6),
        )
        run(config)
        yield config.run_directory()


@pytest.fixture
def mine(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def edit(run: Path, change: Edit) -> None:
    file = run / "record.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content)
    file.write_text(json.dumps(content), encoding="utf-8")


def refused(run: Path, results: Path) -> str:
    """The message; nothing may have been written."""
    with pytest.raises(BenchError) as caught:
        submit_run(run, results, Origins())
    assert not list(results.rglob("seed-*"))
    return str(caught.value)


def test_a_finished_run_is_published_and_holds(mine: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    found = submit_run(mine, results, Origins())
    assert found.state == "added"
    assert found.place == results / "fake" / "fake" / "replay" / "seed-0.json"
    assert found.place.read_bytes() == (mine / "record.json").read_bytes()
    states = check_results(results, Origins())
    assert [(s.place, s.good) for s in states] == [("fake/fake/replay/seed-0.json", True)], states
    # The data of fakes is available, so nothing about it is left unchecked.
    assert not any("not checked" in note for note in states[0].notes)
    # What the method keeps was measured.
    assert (read_record(found.place).stages[-1].state_bytes or 0) > 0


def test_a_run_that_was_begun_before_there_were_clusters_is_published_without(mine: Path, tmp_path: Path) -> None:
    file = mine / "stage-0" / "scores.parquet"
    frame = pd.read_parquet(file)
    assert "cluster" in frame
    frame.drop(columns="cluster").to_parquet(file, index=False)
    # What such a run's record says: all prompts are different here, so that its errors by pair are these.
    edit(mine, lambda c: c.update(scores={n: m | {"errors_by": None} for n, m in c["scores"].items()}))
    place = tmp_path / "results" / "fake" / "fake" / "replay" / "seed-0.json"
    publish_run(mine, place)
    assert all(state.good for state in check_results(tmp_path / "results", Origins()))


def test_digests_are_those_of_sha256sum(mine: Path, tmp_path: Path) -> None:
    import hashlib

    place = submit_run(mine, tmp_path / "results", Origins()).place
    lines = {line.split("  ")[1]: line.split("  ")[0] for line in digest_file(place).read_text().splitlines()}
    assert lines == {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (place, pair_scores_file(place))}


def test_nothing_is_overwritten(mine: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    place = submit_run(mine, results, Origins()).place
    assert submit_run(mine, results, Origins()).state == "there already"
    before = {p: p.read_bytes() for p in results.rglob("*") if p.is_file()}
    edit(mine, lambda c: c["hardware"].update(cores=99))
    with pytest.raises(BenchError, match="another record of this method and seed") as caught:
        submit_run(mine, results, Origins())
    assert "Nothing was overwritten" in caught.value.remedy and str(place) in caught.value.message
    assert {p: p.read_bytes() for p in results.rglob("*") if p.is_file()} == before


def renamed(key: str, name: str) -> Edit:
    def change(content: dict[str, Any]) -> None:
        if key == "method":
            content["method"]["name"] = name
        else:
            content["config"][key] = name
        content["config_hash"] = config_hash(content["config"])

    return change


@pytest.mark.parametrize("key", ["stream", "model", "method"])
@pytest.mark.parametrize(
    "name", ["../../outside", "/etc/passwd", "..\\..\\up", "C:\\x", "~/x", "a\x1b[31mb", "a\u202eb", " "]
)
def test_names_that_lead_elsewhere_or_deceive_are_refused(mine: Path, tmp_path: Path, key: str, name: str) -> None:
    edit(mine, renamed(key, name))
    assert "name" in refused(mine, tmp_path / "results")
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update(status="interrupted"), "status is interrupted"),
        (lambda c: c.update(schema_version=99), "schema 99"),
        (lambda c: c["stages"].pop(1), "stage 1 is missing"),
        (lambda c: c["stages"].pop(), "no stage trained fake-lower"),
        (lambda c: c["scores"]["preference_accuracy"]["value"][2].__setitem__(0, 99.5), "its pairs give"),
        (lambda c: c["scores"]["reward"]["standard_error"][1].__setitem__(0, 0.25), "(standard_error)"),
        (lambda c: c["scores"]["preference_margin"]["n"][0].__setitem__(1, 7), "(n)"),
        (lambda c: c["metrics"]["preference_accuracy"].update(last=100.0), "its score matrix gives"),
        (lambda c: c["config"].update(seed=4), "config_hash"),
        (lambda c: c["config"]["training"].update(learning_rate=1.0), "config_hash"),
        (lambda c: c["data"]["fake-upper"].update(train_digest="0" * 64), "train pairs of fake-upper"),
        (lambda c: c["data"].pop("fake-lower"), "stream's tasks"),
        (lambda c: c["stages"][1]["seconds"].update(train=float("nan")), "NaN"),
        (lambda c: c.update(peak_memory_bytes="much"), "broken at peak_memory_bytes"),
    ],
)
def test_a_record_that_is_not_that_of_its_run_is_refused(mine: Path, tmp_path: Path, change: Edit, said: str) -> None:
    edit(mine, change)
    assert said in refused(mine, tmp_path / "results")


def test_an_edited_number_of_a_pair_is_refused(mine: Path, tmp_path: Path) -> None:
    file = mine / "stage-2" / "scores.parquet"
    frame: Any = pd.read_parquet(file)
    frame.loc[3, "preference_margin"] += 1e-3
    frame.to_parquet(file, index=False)
    assert "its pairs give" in refused(mine, tmp_path / "results")


@pytest.mark.parametrize("column", ["preference_accuracy", "preference_margin"])
def test_nan_scores_are_refused(mine: Path, tmp_path: Path, column: str) -> None:
    file = mine / "stage-1" / "scores.parquet"
    frame: Any = pd.read_parquet(file)
    frame.loc[0, column] = np.nan
    frame.to_parquet(file, index=False)
    assert f"{column} of fake-upper after stage 1 is NaN for 1 of 6" in refused(mine, tmp_path / "results")


def test_missing_scores_are_refused(mine: Path, tmp_path: Path) -> None:
    (mine / "stage-1" / "scores.parquet").unlink()
    assert "cannot be read" in refused(mine, tmp_path / "results")


def test_a_test_pair_in_training_is_refused(mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One training pair says the same as a test pair, with the digests that belong to it."""
    from dataclasses import replace

    from lifealign_bench.data.tasks import load_split as real
    from lifealign_bench.pairs import digest_pairs

    def leaking(card: Any, split: Any, **more: Any) -> Any:
        pairs, report, source = real(card, split, **more)
        if split == "train" and card.name == "fake-lower":
            test = real(card, "test", **more)[0]
            pairs = (replace(test[2], id="fake-lower/train/0"), *pairs[1:])
        return pairs, report, source

    monkeypatch.setattr("lifealign_bench.results.origins.load_split", leaking)
    from lifealign_bench.data.cards import load_task

    pairs = leaking(load_task("fake-lower"), "train", data_dir=None)[0][:8]
    edit(mine, lambda c: c["data"]["fake-lower"].update(train_digest=digest_pairs(pairs)))
    assert "1 test pairs of fake-lower are also training pairs" in refused(mine, tmp_path / "results")


def test_a_link_among_the_results_is_not_followed(mine: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "fake").symlink_to(elsewhere)
    with pytest.raises(BenchError, match="is a link"):
        submit_run(mine, tmp_path / "results", Origins())
    assert not list(elsewhere.iterdir())


def test_a_record_of_before_there_were_digests_is_sealed_once(mine: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    place = submit_run(mine, results, Origins()).place
    digest_file(place).unlink()
    assert [s.problems for s in check_results(results, Origins())] == [["seed-0.sha256 is missing"]]
    assert submit_run(place, results, Origins()).state == "sealed" and not digest_problem(place)
    # An edit is not sealed away.
    content = json.loads(place.read_text())
    content["peak_memory_bytes"] += 1
    place.write_text(json.dumps(content))
    with pytest.raises(BenchError, match="was edited"):
        submit_run(place, results, Origins())


def test_the_commands(mine: Path, tmp_path: Path, call: Call) -> None:
    code, out, err = call("submit", str(mine), "--results", "results")
    assert code == 0 and "added: results/fake/fake/replay/seed-0.json" in out
    code, out, err = call("verify", "results")
    assert code == 0 and out.startswith("Verdict: 1 of 1 right.")
    code, out, err = call("submit", str(mine), str(tmp_path / "nowhere"), "--results", "results", "--json")
    assert code == 2 and [entry["state"] for entry in json.loads(out)] == ["there already", "refused"]
    file = tmp_path / "results/fake/fake/replay/seed-0.json"
    file.write_text(file.read_text().replace('"attempts": 1', '"attempts": 2'))
    code, out, err = call("verify", "results")
    assert (
        code == 2
        and out.startswith("Verdict: 0 of 1 right.")
        and "wrong" in out
        and "seed-0.json is not what seed-0.sha256 says: it was edited" in err
    )
    code, out, _ = call("verify", "results", "--json")
    assert code == 2 and json.loads(out)[0]["good"] is False
    assert call("verify", "nothing-here")[0] == 2


def test_places_of_ordinary_names(finished: Path) -> None:
    record = read_record(finished / "record.json")

    def place(**config: Any) -> str:
        return record_place(Record.model_validate(record.to_json() | {"config": record.config | config})).as_posix()

    assert place(model="org/Model-1B") == "fake/org-Model-1B/replay/seed-0.json"
    assert place(stream="a,b", seed=12) == "a,b/fake/replay/seed-12.json"
    for seed in (-1, "0", True, None):
        with pytest.raises(BenchError, match="seed"):
            place(seed=seed)
