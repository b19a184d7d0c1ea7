"""Which code a record comes from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lifealign_bench.runs import recording as provenance


def test_what_is_published_beside_a_run_is_no_change_of_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        return subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    for name in ("pyproject.toml", "lifealign_bench/runs/recording.py", "results/board.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("as it was")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "lifealign_bench" / "runs" / "recording.py"))
    assert provenance.git_state() == {"commit": None, "dirty": None}  # no repository of its own
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    commit = git("rev-parse", "HEAD").strip()
    assert provenance.git_state() == {"commit": commit, "dirty": False}
    (tmp_path / "results" / "board.md").write_text("one more record")
    (tmp_path / "results" / "seed-0.json").write_text("{}")
    assert provenance.git_state() == {"commit": commit, "dirty": False}
    (tmp_path / "lifealign_bench" / "more.py").write_text("")
    assert provenance.git_state() == {"commit": commit, "dirty": True}
