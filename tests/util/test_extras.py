"""Optional packages: a run does without them, and who asks for what they bring is told how to get it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.command import Call
from tests.places import ROOT

OPTIONAL = ("alpaca_eval", "evaluate", "jieba", "lm_eval", "mlflow", "ray", "tensorboard", "trackio", "wandb")


@pytest.mark.parametrize(
    ("module", "words", "extra"),
    [
        ("lm_eval", ("--ability", "builtin"), "ability"),
        ("alpaca_eval", ("--scorer", "win", "--judge", "check"), "judges"),
    ],
)
def test_what_is_missing_is_named_with_its_extra(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: str, words: tuple[str, ...], extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    code, _, err = call("run", "--model", "fake", "--stream", "fake", "--method", "dpo", *words)
    assert code == 2 and f"needs the package {module.replace('_', '-')}, which is not installed" in err
    assert f"pip install 'lifealign-bench[{extra}]'" in err and "Traceback" not in err
    assert not (tmp_path / "runs").exists()


def test_a_run_needs_no_optional_package_and_nothing_that_windows_lacks(tmp_path: Path) -> None:
    code = (
        f"import os, psutil, sys\nsys.modules |= dict.fromkeys({(*OPTIONAL, 'resource')!r})\n"
        "for name in ('fork', 'killpg', 'setsid', 'sched_getaffinity'): delattr(os, name)\n"
        "from lifealign_bench.cli import main\nmain(sys.argv[1:])\n"
    )
    words = ("run", "--model", "fake", "--stream", "fake-upper", "--method", "dpo", "--limit", "2", "--quiet")
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "fake-upper" / "fake" / "dpo" / "seed-0" / "record.json").is_file()


@pytest.mark.parametrize(
    "words", [("sweep", "--method", "dpo"), ("tune", "--method", "dpo"), ("check", "method", "dpo")]
)
def test_what_windows_cannot_do_is_refused_with_a_remedy(
    call: Call, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setattr("lifealign_bench.util.process.sys", SimpleNamespace(platform="win32"))
    model = () if words[0] == "check" else ("--model", "fake", "--stream", "fake")
    code, out, err = call(*words, *model)
    assert (code, out) == (2, "") and "starts processes in a way that Windows does not have" in err
    assert "WSL" in err and ("--no-processes" if words[0] == "check" else "lifealign-bench run") in err


def test_every_extra_that_a_user_may_want_is_in_all() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    (everything,) = extras["all"]
    named = everything.removeprefix("lifealign-bench[").removesuffix("]").split(",")
    assert sorted(named) == sorted(set(extras) - {"all", "dev", "docs", "quantization", "verifiable"})
