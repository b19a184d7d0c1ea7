"""What installed packages bring: methods, scorers, judges and rewards, all in the same way."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lifealign_bench.results.record import read_record
from tests.command import Call

MODULE = '''"""A package for the test."""
import numpy as np
from lifealign_bench.method import Method, register_method
from lifealign_bench.scoring.judging.judge import Judge, Verdict
from lifealign_bench.scoring.scorer import Scored, ScoreInfo, Scorer


@register_method("outside-method")
class OutsideMethod(Method):
    """DPO from elsewhere."""


class OutsideScorer(Scorer):
    """Counts."""

    scores = (ScoreInfo("pairs", False, "ones", unit="pairs"),)

    def score(self, view):
        return Scored({"pairs": np.ones(len(view.pairs))})


class OutsideJudge(Judge):
    """Likes everything equally."""

    takes = "HOW"

    def decide(self, card, contests):
        return [Verdict.both(0.5) for _ in contests], {}


def outside_reward(response, check):
    return 0.5
'''
POINTS = """\
[lifealign_bench.methods]
outside-method = outside_package:OutsideMethod
[lifealign_bench.scorers]
outside-scorer = outside_package:OutsideScorer
[lifealign_bench.judges]
outside-judge = outside_package:OutsideJudge
[lifealign_bench.rewards]
outside-reward = outside_package:outside_reward
"""
CARD = """\
name: mine
title: Mine
reward: outside-reward
source:
  type: inline
  train: [{prompt: a, chosen: b, rejected: c}, {prompt: d, chosen: e, rejected: f}]
  test: [{prompt: g, chosen: h, rejected: i}, {prompt: j, chosen: k, rejected: l}]
"""
KINDS = ("method", "scorer", "judge", "reward")


class Package:
    """A folder like one that a package was installed into."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "outside_package-1.5.dist-info").mkdir(parents=True)
        (folder / "outside_package-1.5.dist-info" / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: outside-package\nVersion: 1.5\n"
        )
        self.write(MODULE, POINTS)

    def write(self, module: str, points: str) -> None:
        """Its code and its entry points."""
        (self.folder / "outside_package.py").write_text(module)
        (self.folder / "outside_package-1.5.dist-info" / "entry_points.txt").write_text(points)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    made = Package(tmp_path / "installed")
    monkeypatch.syspath_prepend(str(made.folder))
    yield made
    sys.modules.pop("outside_package", None)
    from lifealign_bench.method import METHODS

    METHODS.forget(["outside-method"])
    shutil.rmtree(made.folder)


def run_words(**changes: str) -> list[str]:
    said = {"method": "outside-method", "scorer": "reward,outside-scorer,win", "judge": "outside-judge:x"} | changes
    words = ["run", "--model", "fake", "--stream", "mine.yaml", "--device", "cpu", "--dtype", "float32", "--quiet"]
    return [*words, *(word for key, value in said.items() for word in (f"--{key}", value)), "--out", "runs"]


def test_a_package_brings_all_four_kinds(package: Package, call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(CARD)
    for kind in KINDS:
        code, out, err = call("list", f"{kind}s")
        assert code == 0 and f"outside-{kind}" in out, err
    assert "outside_package" not in sys.modules, "listing imports nothing of others"
    code, _, err = call(*run_words())
    assert code == 0, err
    record = read_record(next(Path("runs").rglob("record.json")))
    digest = hashlib.sha256(MODULE.encode()).hexdigest()
    origin = {"source_sha256": digest, "package": "outside-package", "version": "1.5"}
    assert record.extensions == {
        "methods": {"outside-method": origin},
        "scorers": {"outside-scorer": origin},
        "judges": {"outside-judge:x": origin},
        "rewards": {"mine": origin},
    }
    assert record.scores["reward"].value[0] == [50.0] and record.scores["pairs"].value[0] == [1.0]
    package.write(MODULE + "# changed\n", POINTS)
    code, _, err = call(*run_words())
    assert code == 2 and "extensions.judges.outside-judge:x.source_sha256" in err


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_package_is_refused_at_once(kind: str, package: Package, call: Call, tmp_path: Path) -> None:
    broken = POINTS.replace(f"outside-{kind} = outside_package:", f"outside-{kind} = outside_nowhere:")
    package.write(MODULE, broken)
    (tmp_path / "mine.yaml").write_text(CARD)
    code, out, err = call("list", f"{kind}s")
    assert code == 0 and f"outside-{kind}" in out, "it is there, and says so"
    code, _, err = call(*run_words())
    assert code == 2 and "plug-in 'outside_nowhere:" in err and "does not import" in err and "Traceback" not in err, err
    assert not Path("runs").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_entry_point_names_is_of_its_kind(kind: str, package: Package, call: Call, tmp_path: Path) -> None:
    points = "\n".join(
        f"outside-{kind} = outside_package:np" if line.startswith(f"outside-{kind} ") else line
        for line in POINTS.splitlines()
    )
    package.write(MODULE, points)
    (tmp_path / "mine.yaml").write_text(CARD)
    code, _, err = call(*run_words())
    assert code == 2 and "is not a " in err and "outside_package:np" in err and "Traceback" not in err, err


@pytest.mark.parametrize(
    ("kind", "name"), [("method", "dpo"), ("scorer", "win"), ("judge", "check"), ("reward", "direct")]
)
def test_two_extensions_of_one_name_are_refused(
    kind: str, name: str, package: Package, call: Call, tmp_path: Path
) -> None:
    package.write(MODULE, POINTS.replace(f"outside-{kind} =", f"{name} ="))
    (tmp_path / "mine.yaml").write_text(CARD.replace("outside-reward", "direct" if kind == "reward" else "detailed"))
    changes = {kind: name} if kind != "reward" else {}
    code, _, err = call(*run_words(**changes))
    assert code == 2 and f"brings a second {kind} called '{name}'" in err, err
    code, _, err = call("list", f"{kind}s")
    assert code == 2 and f"brings a second {kind} called '{name}'" in err
    assert not Path("runs").exists()
