"""``lifealign-bench inspect`` on a run of the fakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from lifealign_bench.cli import main
from lifealign_bench.config import GenerationConfig, RunConfig
from lifealign_bench.reporting.tables.noise import noise_grid, noise_note
from lifealign_bench.results.history import moved
from lifealign_bench.results.record import ScorerFacts
from lifealign_bench.results.recordfields import field_problems
from lifealign_bench.results.view import RunView
from lifealign_bench.runs.run import run

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = RunConfig(
        method="dpo",
        stream="fake",
        tasks=("fake-upper", "fake-lower", "fake-digits"),
        model="fake",
        dtype="float32",
        device="cpu",
        train_limit=8,
        test_limit=6,
        out=tmp_path_factory.mktemp("runs"),
    )
    run(config)
    return config.run_directory()


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setenv("COLUMNS", "120")

    def ask(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["inspect", *words])
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    return ask


def test_the_whole_run(call: Call, finished: Path) -> None:
    code, out, _ = call(str(finished))
    assert code == 0
    assert "changed sides" in out and "by quarter" in out and "Responses after every stage" in out
    assert "Pairs whose margin lies within rounding (percent)" in out
    rows = [pd.read_parquet(finished / f"stage-{k}" / "scores.parquet") for k in (1, 3)]
    before, after = (r.loc[r["task"] == "fake-upper", "preference_margin"].to_numpy() for r in rows)
    found = moved(before, after)
    (line,) = [w for w in out[: out.index("by quarter")].splitlines() if w.startswith("fake-upper")]
    assert [int(word) for word in line.split()[1:]] == [6, found.right_before, found.lost, found.won, found.right_after]


def test_pairs_within_rounding_are_those_that_the_record_counts(finished: Path) -> None:
    view = RunView.open(finished)
    rows = [pd.read_parquet(finished / f"stage-{k}" / "scores.parquet") for k in (1, 2, 3)]
    told = view.record.facts["preference"].stages
    assert list(told) == ["1", "2", "3"]
    for frame, own in zip(rows, told.values(), strict=True):
        for task, said in own.items():
            margins = frame.loc[frame["task"] == task, "preference_margin"].abs()
            assert said["pairs"] == 6 and 0 < said["noise_nats"] < 1e-4  # float32
            assert said["within_noise"] == int((margins < 2 * said["noise_nats"]).sum())
    assert field_problems(view.record) == []

    def with_facts(**changed: int) -> RunView:
        stage = {task: said | changed for task, said in told["3"].items()}
        facts = {"preference": ScorerFacts(stages={"3": stage})}
        return RunView(view.record.model_copy(update={"facts": facts}), finished)

    noisy = with_facts(within_noise=3)
    grid = noise_grid(noisy)
    assert grid is not None and grid.rows == (("3 fake-digits", "50.0", "50.0", "50.0"),)
    assert "margins of 9 of 18 pairs" in noise_note(noisy, "preference_accuracy")[0]
    assert noise_note(noisy, "reward") == ()
    assert "9 of 6 pairs are within rounding" in field_problems(with_facts(within_noise=9).record)[0]
    before = RunView(view.record.model_copy(update={"facts": {}}), finished)
    assert noise_grid(before) is None and noise_note(before, "preference_accuracy") == ()


def test_pairs_of_a_task(call: Call, finished: Path) -> None:
    code, out, _ = call(str(finished), "--task", "fake-lower", "--limit", "2")
    assert code == 0 and out.count("fake-lower/test/") == 2 and out.count("chosen: ") == 2
    code, out, _ = call(str(finished), "--task", "fake-lower", "--limit", "0", "--json")
    found = json.loads(out)
    assert len(found) == 6 and all(list(h["margins"]) == list(h["responses"]) == ["0", "1", "2", "3"] for h in found)
    table = pd.read_parquet(finished / "stage-2" / "scores.parquet").set_index("pair_id")
    for history in found:
        assert history["margins"]["2"] == table.loc[history["pair_id"], "preference_margin"]
    # What lost most since its own stage comes first.
    drops = [h["margins"]["3"] - h["margins"]["2"] for h in found]
    assert drops == sorted(drops)
    code, out, _ = call(str(finished), "--task", "fake-lower", "--pair", found[3]["pair_id"], "--stage", "1")
    assert found[3]["pair_id"] in out and "1 fake-upper" in out and "2 fake-lower" not in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--task", "fake-loer"], "Did you mean"),
        (["--task", "fake-lower", "--stage", "9"], "no stage 9"),
        (["--task", "fake-lower", "--pair", "x"], "no test pair 'x'"),
        (["--task", "fake-lower", "--order", "best"], "order"),
        (["--stage", "1"], "--task"),
    ],
)
def test_what_is_not_there(call: Call, finished: Path, words: list[str], says: str) -> None:
    code, _, err = call(str(finished), *words)
    assert code == 2 and says in err and "Traceback" not in err


def test_a_folder_without_a_run(call: Call, tmp_path: Path) -> None:
    code, _, err = call(str(tmp_path))
    assert code == 2 and "no record" in err


def test_text_of_a_model_is_shown_as_text(call: Call, finished: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    file = copy / "stage-3" / "generations.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line in lines:
        line["response"] = "[red]marked[/red] \x1b[31mred\nsecond line"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, out, _ = call(str(copy), "--task", "fake-upper", "--limit", "1", "--stage", "3")
    assert code == 0 and "[red]marked[/red]" in out and "\x1b" not in out and "second line" in out
    file.write_text("not json\n")
    code, _, err = call(str(copy), "--task", "fake-upper")
    assert code == 2 and "damaged" in err


def test_what_a_method_tried_in_training_is_shown_with_its_reward(call: Call, finished: Path, tmp_path: Path) -> None:
    config = RunConfig(
        method="rft",
        method_settings={"n": 2},
        stream="fake",
        tasks=("fake-upper",),
        model="fake",
        dtype="float32",
        device="cpu",
        train_limit=3,
        test_limit=2,
        scorers=("preference",),
        generation=GenerationConfig(max_new_tokens=3),
        out=tmp_path,
    )
    counts = run(config).stages[1].rollouts
    place = str(config.run_directory())
    code, out, _ = call(place)
    (line,) = [
        w for w in out[out.index("Rollouts: what the model tried") :].splitlines() if w.startswith("1 fake-upper")
    ]
    assert code == 0 and counts is not None and line.split()[2:5] == ["3", "6", str(int(counts["tokens"] or 0))]
    code, out, _ = call(place, "--task", "fake-upper", "--rollouts", "--pair", "1", "--json")
    said = json.loads(out)
    assert code == 0 and [(one["stage"], one["pair_id"]) for one in said] == [(1, "fake-upper/train/1")] * 2
    code, out, _ = call(place, "--task", "fake-upper", "--rollouts", "--limit", "1")
    assert code == 0 and out.count("fake-upper/train/") == 1 and "step 1" in out and "user: call" in out
    code, _, err = call(str(finished), "--task", "fake-upper", "--rollouts")
    assert code == 2 and "Nothing that was sampled in training for fake-upper" in err
    code, _, err = call(place, "--rollouts")
    assert code == 2 and "Name it with --task" in err
