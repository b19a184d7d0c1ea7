"""The runs of a sweep as tasks of a Ray cluster: one task a run, which starts the run's process on its node.

Ray begins a task again, on another node, when its node dies; the run goes on at its last checkpoint, which is on the
storage that all nodes share. The task itself only listens to the process, so a method that crashes takes no part of Ray
with it.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lifealign_bench
from lifealign_bench.config import RunConfig
from lifealign_bench.errors import BenchError
from lifealign_bench.experiments.engines import TellRun
from lifealign_bench.experiments.engines.events import Ended, Event, read_event
from lifealign_bench.experiments.engines.process import WorkerProcess
from lifealign_bench.util.redaction import learn_environment, redact

# A file system that several machines share may give a dead node's lock free only after its lease (NFS 4: 90 s).
PATIENCE = 150.0
# A cluster on this machine for one sweep: reached from nowhere else; hardly anything is stored in it.
_ALONE: dict[str, Any] = {
    "include_dashboard": False,
    "_node_ip_address": "127.0.0.1",
    "object_store_memory": 100 * 2**20,
}
_TELL_SECONDS = 0.5
_WAIT_SECONDS = 0.2
# Settings of this process that a run on another node needs as well, those alone that are known to be no secret: Ray
# writes them into its logs.
_ENVIRONMENT = frozenset(
    [
        "LIFEALIGN_BENCH_CACHE",
        "LIFEALIGN_BENCH_CACHE_GIB",
        "LIFEALIGN_BENCH_DATA",
        "LIFEALIGN_BENCH_JUDGE",
        "LIFEALIGN_BENCH_JUDGE_PRICES",
        "LIFEALIGN_BENCH_JUDGE_URL",
        "LIFEALIGN_BENCH_MIRROR",
        "HF_HOME",
        "HF_HUB_CACHE",
        "HF_HUB_OFFLINE",
        "HF_HUB_DISABLE_TELEMETRY",
        "HF_HUB_ETAG_TIMEOUT",
        "HF_HUB_DOWNLOAD_TIMEOUT",
        "HF_HUB_DISABLE_PROGRESS_BARS",
        "HF_HUB_DISABLE_SYMLINKS_WARNING",
        "HF_HUB_DISABLE_XET",
        "HF_XET_HIGH_PERFORMANCE",
        "HF_ENDPOINT",
        "HF_DATASETS_CACHE",
        "HF_DATASETS_OFFLINE",
        "HF_ASSETS_CACHE",
        "HF_XET_CACHE",
        "TRANSFORMERS_CACHE",
        "TRANSFORMERS_OFFLINE",
        "TRANSFORMERS_VERBOSITY",
        "TRANSFORMERS_NO_ADVISORY_WARNINGS",
        "OMP_WAIT_POLICY",
        "GOMP_SPINCOUNT",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "all_proxy",
    ]
)


class ProcessDied(Exception):
    """The run's process was killed; to begin it again makes sense, and Ray does."""


