"""Two processes of one run, as a launcher starts them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lifealign_bench.config import RunConfig
from lifealign_bench.util.warm import Child, Warm
from tests.places import ROOT

# Above what an exchange may take, so that a process that waits for the other one says so itself.
_SECONDS = 200
# What the other process has to say of its own, once one has broken.
_GRACE_SECONDS = 10


@pytest.fixture(scope="session")
def pairs() -> Iterator[Warm]:
    """What they are started from: a process that has loaded the libraries and done nothing else, unlike this one."""
    server = Warm("tests.pair_worker", {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
    yield server
    server.close()


@pytest.fixture
def in_two_processes(pairs: Warm, tmp_path: Path) -> Callable[[RunConfig], Path]:
    """Run a configuration in two; gives the folder in which they met, see ``tests.pair_worker``."""

    def meet(config: RunConfig) -> Path:
        folder = tmp_path / "meeting"
        folder.mkdir()
        # They meet in a file; no one is at this port.
        place = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "9"}
        place["LIFEALIGN_BENCH_CACHE"] = os.environ["LIFEALIGN_BENCH_CACHE"]
        children: list[Child] = []
        try:
            with (folder / "said").open("ab") as said:
                for rank in ("0", "1"):
                    words, own = [config.model_dump_json(), str(folder)], place | {"RANK": rank, "LOCAL_RANK": rank}
                    children.append(pairs.start(words, said.fileno(), said.fileno(), own))
            codes = _ends(children)
        finally:
            for child in children:
                child.signal(signal.SIGKILL)
        broke = "".join(file.read_text() for file in sorted(folder.glob("broke.*")))
        assert codes == [0, 0], broke or (folder / "said").read_text(errors="replace")[-4000:]
        return folder

    return meet


def _ends(children: list[Child]) -> list[int | None]:
    """Their exit codes; None of one that has not ended in time, or waits for one that broke."""
    until, broken = time.monotonic() + _SECONDS, False
    while True:
        codes = [child.poll() for child in children]
        if any(codes) and not broken:
            until, broken = time.monotonic() + _GRACE_SECONDS, True
        if None not in codes or time.monotonic() > until:
            return codes
        time.sleep(0.05)
