"""The check for GPUs, at a size for a processor: its parts hold, one that breaks or hangs stops no other, the page says
what was found and what was left out, and what it cannot begin with is one message."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import make_dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu_check
from benchmarks.gpucheck import driver, limits, part
from benchmarks.gpucheck.bench import DIALOGUE, MIDDLE, Bench
from benchmarks.gpucheck.driver import Watch
from benchmarks.gpucheck.page import NOT_YET, body, section
from benchmarks.gpucheck.part import FAILED, LEFT_OUT, OK, TIMED_OUT, WRONG, Findings, Part
from benchmarks.gpucheck.parts import PARTS
from benchmarks.gpucheck.worker import do
from lifealign_bench.config import RunConfig
from lifealign_bench.models import logprobs
from lifealign_bench.runs.run import run
from lifealign_bench.training.arguments import no_checkpointing
from tests.places import ROOT


@pytest.fixture(scope="module")
def bench() -> Bench:
    """A processor with a few layers."""
    return Bench(torch.device("cpu"), tiny=True)


@pytest.mark.parametrize(
    "name",
    ["machine", "layouts", "gradients", "train-0.5b", "generation", "memory", "foreseen", "engines", "pieces"],
)
def test_a_part_holds_on_a_processor(name: str, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    # Uncompiled it is traced all the same, which takes longer than all products.
    monkeypatch.setattr(torch.nn.attention.flex_attention, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    found = do(PARTS[name], bench)
    assert found["status"] == OK, found
    assert found["checks"] and all(check["holds"] for check in found["checks"])
    json.dumps(found)
    text = body(result({name: found}))
    assert PARTS[name].title in text and "**" not in text
    if name == "train-0.5b":
        assert {"ours", "ours, passes alone", "TRL, 2 pairs a pass", "padded loop, 2 pairs a pass"} <= {
            row["way"] for row in found["rows"]
        }
    if name == "foreseen":  # on a processor the peak of a part cannot be told from the process's
        assert {row["part"] for row in found["rows"] if row.get("measured, GiB")} == {"kept by a pass"}
        assert {row["part"] for row in found["rows"] if row.get("measured, s")} == {
            *("preference", "scoring", "generation")
        }
    if name == "engines":
        assert [row["engine"] for row in found["rows"]] == ["batches", "continuous"]


def result(parts: dict[str, Any], device: str = "cuda") -> dict[str, Any]:
    machine = {"device": device, "gpu": "A GPU", "versions": {"torch": "2.11.0", "trl": None}}
    return {
        **{"started": "2026-11-28T00:00:00+00:00", "seconds": 61.0, "size": "full", "machine": machine},
        **{"git": {"commit": "0123456789abcdef"}, "parts": parts},
    }


# What the stand-ins for parts do.
def breaks(bench: Bench, findings: Findings) -> None:
    findings.rows.append({"what": "before", "seconds": 1.0})
    raise ValueError("it broke | here")


def misses(bench: Bench, findings: Findings) -> None:
    findings.check("a value", 2.0, 1.0)
    findings.check("no number", float("nan"), 1.0)
    findings.truth("a fact", True)


@pytest.mark.parametrize(
    ("action", "needs", "status", "reason"),
    [
        (breaks, (), FAILED, "ValueError: it broke"),
        (misses, (), WRONG, "a value; no number"),
        (misses, ("no_such_module",), LEFT_OUT, "no_such_module is not here."),
    ],
)
def test_how_a_part_ends_and_what_is_kept(
    action: Any, needs: tuple[str, ...], status: str, reason: str, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Part, "load", lambda self: action)
    found = do(Part("some", "Some", "", 1.0, "", needs), bench)
    assert found["status"] == status and reason in found["reason"]
    text = body(result({"some": found}))
    assert ("before" in text) == (action is breaks)
    if status == WRONG:
        assert "**no**" in text and "**does not hold**" in text and "1 of 3" in text
    else:
        assert reason.partition("|")[0] in text and "Traceback" not in text


WORKER = """
import json, os, sys, time
folder, names = sys.argv[1], sys.argv[2:]
for name in names:
    def write(content):
        with open(f"{folder}/.new", "w") as file:
            json.dump(content, file)
        os.replace(f"{folder}/.new", f"{folder}/{name}.json")
    write({"status": "running", "rows": [{"by then": name}]})
    if name == "hangs":
        time.sleep(60)
    if name == "dies":
        sys.exit(3)
    write({"status": "failed" if name == "breaks" else "ok", "seconds": 0.0})
    if name == "breaks":
        sys.exit(0)
