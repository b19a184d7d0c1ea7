"""Processes that start from a warm one are as those that start by themselves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from lifealign_bench.util.warm import Child, Warm
from tests.places import ROOT

# Tells where it is, and then ends as its word says.
MODULE = """
import json, os, sys, threading, time
loaded = os.getpid()

def prepare():
    if os.environ.get("BEGINS_A_THREAD"):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    if os.environ.get("IS_KILLED"):
        os.kill(os.getpid(), 9)
    if os.environ.get("TOUCHES_CUDA"):
        import types
        sys.modules["torch"] = types.SimpleNamespace(cuda=types.SimpleNamespace(is_initialized=lambda: True))
    time.sleep(float(os.environ.get("LOADS_FOR", "0")))

def main():
    facts = {"pid": os.getpid(), "parent": os.getppid(), "loaded": loaded, "group": os.getpgid(0), "cwd": os.getcwd()}
    facts |= {name: os.environ.get(name) for name in ("OWN", "ALL")}
    facts["input"] = os.readlink("/proc/self/fd/0")
    facts["open"] = len(os.listdir("/proc/self/fd"))
    print(json.dumps(facts), flush=True)
    print("beside it", file=sys.stderr)
    word = sys.argv[1]
    if word == "raise":
        raise ZeroDivisionError("on purpose")
    if word == "wait":
        time.sleep(60)
    sys.exit(int(word))

if __name__ == "__main__":
    main()
