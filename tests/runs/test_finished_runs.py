"""A finished run is believed no more than its files: whoever shows it says where they contradict it."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lifealign_bench.config import GenerationConfig, RunConfig, TrainingConfig
from lifealign_bench.errors import BenchError
from lifealign_bench.experiments.sweep import standing
from lifealign_bench.results.origins import Origins
from lifealign_bench.results.published import digest_file, pair_scores_file
from lifealign_bench.results.record import read_record
from lifealign_bench.results.runcheck import view_problems
from lifealign_bench.results.verify import check_results, submit_run
from lifealign_bench.results.view import RunView
from lifealign_bench.runs.run import run
from lifealign_bench.util.files import remove_leftovers, write_text
from lifealign_bench.util.progress import Progress
from tests.command import Call
from tests.published_records import publish, rewrite

Damage = Callable[[Path], None]


def config_in(out: Path) -> RunConfig:
    return RunConfig(
        method="replay",
        stream="fake",
        tasks=("fake-upper", "fake-lower"),
        model="fake",
        dtype="float32",
        device="cpu",
        out=out,
        train_limit=8,
        test_limit=6,
        abilities=("builtin_facts",),
        training=TrainingConfig(learning_rate=5e-3, batch_size=4),
        generation=GenerationConfig(max_new_tokens=6),
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of runs with one that is finished, under an unusual umask; tests copy it."""
    out = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIFEALIGN_BENCH_CACHE", str(out / "cache"))
        old = os.umask(0o027)
        try:
            run(config_in(out / "runs"))
        finally:
            os.umask(old)
        yield out / "runs"


@pytest.fixture
def mine(finished: Path, tmp_path: Path) -> RunConfig:
    shutil.copytree(finished, tmp_path / "runs")
    return config_in(tmp_path / "runs")


def edited(change: Callable[[dict[str, Any]], None]) -> Damage:
    def damage(folder: Path) -> None:
        content = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        change(content)
        (folder / "record.json").write_text(json.dumps(content), encoding="utf-8")

    return damage


