"""Scorers of users: found, named in the record, and every way in which one can be broken."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from lifealign_bench.errors import BenchError
from lifealign_bench.results.checks import form_problems
from lifealign_bench.results.record import Record, read_record
from lifealign_bench.results.recordfields import field_problems
from lifealign_bench.results.sameness import difference_of, run_key
from lifealign_bench.results.view import RunView
from lifealign_bench.scoring import scorers as scorers_package
from lifealign_bench.scoring.scorers import SCORERS, load_scorers
from tests.command import Call

FAKE = ("--model", "fake", "--stream", "fake", "--limit", "4", "--device", "cpu", "--dtype", "float32", "--quiet")
HEAD = '''"""Mine."""
from typing import ClassVar
import numpy as np
from lifealign_bench.scoring.scorer import Scored, ScoreInfo, Scorer
'''
BODY = '''
class {name}(Scorer):
    """Counts letters."""
    summary = "letters of the chosen responses"
    needs = frozenset({needs})
    scores = (ScoreInfo("letters", False, "letters", unit="letters", main=5),)

    def score(self, view):
        {score}
'''
COUNTS = 'return Scored({"letters": np.array([float(len(p.chosen)) for p in view.pairs])})'
THIRD = "[float(len(p.chosen)) if i < 2 else 1 / 0 for i, p in enumerate(view.pairs)]"


def text_of(score: str = COUNTS, name: str = "Letters", needs: str = "()") -> str:
    return HEAD + BODY.format(name=name, score=score, needs=needs)


def run_words(out: Path, scorer: str, *more: str) -> tuple[str, ...]:
    return ("run", *FAKE, "--method", "dpo", "--scorer", scorer, "--out", str(out), *more)


def the_record(out: Path) -> Record:
    return read_record(next(out.rglob("record.json")))


def test_a_file_of_ones_own_scores_a_run_and_is_part_of_it(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(text_of())
    out = tmp_path / "runs"
    code, _, err = call(*run_words(out, "preference,mine.py"))
    assert code == 0, err
    record = the_record(out)
    digest = hashlib.sha256((tmp_path / "mine.py").read_bytes()).hexdigest()
    assert record.extensions == {"scorers": {"mine": {"source_sha256": digest}}}
    matrix = record.scores["letters"]
    assert (matrix.scorer, matrix.main, matrix.judged_by, matrix.unit) == ("mine", 5, "", "letters")
    view = RunView.open(next(out.rglob("record.json")).parent)
    assert view.main_scores() == ["letters", "preference_accuracy"], "it says itself that it comes first"
    assert not form_problems(record), "a finished run is believed"
    # The same file: finished already. Another: another run, named by what differs.
    assert call(*run_words(out, "preference,mine.py"))[0] == 0
    (tmp_path / "mine.py").write_text(text_of() + "# changed\n")
    code, _, err = call(*run_words(out, "preference,mine.py"))
    assert code == 2 and "extensions.scorers.mine.source_sha256" in err
    code, out_text, err = call("sweep", *run_words(out, "preference,mine.py")[1:], "--dry-run")
    assert "extensions.scorers.mine.source_sha256" in out_text + err


def test_a_file_of_ones_own_is_added_to_a_finished_run(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(text_of())
    out = tmp_path / "runs"
    assert call(*run_words(out, "preference"))[0] == 0
    folder = next(out.rglob("record.json")).parent
    code, _, err = call("score", str(folder), "--scorer", "mine.py", "--quiet")
    assert code == 0, err
    record = the_record(out)
    assert "letters" in record.scores and "mine" in record.extensions["scorers"]
    assert call(*run_words(out, "preference"))[0] == 0, "who asks for less finds the finished run"
    fixed = json.loads((folder / "config.json").read_text())["fixed"]
    assert fixed["extensions"] == record.extensions


def test_runs_scored_by_other_files_of_one_name_are_not_compared(call: Call, tmp_path: Path) -> None:
    keys = {}
    for change in ("", "# changed\n"):
        (tmp_path / "mine.py").write_text(text_of() + change)
        out = tmp_path / f"runs{len(change)}"
        assert call(*run_words(out, "preference,mine.py"))[0] == 0
        keys[out.name] = RunView.open(next(out.rglob("record.json")).parent)
    own = {name: run_key(view.record, "letters", view.pair_ids) for name, view in keys.items()}
    assert difference_of(own) == "the source of the scorer mine is not the same"
    assert (
        difference_of({name: run_key(view.record, "preference_accuracy", view.pair_ids) for name, view in keys.items()})
        == ""
    )


BROKEN = {
    "import": ("import nowhere_to_be_found\n", "does not import: ModuleNotFoundError"),
    "syntax": ("def (\n", "does not import: SyntaxError"),
    "exits": ("raise SystemExit(0)\n", "does not import: SystemExit"),
    "none": (HEAD, "defines no scorer"),
    "two": (text_of() + BODY.format(name="More", score=COUNTS, needs="()"), "defines 2 scorers (Letters, More)"),
    "no scores": (HEAD + "class Mine(Scorer):\n    pass\n", "does not say what its scores are"),
    "needs": (text_of(needs='("attention",)'), "needs attention"),
    "made": (text_of() + "\n    def __init__(self):\n        raise ValueError('made')\n", "fails: ValueError: made"),
    "check": (
        text_of() + "\n    @classmethod\n    def check(cls, config):\n        raise KeyError('c')\n",
        "fails: KeyError",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_refused_before_anything_is_done(case: str, call: Call, tmp_path: Path) -> None:
    text, says = BROKEN[case]
    (tmp_path / "mine.py").write_text(text)
    for more in ((), ("--dry-run",)) if case in ("import", "check") else ((),):
        code, _, err = call(*run_words(tmp_path / "runs", "mine.py", *more))
        assert code == 2 and says in err and "mine.py" in err and "Traceback" not in err, err
    assert not list(tmp_path.rglob("trained.json")) and not list(tmp_path.rglob("scored.json"))


WRONG = {
    "shape": ('return Scored({"letters": np.zeros(3)})', "letters has the shape (3,), not (4,)"),
    "two-dimensional": ('return Scored({"letters": np.zeros((4, 1))})', "letters has the shape (4, 1)"),
    "texts": ('return Scored({"letters": ["many"] * 4})', "letters is no array of numbers"),
    "nan": ('return Scored({"letters": np.array([1.0, 2.0, np.nan, 4.0])})', "letters is nan for the pair fake-upper/"),
    "infinite": ('return Scored({"letters": np.array([1.0, np.inf, 3.0, 4.0])})', "letters is inf for the pair"),
    "another score": ('return Scored({"words": np.zeros(4)})', "gives 'words', which is none of its scores"),
    "nothing": ("return None", "it returns NoneType, not Scored"),
    "the third": (f'return Scored({{"letters": np.array({THIRD})}})', "fails: ZeroDivisionError"),
    "facts": ('return Scored({"letters": np.zeros(4)}, {"model": object()})', "fails: TypeError"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_answers_end_the_run_before_it_trains(case: str, call: Call, tmp_path: Path) -> None:
    score, says = WRONG[case]
    (tmp_path / "mine.py").write_text(text_of(score))
    code, _, err = call(*run_words(tmp_path / "runs", "mine.py"))
    assert code == 2 and says in err and "mine" in err and "Traceback" not in err, err
    assert not list(tmp_path.rglob("stage-1/trained.json"))


def test_a_partial_score_may_leave_values_out(call: Call, tmp_path: Path) -> None:
    text = text_of('return Scored({"letters": np.array([1.0, 2.0, np.nan, 4.0])})')
    text = text.replace("main=5", "partial=True, quality=False")
    (tmp_path / "mine.py").write_text(text)
    code, _, err = call(*run_words(tmp_path / "runs", "mine.py"))
    assert code == 0, err
    record = the_record(tmp_path / "runs")
    assert not record.metrics and not form_problems(record) and not list(field_problems(record))


def test_names_are_taken_once(call: Call, tmp_path: Path) -> None:
    (tmp_path / "reward.py").write_text(text_of())
    code, _, err = call(*run_words(tmp_path / "runs", "reward.py"))
    assert code == 2 and "Two scorers are called 'reward'" in err
    (tmp_path / "mine.py").write_text(text_of())
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "mine.py").write_text(text_of() + "#\n")
    code, _, err = call(*run_words(tmp_path / "runs", "mine.py,more/mine.py"))
    assert code == 2 and "Two scorers are called 'mine': more/mine.py and mine.py" in err
    (tmp_path / "other.py").write_text(text_of().replace('"letters"', '"preference_margin"'))
    code, _, err = call(*run_words(tmp_path / "runs", "preference,other.py"))
    assert code == 2 and "both have a score called 'preference_margin'" in err
    code, _, err = call(*run_words(tmp_path / "runs", "nowhere.py"))
    assert code == 2 and "no scorer file nowhere.py" in err
    assert not (tmp_path / "runs").exists()


def test_a_scorer_is_one_file(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the folder of scorers is all: it is listed, scores, and stands in records, tables and reports."""
    folder = tmp_path / "scorers"
    shutil.copytree(SCORERS.folder, folder)
    (folder / "letters.py").write_text(text_of())
    monkeypatch.setattr(SCORERS, "folder", folder)
    monkeypatch.setattr(scorers_package, "__path__", [*scorers_package.__path__, str(folder)])
    assert "letters" in SCORERS.names() and SCORERS.summary("letters") == "Mine."
    code, out, _ = call("list", "scorers")
    assert code == 0 and "letters of the chosen responses" in out
    runs = tmp_path / "runs"
    code, out, err = call(*run_words(runs, "preference,letters"))
    assert code == 0 and "letters" in out, err
    record = the_record(runs)
    assert record.scores["letters"].scorer == "letters" and "letters" in record.metrics and not record.extensions
    assert call(*("single" if word == "dpo" else word for word in run_words(runs, "preference,letters")))[0] == 0
    folders = [str(file.parent) for file in sorted(runs.rglob("record.json"))]
    code, out, err = call("compare", *folders, "--score", "letters", "--json")
    assert code == 0 and '"letters"' in out, err
    code, _, err = call("report", str(runs), "--out", str(tmp_path / "r.html"))
    assert code == 0 and "letters" in (tmp_path / "r.html").read_text(), err


def test_a_record_may_name_any_file_and_none_is_opened_because_it_does(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(text_of())
    assert call(*run_words(tmp_path / "runs", "preference,mine.py"))[0] == 0
    (tmp_path / "mine.py").write_text("raise AssertionError('opened')\n")
    record = next((tmp_path / "runs").rglob("record.json"))
    code, out, err = call("reproduce", str(record), "--out", str(tmp_path / "again"), "--dry-run")
    assert code == 0 and "opened" not in out + err, err
    assert "its file is named by the record" in " ".join((out + err).split())


def test_what_is_not_there_is_said_as_everywhere() -> None:
    with pytest.raises(BenchError, match="no scorer called 'rewrd'") as caught:
        load_scorers(("rewrd",))
    assert "Did you mean 'reward'" in caught.value.remedy