class Mailbox:
    """An actor beside the driver: what runs say waits here to be fetched, and runs hear whether to stop."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, str]] = []
        self._stop = False

    def put(self, number: int, events: list[str]) -> bool:
        """Take in events of a run; gives whether it is to stop."""
        self._waiting += [(number, event) for event in events]
        return self._stop

    def fetch(self, stop: bool) -> list[tuple[int, str]]:
        """All that has come since the last call."""
        self._stop = self._stop or stop
        waiting, self._waiting = self._waiting, []
        return waiting


def attend(number: int, config_json: str, folder: str, threads: int, gpus: int, mailbox: Any) -> str:
    """The task of one run: start its process on this node, pass on what it says, and give its end (JSON).

    Args:
        folder: the working folder of the sweep; relative paths of the configuration start there.
        threads: CPU threads.
        gpus: how many GPUs Ray lent; it has set ``CUDA_VISIBLE_DEVICES`` to them.
        mailbox: handle of a :class:`Mailbox`.

    Raises:
        ProcessDied: the process was killed.
    """
    import ray

    try:
        os.chdir(folder)
    except OSError as error:
        end = Ended(
            status="failed",
            message=f"The node {os.uname().nodename} has no folder {folder}: {error.strerror}.",
            remedy="Start the sweep in a folder that all nodes share, at the same path.",
        )
        return end.model_dump_json()
    heard: queue.SimpleQueue[Event] = queue.SimpleQueue()
    process = WorkerProcess(
        RunConfig.model_validate_json(config_json),
        heard.put,
        environment={"OMP_NUM_THREADS": str(threads)},
        processes=max(1, gpus),
        patience=PATIENCE,
    )
    asked = False
    try:
        while True:
            ended = process.ended()
            events = []
            while not heard.empty():
                events.append(heard.get().model_dump_json())
            stop = ray.get(mailbox.put.remote(number, events))
            if ended is not None:
                break
            if stop and not asked:
                asked = True
                process.stop()
            time.sleep(_TELL_SECONDS)
    finally:
        process.kill()
    if ended.died and not asked:
        raise ProcessDied(ended.message)
    return ended.model_dump_json()


def require_ray() -> None:
    """Make sure that Ray can be imported.

    Raises:
        BenchError: it cannot.
    """
    # Nothing is told to anyone; read when Ray is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise BenchError(
            f"--engine ray needs Ray, which cannot be imported here: {error}.",
            "Install it: pip install 'lifealign-bench[cluster]', or use --engine local.",
        ) from error
    del ray


@dataclass
class RayEngine:
    """See ``engines.Engine``.

    Args:
        address: of the cluster; ``local`` starts one on this machine for this sweep; None is ``auto``.
        gpus_per_run: None for one where the cluster has any.
        memory: bytes of main memory that a run asks for.
        retries: how often a run whose node or process died is begun again.
    """

    address: str | None = None
    gpus_per_run: int | None = None
    memory: int | None = None
    retries: int = 3

    def work(
        self, runs: Mapping[int, RunConfig], tell: TellRun, stopped: Callable[[], bool], tick: Callable[[], None]
    ) -> None:
        """See ``engines.Engine.work``."""
        import ray

        # Ray prints the logs of nodes that die on standard output, where results belong; the board tells of the runs.
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
            self._connect()
            try:
                pending = {}
                mailbox = self._mailbox()
                gpus = self._gpus(runs)
                for number, config in runs.items():
                    pending[self._submit(number, config, gpus, mailbox)] = number
                self._listen(pending, mailbox, tell, stopped, tick)
            finally:
                ray.shutdown()

    def _connect(self) -> None:
        import ray

        address = self.address or "auto"
        # Ray puts a handler of its own in the place of the one that asks the runs to stop.
        on_term = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(
                address=address,
                runtime_env={"env_vars": passed_on()},
                log_to_driver=False,
                logging_level="ERROR",
                **(_ALONE if address == "local" else {}),
            )
        except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
            first = (str(error).strip().splitlines() or ["no answer"])[0]
            raise BenchError(
                f"There is no Ray cluster at {address!r}: {first}",
                "Start one (docs/cluster.md), name it with --address host:port, or use --address local for this "
                "machine alone.",
            ) from error

        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, on_term)

    def _mailbox(self) -> Any:
        """On the driver's own node: whatever other node dies, it lives."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        return ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=here).remote()

    def _gpus(self, runs: Mapping[int, RunConfig]) -> int:
        """GPUs of a run.

        Raises:
            BenchError: no node of the cluster can hold one run.
        """
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        there = max((int(node.get("GPU", 0)) for node in nodes), default=0)
        on_cpu = all(config.device == "cpu" for config in runs.values())
        gpus = (0 if on_cpu else min(1, there)) if self.gpus_per_run is None else self.gpus_per_run
        wanted = {"GPU": gpus, "CPU": max(_threads(config) for config in runs.values()), "memory": self.memory or 0}
        if not any(all(node.get(name, 0) >= amount for name, amount in wanted.items()) for node in nodes):
            largest = {name: max((node.get(name, 0) for node in nodes), default=0) for name in wanted}
            raise BenchError(
                f"No node of the cluster can hold a run: it wants {_resources(wanted)}; the most that a node has is "
                f"{_resources(largest)}.",
                "Lower --threads, --gpus-per-run or --memory-per-run.",
            )
        return gpus

    def _submit(self, number: int, config: RunConfig, gpus: int, mailbox: Any) -> Any:
        import ray

        threads = _threads(config)
        task = ray.remote(attend).options(
            name=f"{config.method} on {config.stream}, seed {config.seed}",
            num_cpus=threads,
            num_gpus=gpus,
            memory=self.memory,
            max_retries=self.retries,
            retry_exceptions=[ProcessDied],
        )
        return task.remote(number, config.model_dump_json(), str(Path.cwd()), threads, gpus, mailbox)

    def _listen(
        self,
        pending: dict[Any, int],
        mailbox: Any,
        tell: TellRun,
        stopped: Callable[[], bool],
        tick: Callable[[], None],
    ) -> None:
        import ray

        begun: set[int] = set()
        asked = False
        while pending:
            for number, line in ray.get(mailbox.fetch.remote(stopped())):
                event = read_event(line)
                if event is not None:
                    begun.add(number)
                    tell(number, event)
            if stopped() and not asked:
                asked = True
                for task, number in pending.items():
                    if number not in begun:
                        ray.cancel(task)
            done, _ = ray.wait(list(pending), num_returns=1, timeout=_WAIT_SECONDS)
            for task in done:
                number = pending.pop(task)
                end = _end(task, asked)
                # What it said last may have come after the letters were fetched.
                for other, line in ray.get(mailbox.fetch.remote(stopped())):
                    event = read_event(line)
                    if event is not None:
                        tell(other, event)
                if end is not None:
                    tell(number, end)
            tick()


