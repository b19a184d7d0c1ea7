"""Judges of users: found, named in the record, and every way in which one can be broken."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from lifealign_bench.results.record import read_record
from lifealign_bench.results.sameness import difference_of, run_key
from lifealign_bench.results.view import RunView
from lifealign_bench.scoring.judging import JUDGES, kinds
from tests.command import Call

HEAD = '''"""Likes long responses."""
from lifealign_bench.scoring.judging.judge import Judge, Reply, Verdict
from lifealign_bench.scoring.judging.worded import WordedJudge
'''
LONGER = "return [Verdict.by_number(len(c.ours), len(c.theirs)) for c in contests], {}"
COMPARES = """
class {name}(Judge):
    def decide(self, card, contests):
        {decide}
"""
ANSWERS = """
class Grades(WordedJudge):
    def ask(self, questions):
        {ask}
"""
SEVEN = 'return [Reply("Score: 7") for _ in questions]'


def run_words(out: str, scorer: str, judge: str, *more: str) -> tuple[str, ...]:
    fake = ("--model", "fake", "--stream", "fake", "--limit", "4", "--device", "cpu", "--dtype", "float32", "--quiet")
    return ("run", *fake, "--method", "dpo", "--scorer", scorer, "--judge", judge, "--out", out, *more)


def compares(decide: str = LONGER, name: str = "Longer") -> str:
    return HEAD + COMPARES.format(name=name, decide=decide)


def test_a_judge_of_ones_own_decides_contests_and_is_part_of_the_run(call: Call, tmp_path: Path) -> None:
    views = {}
    for change in ("", "# changed\n"):
        (tmp_path / "mine.py").write_text(compares() + change)
        code, _, err = call(*run_words(f"runs{len(change)}", "preference,win", "mine.py"))
        assert code == 0, err
        views[change] = RunView.open(next(Path(f"runs{len(change)}").rglob("record.json")).parent)
    record = views[""].record
    digest = hashlib.sha256(compares().encode()).hexdigest()
    assert record.extensions == {"judges": {"mine": {"source_sha256": digest}}}
    assert record.facts["win"].run["judge"] == "mine.py"
    assert not all(value is None for row in record.scores["judged_win_rate_base"].value for value in row)
    keys = {name: run_key(view.record, "judged_win_rate_base", view.pair_ids) for name, view in views.items()}
    assert difference_of(keys) == "the source of the judge mine is not the same"
    assert (
        difference_of(
            {name: run_key(view.record, "preference_accuracy", view.pair_ids) for name, view in views.items()}
        )
        == ""
    )
    code, _, err = call(*run_words("runs0", "preference,win", "mine.py"))
    assert code == 2 and "extensions.judges.mine.source_sha256" in err


def test_a_judge_of_ones_own_that_answers_grades_as_well(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(compares() + ANSWERS.format(ask=SEVEN))
    code, _, err = call(*run_words("runs", "judge", "mine.py:Grades"))
    assert code == 0, err
    record = read_record(next(Path("runs").rglob("record.json")))
    assert record.scores["judge"].value[0] == [70.0] * 3 and "Grades" in record.extensions["judges"]
    code, _, err = call(*run_words("more", "judge", "mine.py:Longer"))
    assert code == 2 and "compares two responses and answers no question" in err


BROKEN = {
    "import": ("mine.py", "import nowhere_to_be_found\n", "does not import: ModuleNotFoundError"),
    "none": ("mine.py", HEAD, "defines no judge"),
    "two": ("mine.py", compares() + COMPARES.format(name="More", decide=LONGER), "defines 2 judges (Longer, More)"),
    "another": ("mine.py:Shorter", compares(), "defines no judge called 'Shorter'"),
    "no file": ("other.py", compares(), "no judge file other.py"),
    "check": (
        "mine.py",
        compares() + "\n    @classmethod\n    def check(cls, config, model):\n        raise ValueError('no')\n",
        "fails: ValueError: no",
    ),
    "made": (
        "mine.py",
        compares() + "\n    def __init__(self):\n        raise ValueError('no')\n",
        "fails: ValueError: no",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_refused_before_anything_is_done(case: str, call: Call, tmp_path: Path) -> None:
    judge, text, says = BROKEN[case]
    (tmp_path / "mine.py").write_text(text)
    code, _, err = call(*run_words("runs", "win", judge))
    assert code == 2 and says in err and ".py" in err and "Traceback" not in err, err
    assert not list(Path("runs").rglob("trained.json"))


WRONG = {
    "too few": ("return [Verdict.both(1.0)][:0], {}", "says 0 verdicts of"),
    "no verdicts": ("return [1.0 for _ in contests], {}", "says 1.0 of"),
    "nan": ('return [Verdict.both(float("nan")) for _ in contests], {}', "says Verdict(ours_first=nan"),
    "out of range": ("return [Verdict.both(3.0) for _ in contests], {}", "says Verdict(ours_first=3.0"),
    "no cost": ("return [Verdict.both(1.0) for _ in contests]", "fails: "),
    "nothing": ("return None", "fails: TypeError"),
    "the third": (
        "return [Verdict.both(0.5 if i < 2 else 1 / 0) for i, _ in enumerate([*contests, 1, 2, 3])], {}",
        "fails: ZeroDivisionError",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_verdicts_end_the_run_with_a_message(case: str, call: Call, tmp_path: Path) -> None:
    decide, says = WRONG[case]
    (tmp_path / "mine.py").write_text(compares(decide))
    code, _, err = call(*run_words("runs", "win", "mine.py", "--opponent", "chosen"))
    assert code == 2 and says in err and "mine.py" in err and "Traceback" not in err, err
    assert not list(Path("runs").rglob("stage-1/trained.json"))


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        ('return [Reply("Score: 7")]', "gives 1 replies to 4 questions"),
        ('return ["Score: 7" for _ in questions]', "gives 4 replies to 4 questions"),
        ("return None", "fails: TypeError"),
        ("raise OSError('gone')", "fails: OSError: gone"),
    ],
)
def test_wrong_answers_end_the_run_with_a_message(ask: str, says: str, call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(HEAD + ANSWERS.format(ask=ask))
    code, _, err = call(*run_words("runs", "judge", "mine.py"))
    assert code == 2 and says in err and "mine.py" in err and "Traceback" not in err, err


def test_a_judge_kind_is_one_file(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the folder of kinds is all: it is listed, takes what stands after its name, and judges."""
    folder = tmp_path / "kinds"
    shutil.copytree(JUDGES.folder, folder)
    (folder / "longer.py").write_text(compares().replace("(Judge):\n", '(Judge):\n    takes = "BY"\n'))
    monkeypatch.setattr(JUDGES, "folder", folder)
    monkeypatch.setattr(kinds, "__path__", [*kinds.__path__, str(folder)])
    code, out, _ = call("list", "judges")
    assert code == 0 and "Likes long responses." in out and "server" in out
    code, _, err = call(*run_words("runs", "win", "longer"))
    assert code == 2 and "'longer' is not a judge" in err
    code, _, err = call(*run_words("runs", "win", "longer:much"))
    assert code == 0, err
    record = read_record(next(Path("runs").rglob("record.json")))
    assert record.facts["win"].run["judge"] == "longer:much" and not record.extensions