def broken(name: str) -> Damage:
    """One byte in the middle of a file is another."""

    def damage(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 0xFF
        (folder / name).write_bytes(content)

    return damage


RECORD = {
    "a cell": (
        edited(lambda c: c["scores"]["preference_accuracy"]["value"][2].__setitem__(0, 99.0)),
        "preference_accuracy (value) of fake-upper in row 2 is 99.0",
    ),
    "a metric": (
        edited(lambda c: c["metrics"]["preference_accuracy"].update(last=99.0)),
        "last of preference_accuracy",
    ),
    "a metric taken out": (edited(lambda c: c["metrics"].pop("preference_accuracy")), "metrics of preference_accuracy"),
    "an error": (
        edited(lambda c: c["scores"]["reward"]["standard_error"][1].__setitem__(0, 0.25)),
        "reward (standard_error)",
    ),
    "the time": (edited(lambda c: c["stages"][1]["seconds"].update(train=0.001)), "seconds (train) of stage 1"),
    "the loss": (edited(lambda c: c["stages"][2].update(final_loss=0.0)), "final_loss of stage 2"),
    "the steps": (edited(lambda c: c["stages"][2].update(steps=1000)), "steps of stage 2"),
    "an ability": (
        edited(lambda c: c["abilities"]["builtin_facts"]["stages"]["0"].update(standard_error=1.0)),
        "builtin_facts after stage 0",
    ),
}
FILES = {
    "scores": (broken("stage-2/scores.parquet"), "stage-2/scores.parquet"),
    "abilities": (broken("stage-0/abilities.parquet"), "stage-0/abilities.parquet"),
    "an adapter": (broken("stage-1/adapter/adapter_model.safetensors"), "adapter_model.safetensors is damaged"),
    "a method's state": (broken("stage-2/method.safetensors"), "stage-2/method.safetensors is damaged"),
    "responses": (broken("stage-2/generations.jsonl"), "stage-2/generations.jsonl is damaged"),
    "a marker": (broken("stage-2/trained.json"), "stage-2/trained.json"),
}


def test_nothing_is_wrong_with_a_run_as_it_was_written(mine: RunConfig, call: Call) -> None:
    assert view_problems(RunView.open(mine.run_directory())) == []
    assert "warning" not in call("summary", str(mine.run_directory()))[2]


@pytest.mark.parametrize("what", [*RECORD, *FILES])
def test_every_reader_says_what_is_wrong(mine: RunConfig, what: str, call: Call, tmp_path: Path) -> None:
    damage, said = (RECORD | FILES)[what]
    folder = mine.run_directory()
    damage(folder)
    for words in (("summary", str(folder)), ("report", str(folder), "--force"), ("compare", str(folder), str(folder))):
        code, out, err = call(*words)
        assert said in " ".join(err.split()) and "Traceback" not in err, (words, err)
        # Responses that cannot be read cannot be shown, nor pairs compared that are not those of the cells.
        assert code == 0 or "error: " in err
        assert "warning" not in out
    with pytest.raises(BenchError):
        submit_run(folder, tmp_path / "results", Origins())
    assert not (tmp_path / "results").exists()


class Heard(Progress):
    def __init__(self) -> None:
        self.notices: list[str] = []

    def notice(self, text: str) -> None:
        self.notices.append(text)


@pytest.mark.parametrize("what", ["a cell", "a metric", "the time", "scores", "an adapter", "responses"])
def test_run_makes_the_record_again_and_trains_nothing(
    mine: RunConfig, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage, said = (RECORD | FILES)[what]
    before = read_record(mine.run_directory() / "record.json")
    damage(mine.run_directory())

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("it was trained")

    monkeypatch.setattr("lifealign_bench.runs.stages.train_stage", never)
    if what in RECORD or what == "scores":
        assert standing(mine)[0] == "to be continued"
    heard = Heard()
    after = run(mine, heard)
    assert any(said in text for text in heard.notices), heard.notices
    assert (after.scores, after.metrics, after.abilities) == (before.scores, before.metrics, before.abilities)
    assert after.stages[1].seconds["train"] == before.stages[1].seconds["train"]
    assert standing(mine)[0] == "finished"


def test_a_published_record_that_was_edited_is_shown_with_a_warning(tmp_path: Path, call: Call) -> None:
    place, other = publish(tmp_path), publish(tmp_path, "ewc")
    content = json.loads(place.read_text(encoding="utf-8"))
    content["stages"][1]["seconds"]["train"] = 0.5
    rewrite(place, content, sealed=False)
    for words in (("summary", str(place)), ("compare", str(other), str(place)), ("report", str(place))):
        code, _, err = call(*words)
        assert code == 0 and "it was edited" in err, err
    code, out, _ = call("leaderboard", str(tmp_path), "--format", "markdown")
    assert code == 0 and "it was edited" in out and "| ewc |" in out
    rewrite(place, content)  # what was edited cannot be computed again, and the digest fits
    pair_scores_file(place).write_bytes(b"PAR1")
    assert "no intervals from it" in call("summary", str(place))[2]


def test_temporary_files_of_a_killed_run_go_with_its_next_start(mine: RunConfig) -> None:
    folder = mine.run_directory()
    left = [folder / ".record.json.abcdefgh.tmp", folder / "stage-1" / ".scores.parquet.12_4567x.tmp"]
    kept = folder / "stage-1" / "notes.tmp"
    for file in (*left, kept):
        file.write_text("half")
    run(mine)
    assert not any(file.exists() for file in left) and kept.exists()


def test_all_files_of_a_run_have_the_same_mode(finished: Path) -> None:
    modes = {path.stat().st_mode & 0o777 for path in finished.rglob("*") if path.is_file() and path.name != ".lock"}
    assert modes == {0o640}


_KILLED = """
import os, signal, sys
from pathlib import Path
from lifealign_bench.results.origins import Origins
from lifealign_bench.results.verify import submit_run
left = int(sys.argv[3])
def replace(self, target):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return os.replace(self, target)
Path.replace = replace
submit_run(Path(sys.argv[1]), Path(sys.argv[2]), Origins())
"""


@pytest.mark.parametrize("moves", [0, 1, 2])
def test_submit_that_was_killed_is_repeated(mine: RunConfig, moves: int, tmp_path: Path) -> None:
    results = tmp_path / "results"
    words = [sys.executable, "-c", _KILLED, str(mine.run_directory()), str(results), str(moves)]
    assert subprocess.run(words, check=False, capture_output=True).returncode == -9
    states = check_results(results, Origins())
    assert all(state.good and state.unfinished for state in states) and len(states) == moves
    assert all("submit the run again" in state.notes[0] for state in states)
    place = submit_run(mine.run_directory(), results, Origins()).place
    assert [(s.good, s.unfinished) for s in check_results(results, Origins())] == [(True, False)]
    files = {path for path in place.parent.iterdir() if path.name != ".lock"}
    assert files == {place, pair_scores_file(place), digest_file(place)}
    assert len({path.stat().st_mode for path in files}) == 1


def test_submit_without_space_is_one_message_and_can_be_repeated(
    mine: RunConfig, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:

    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("lifealign_bench.results.published.write_text", full)
    code, _, err = call("submit", str(mine.run_directory()), "--results", "results")
    assert code == 2 and "No space left on device" in err and "Traceback" not in err
    assert not list((tmp_path / "results").rglob("seed-*.json"))
    monkeypatch.setattr("lifealign_bench.results.published.write_text", write_text)
    assert call("submit", str(mine.run_directory()), "--results", "results")[0] == 0


def test_submit_after_a_killed_score_names_what_finishes_it(mine: RunConfig, tmp_path: Path) -> None:
    file = mine.run_directory() / "stage-1" / "scores.parquet"
    pd.read_parquet(file).assign(bleu4=0.0).to_parquet(file, index=False)
    with pytest.raises(BenchError, match="stage 1 has bleu4") as caught:
        submit_run(mine.run_directory(), tmp_path / "results", Origins())
    assert f"Run the same lifealign-bench score {mine.run_directory()} command again" in caught.value.remedy


def test_a_file_that_is_too_large_is_one_message(mine: RunConfig, tmp_path: Path) -> None:
    """The limit of a shell (``ulimit -f``) or of a file system."""
    words = [sys.executable, "-m", "lifealign_bench", "submit", str(mine.run_directory()), "--results", "results"]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    done = subprocess.run(words, preexec_fn=limit, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "File too large" in done.stderr and "Traceback" not in done.stderr
    assert "ulimit -f" in done.stderr and not list((tmp_path / "results").rglob("*.json"))


def test_leftovers_of_one_name_alone(tmp_path: Path) -> None:
    for name in (".seed-1.json.abcdefgh.tmp", ".seed-2.json.abcdefgh.tmp", "seed-1.json"):
        (tmp_path / name).write_text("x")
    remove_leftovers(tmp_path, "seed-1.*")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".seed-2.json.abcdefgh.tmp", "seed-1.json"]