def _end(task: Any, asked: bool) -> Ended | None:
    """How a task that is done ended; None where it never began, because the user stopped the sweep."""
    import ray

    try:
        end = read_event(ray.get(task))
    except ray.exceptions.TaskCancelledError:
        return None
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ProcessDied):
            return Ended(status="failed", message=str(error.cause), remedy="The same command continues it.")
        return Ended(status="failed", message=f"The task of the run failed: {error.cause!r}", foreseen=False)
    except ray.exceptions.RayError as error:
        if asked:
            return Ended(status="interrupted", message="Stopped.")
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return Ended(
            status="failed",
            message=f"The node of the run was lost, and no other could take it over: {first}",
            remedy="The same command continues it; --retries allows more attempts.",
        )
    return end if isinstance(end, Ended) else None


def _threads(config: RunConfig) -> int:
    """Threads of a run, which are the CPUs that it asks Ray for."""
    return config.threads or int(os.environ.get("OMP_NUM_THREADS") or 1)


def _resources(amounts: Mapping[str, float]) -> str:
    memory = f", {amounts['memory'] / 2**30:.1f} GiB" if amounts["memory"] else ""
    return f"{amounts['CPU']:.0f} CPUs, {amounts['GPU']:.0f} GPUs{memory}"


def passed_on() -> dict[str, str]:
    """The variables of this process that runs on other nodes get: those that are known to be no secret, and no address
    with a user, a password or a query."""
    learn_environment()
    own = {
        name: value
        for name, value in os.environ.items()
        if name in _ENVIRONMENT and not ("@" in value or ("://" in value and "?" in value)) and redact(value) == value
    }
    # A checkout that is not installed is found on the nodes as it is here.
    paths = [str(Path(lifealign_bench.__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")]
    return own | {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