"""


def watch(names: Sequence[str], folder: Path, seconds: float = 60.0) -> tuple[dict[str, str], list[list[str]]]:
    """How each part ended, and what was told after each; a part that hangs or dies keeps what it had found by then."""
    told: list[list[str]] = []

    def begin(left: Sequence[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", WORKER, str(folder), *left], start_new_session=True)

    until = time.monotonic() + seconds
    limits = {name: 0.5 if name == "hangs" else 30.0 for name in names}
    seen = Watch(limits, folder, begin, until, lambda found: told.append(list(found)))
    ended = seen.run()
    assert all(ended[name]["rows"] == [{"by then": name}] for name in ("hangs", "dies") if name in ended)
    return {name: found["status"] for name, found in ended.items()}, told


def test_a_part_that_breaks_dies_or_hangs_stops_no_other(tmp_path: Path) -> None:
    names = ["one", "breaks", "two", "dies", "three", "hangs", "four"]
    found, told = watch(names, tmp_path)
    assert list(found) == names
    wanted = {"breaks": FAILED, "dies": FAILED, "hangs": TIMED_OUT}
    assert found == {name: wanted.get(name, OK) for name in names}
    # Told after each: a check that is cut off loses nothing.
    assert told == [names[: i + 1] for i in range(len(names))]


def test_what_there_is_no_time_for_is_said(tmp_path: Path) -> None:
    assert watch(["one", "two"], tmp_path, driver._LEAST - 1)[0] == {"one": LEFT_OUT, "two": LEFT_OUT}


def test_a_worker_that_does_not_begin_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "_START", 0.2)
    monkeypatch.setitem(globals(), "WORKER", "import time; time.sleep(60)")
    assert watch(["one"], tmp_path)[0] == {"one": TIMED_OUT}


def test_the_page_says_what_was_run_and_that_nothing_was() -> None:
    assert NOT_YET in section(None) and NOT_YET in section(result({}, "cpu"))
    shown = section(result({"machine": {"status": OK, "seconds": 1.0, "rows": [{"a": 1.5, "b": None}, {"c": True}]}}))
    assert NOT_YET not in shown and "A GPU" in shown and "torch 2.11.0" in shown and "0123456789ab" in shown
    assert "| 1.5 | - |" in shown and "| yes |" in shown and "trl" not in shown
    page, kept = (ROOT / "docs" / "performance.md").read_text(), ROOT / "docs" / "gpu-check.json"
    assert section(json.loads(kept.read_text()) if kept.is_file() else None) in page


def test_a_result_is_shown_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "gpu-check.json").write_text(json.dumps(result({})))
    assert gpu_check.main(["--show", str(tmp_path / "gpu-check.json")]) == 0
    assert "A GPU" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--part", "everything"], "There is no part 'everything'. There are: machine,"),
        (["--device", "cpu"], "--size tiny"),
        ([], "no CUDA device"),
    ],
)
def test_what_it_cannot_begin_with_is_one_message(
    words: list[str],
    told: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_check.main([*words, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert told in said and said.count("\n") == 1 and not (tmp_path / "out").exists()


def test_what_has_to_be_here_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check, "NEEDED", ("torch", "no_such_module"))
    assert gpu_check.main([]) == 2
    assert "no_such_module must be here" in capsys.readouterr().err and part.is_here("torch")


def test_the_file_is_written_whole_and_each_part_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def checked(limits: Any, device: str, tiny: bool, minutes: float, save: Any) -> dict[str, Any]:
        found = result({"machine": {"status": WRONG, "seconds": 1.0, "reason": "a product"}})
        save(found)
        return found

    monkeypatch.setattr(gpu_check, "check", checked)
    words = ["--size", "tiny", "--device", "cpu", "--part", "machine", "--out", str(tmp_path)]
    assert gpu_check.main(words) == 1
    assert "machine: wrong, 1 s a product" in capsys.readouterr().out
    assert json.loads((tmp_path / "gpu-check.json").read_text())["parts"]["machine"]["status"] == WRONG
    assert (tmp_path / "gpu-check.md").read_text().startswith("# GPU check")


def test_what_is_missing_is_done_and_the_rest_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    ends = {"machine": OK, "layouts": TIMED_OUT, "gradients": WRONG}

    def checked(limits: Any, device: str, tiny: bool, minutes: float, save: Any) -> dict[str, Any]:
        asked.append(list(limits))
        found = result({name: {"status": ends.get(name, OK), "seconds": 1.0} for name in limits}, "cpu")
        found |= {"size": "tiny", "git": driver.commit_here()}
        save(found)
        return found

    monkeypatch.setattr(gpu_check, "check", checked)
    words = ["--size", "tiny", "--device", "cpu", "--part", "machine,layouts,gradients,packing", "--out", str(tmp_path)]
    gpu_check.main([*words[:4], "--part", "machine,layouts,gradients", "--out", str(tmp_path)])
    assert gpu_check.main([*words, "--missing"]) == 1  # of what was kept one does not hold
    assert asked[1] == ["layouts", "packing"]
    kept = json.loads((tmp_path / "gpu-check.json").read_text())
    assert list(kept["parts"]) == ["machine", "layouts", "gradients", "packing"] and kept["seconds"] == 122.0
    gpu_check.main(words)  # it was not asked for: all is done again
    assert len(asked[2]) == 4
    assert "2 of 4 parts without a fault" in capsys.readouterr().out


def test_a_file_that_holds_no_result_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "no.json").write_text("[]")
    for name in ("absent.json", "no.json"):
        assert gpu_check.main(["--show", str(tmp_path / name)]) == 2
        said = capsys.readouterr().err
        assert f"{name} holds no result" in said and said.count("\n") == 1


def test_runs_of_other_processes_are_read_as_records(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = RunConfig(
        **{"method": "dpo", "stream": "fake", "tasks": ("fake-upper",), "model": "fake", "device": "cpu"},
        **{"dtype": "float32", "train_limit": 2, "test_limit": 2, "scorers": ("preference",), "sft": False},
        out=tmp_path / "run",
    )
    record = run(done)

    def seconds(bench: Bench, model: str, out: Path, count: int) -> float:
        shutil.copytree(tmp_path / "run", out / "0")
        return float(count)

    monkeypatch.setattr(limits, "_seconds", seconds)
    findings = Findings()
    limits.several(bench, findings)
    assert [check.holds for check in findings.checks] == [True]
    assert findings.rows[0]["times the runs an hour"] == pytest.approx(1.0)
    assert len(limits.numbers_of(record)) > 2


@pytest.mark.parametrize("name", ["gradient_checkpointing", "activation_checkpointing"])
def test_trainers_of_older_and_newer_transformers_compute_nothing_twice(name: str) -> None:
    kinds = [make_dataclass("Arguments", [(name, bool)]), make_dataclass("Both", [(n, bool) for n in (name, "other")])]
    assert [no_checkpointing(kind) for kind in kinds] == [{name: False}] * 2


def test_memory_is_short_only_within(bench: Bench) -> None:
    original = logprobs.lay_out
    pairs = bench.pairs(3, DIALOGUE)
    with limits.short_of_memory(bench, 2, 0.0), pytest.raises(RuntimeError, match="can't allocate"):
        logprobs.lay_out(pairs, 0, "mask")
    assert logprobs.lay_out is original and logprobs.lay_out(pairs, 0, "mask").pairs == 3


def test_a_model_that_does_not_fit_the_gpu_is_refused_before_it_is_made(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr("benchmarks.gpucheck.bench.require_memory", lambda needed, *_: asked.append(needed))
    base = bench.base(MIDDLE, torch.bfloat16)
    assert asked == [int(1.1 * base.parameters * 2)]
