"""Whether a process is still there, by its number and its start."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil
import pytest

from lifealign_bench.util.alive import begun, lives


def test_a_process_lives_until_it_has_ended() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    since = begun(process.pid)
    assert lives(process.pid, since) and lives(os.getpid(), begun())
    assert not lives(process.pid, since - 60), "another process had this number before"
    assert process.stdin is not None
    process.stdin.close()
    # Not waited for yet: what has ended is gone, though its number is still its own.
    until = time.monotonic() + 60
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until
    assert not lives(process.pid, since)
    process.wait()
    assert not lives(process.pid, since)


@pytest.mark.parametrize("seconds", [-3600.0, -1.0, 1.0, 3600.0])
def test_a_clock_that_is_set_right_ends_nobody(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """The dates of both starts move with the clock: of the system's and of every process's."""
    since = begun()
    dates = psutil.Process.create_time
    start = psutil.boot_time()
    monkeypatch.setattr(psutil, "boot_time", lambda: start + seconds)
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: dates(process) + seconds)
    assert lives(os.getpid(), since)