"""

Started = tuple[Child, Path, Path]
Start = Callable[..., Started]


@pytest.fixture
def warms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Warm]]:
    """The module can be imported; what is put in here is closed at the end."""
    (tmp_path / "told_to_a_warm_one.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    made: list[Warm] = []
    yield made
    for warm in made:
        warm.close()


@pytest.fixture
def start(tmp_path: Path, warms: list[Warm]) -> Start:
    """Start a child of a warm process with one word; gives it, what it prints and what it says beside that."""

    def call(warm: Warm, word: str, **environment: str) -> Started:
        warms.append(warm)
        number = len(list(tmp_path.glob("*.out")))
        output, errors = tmp_path / f"{number}.out", tmp_path / f"{number}.err"
        with output.open("wb") as out, errors.open("wb") as err:
            return warm.start([word], out.fileno(), err.fileno(), environment), output, errors

    return call


def made(environment: dict[str, str] | None = None) -> Warm:
    return Warm("told_to_a_warm_one", environment)


def end_of(child: Child) -> int:
    until = time.monotonic() + 60
    while (code := child.poll()) is None:
        assert time.monotonic() < until
        time.sleep(0.01)
    return code


def told(file: Path, child: Child) -> dict[str, object]:
    """What a child told at its start."""
    until = time.monotonic() + 60
    while not file.read_text().endswith("\n"):
        child.poll()  # hands it over
        assert time.monotonic() < until
        time.sleep(0.01)
    found: dict[str, object] = json.loads(file.read_text())
    return found


def test_children_are_forked_from_what_was_loaded_once(start: Start, tmp_path: Path) -> None:
    warm = made({"ALL": "same"})
    first, out, err = start(warm, "0", OWN="one")
    second, other, _ = start(warm, "7", OWN="two")
    assert (end_of(first), end_of(second)) == (0, 7)
    facts, others = json.loads(out.read_text()), json.loads(other.read_text())
    assert err.read_text() == "beside it\n"
    # One process loaded the module for both; each leads its own group and has its own variables.
    assert facts["loaded"] == others["loaded"] == facts["parent"] != facts["pid"]
    assert facts["pid"] == facts["group"] != others["pid"] == others["group"]
    assert (facts["OWN"], others["OWN"], facts["ALL"], others["ALL"]) == ("one", "two", "same", "same")
    assert facts["cwd"] == str(Path.cwd()) and facts["input"] == "/dev/null"
    # Standard input, output, errors, and the listing itself: nothing of the warm process or of other children.
    assert facts["open"] == others["open"] == 4


def test_an_error_is_told_as_by_any_program(start: Start) -> None:
    child, _, err = start(made(), "raise")
    assert end_of(child) == 1
    assert "Traceback" in err.read_text() and "ZeroDivisionError: on purpose" in err.read_text()


def test_a_child_is_killed_with_all_that_it_started(start: Start) -> None:
    child, out, _ = start(made(), "wait")
    process = psutil.Process(int(str(told(out, child)["pid"])))
    child.signal(signal.SIGKILL)
    child.wait()
    assert child.poll() == -signal.SIGKILL and not process.is_running()


def test_what_is_stopped_while_it_waits_never_starts(start: Start) -> None:
    warm = made({"LOADS_FOR": "0.5"})
    child, out, _ = start(warm, "0")
    child.signal(signal.SIGTERM)
    assert child.poll() == -signal.SIGTERM
    other, _, _ = start(warm, "0")
    assert end_of(other) == 0 and out.read_text() == ""


@pytest.mark.parametrize("reason", ["BEGINS_A_THREAD", "TOUCHES_CUDA", "IS_KILLED"])
def test_where_a_fork_would_not_do_each_process_loads_for_itself(start: Start, reason: str) -> None:
    warm = made({reason: "1"})
    child, out, _ = start(warm, "3")
    assert end_of(child) == 3
    assert (facts := json.loads(out.read_text()))["pid"] == facts["loaded"]
    assert facts["parent"] == os.getpid()
    again, out, _ = start(warm, "4")
    assert end_of(again) == 4


def test_children_end_with_the_warm_process(start: Start) -> None:
    warm = made()
    child, out, _ = start(warm, "wait")
    facts = told(out, child)
    process = psutil.Process(int(str(facts["pid"])))
    os.kill(int(str(facts["parent"])), signal.SIGKILL)
    assert end_of(child) == -signal.SIGKILL
    assert psutil.wait_procs([process], timeout=30)[1] == []
    # It is the children's end, and not that of what comes after.
    other, _, _ = start(warm, "0")
    assert end_of(other) == 0


def test_all_end_with_the_process_that_asked_for_them(warms: list[Warm], tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from lifealign_bench.util.warm import Warm
with Path("out").open("w") as out:
    child = Warm("told_to_a_warm_one").start(["wait"], out.fileno(), out.fileno(), {})
child.wait()
"""
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    starter = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path})
    try:
        until = time.monotonic() + 60
        while "beside it" not in ((tmp_path / "out").read_text() if (tmp_path / "out").exists() else ""):
            assert time.monotonic() < until
            time.sleep(0.01)
        family = psutil.Process(starter.pid).children(recursive=True)
        assert len(family) == 2
    finally:
        starter.kill()
        starter.wait()
    assert psutil.wait_procs(family, timeout=30)[1] == []


def test_a_copy_of_this_process_is_warm_at_once(warms: list[Warm], tmp_path: Path) -> None:
    program = """
import json, os
import told_to_a_warm_one
from lifealign_bench.util.warm import Warm
warm = Warm("told_to_a_warm_one")
warm.begin_here()
with open("out", "w") as out, open("err", "w") as err:
    child = warm.start(["5"], out.fileno(), err.fileno(), {})
child.wait()
warm.close()
assert child.poll() == 5
assert json.load(open("out"))["loaded"] == os.getpid()
"""
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, timeout=300
    )
    assert done.returncode == 0


@pytest.mark.model
@pytest.mark.parametrize("module", ["lifealign_bench.cli.worker", "lifealign_bench.conformance.worker"])
def test_what_a_run_imports_touches_no_device_and_begins_no_threads(module: str, tmp_path: Path) -> None:
    # With one thread a library none is to be there but pyarrow's, whose allocator bears a fork.
    program = f"""
import threading
from pathlib import Path
import {module} as worker
from lifealign_bench.util.warm import _drives_a_gpu
worker.prepare()
import torch
assert not torch.cuda.is_initialized()
assert threading.active_count() == 1
assert not _drives_a_gpu()
names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
assert [name for name in names if name != "jemalloc_bg_thd"] == ["python"], names
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
