"""The runs of a sweep in processes of this machine, several at a time."""

from __future__ import annotations

import os
import queue
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import psutil

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.experiments.engines import TellRun
from lifealign_bench.experiments.engines.events import Event, Noticed
from lifealign_bench.experiments.engines.process import WORKER, WorkerProcess
from lifealign_bench.util.process import cores
from lifealign_bench.util.warm import Warm

_WAIT_SECONDS = 0.1


def gpu_shares(visible: Sequence[str], per_run: int, jobs: int | None) -> list[tuple[str, ...]]:
    """The GPUs of every job that goes on at one time, as ``CUDA_VISIBLE_DEVICES`` names them.

    More jobs than fit share GPUs in turn; without ``jobs`` there are as many as fit.

    Raises:
        UsageError: fewer GPUs than one run wants.
    """
    if per_run > len(visible):
        raise UsageError(
            f"A run is to have {per_run} GPUs, and this machine shows {len(visible)}.", "Lower --gpus-per-run."
        )
    shares = [tuple(visible[i : i + per_run]) for i in range(0, len(visible) - per_run + 1, per_run)]
    return [shares[i % len(shares)] for i in range(jobs or len(shares))]


def threads_of_a_job(cores: int, jobs: int, config: RunConfig, environment: Mapping[str, str]) -> int | None:
    """Threads of a run on a CPU beside others; None where the user has said it, or nothing is divided."""
    if jobs == 1 or config.threads is not None or environment.get("OMP_NUM_THREADS"):
        return None
    return max(1, cores // jobs)


@dataclass
class LocalEngine:
    """See ``engines.Engine``.

    Args:
        shares: for every job that may go on at one time its GPUs; empty on a CPU.
        cores: the CPU cores that all jobs have together.
        retries: how often a run whose process was killed is begun again.
    """

    shares: Sequence[tuple[str, ...]]
    cores: int
    retries: int = 0
    _warm: dict[int | None, Warm] = field(default_factory=dict, init=False, repr=False)

    def work(
        self, runs: Mapping[int, RunConfig], tell: TellRun, stopped: Callable[[], bool], tick: Callable[[], None]
    ) -> None:
        """See ``engines.Engine.work``."""
        waiting = deque(runs)
        places = deque(self.shares)
        active: dict[int, tuple[WorkerProcess, tuple[str, ...]]] = {}
        tries = dict.fromkeys(runs, 0)
        heard: queue.SimpleQueue[tuple[int, Event]] = queue.SimpleQueue()
        asked = False
        self._warm = {}
        try:
            while waiting or active:
                if stopped() and not asked:
                    asked = True
                    waiting.clear()
                    for process, _ in active.values():
                        process.stop()
                while waiting and places:
                    number, share = waiting.popleft(), places.popleft()
                    active[number] = (self._start(number, runs[number], share, heard), share)
                _pass_on(heard, tell)
                for number, (process, share) in list(active.items()):
                    ended = process.ended()
                    if ended is None:
                        continue
                    del active[number]
                    places.append(share)
                    _pass_on(heard, tell)
                    if ended.died and tries[number] < self.retries and not asked:
                        tries[number] += 1
                        tell(number, Noticed(text=f"{ended.message} It is started again."))
                        waiting.appendleft(number)
                    else:
                        tell(number, ended)
                tick()
        finally:
            for process, _ in active.values():
                process.kill()
            for warm in self._warm.values():
                warm.close()

    def _start(
        self,
        number: int,
        config: RunConfig,
        share: tuple[str, ...],
        heard: queue.SimpleQueue[tuple[int, Event]],
    ) -> WorkerProcess:
        environment = {"CUDA_VISIBLE_DEVICES": ",".join(share)} if share else {}
        threads = threads_of_a_job(self.cores, len(self.shares), config, os.environ)
        if threads is not None:
            # Not through the configuration: a run that goes on keeps the threads that it began with.
            environment["OMP_NUM_THREADS"] = str(threads)
        return WorkerProcess(
            config,
            partial(_put, heard, number),
            environment=environment,
            processes=max(1, len(share)),
            warm=self._warm_for(threads),
        )

    def _warm_for(self, threads: int | None) -> Warm:
        """What runs with so many threads are started from: libraries read the number while they are loaded."""
        if threads not in self._warm:
            self._warm[threads] = Warm(WORKER, {} if threads is None else {"OMP_NUM_THREADS": str(threads)})
        return self._warm[threads]


def _put(heard: queue.SimpleQueue[tuple[int, Event]], number: int, event: Event) -> None:
    heard.put((number, event))


def _pass_on(heard: queue.SimpleQueue[tuple[int, Event]], tell: TellRun) -> None:
    """All that was heard; waits a moment where it is nothing."""
    wait = _WAIT_SECONDS
    while True:
        try:
            number, event = heard.get(timeout=wait)
        except queue.Empty:
            return
        tell(number, event)
        wait = 0.0


def local_engine(
    configs: Sequence[RunConfig],
    *,
    jobs: int | None,
    devices: Sequence[int] = (),
    gpus_per_run: int | None,
    memory: int | None,
    retries: int,
    notice: Callable[[str], None],
) -> LocalEngine:
    """The engine for ``configs``, whose devices are settled.

    Args:
        jobs: None for one on a CPU, and as many as there are GPUs for.
        devices: the GPUs to use, by their place among those that are visible; empty: all.
        memory: bytes of a run; no more go on than fit into this machine.

    Raises:
        UsageError: fewer GPUs than a run wants; GPUs that are not here, or not of one kind.
    """
    on_gpu = any(config.device == "cuda" for config in configs)
    count = jobs or 1
    shares: Sequence[tuple[str, ...]] = [()] * count
    if on_gpu:
        shares = gpu_shares(_chosen_gpus(devices), gpus_per_run or 1, jobs)
        if len(set(shares)) < len(shares):
            notice(f"{len(shares)} jobs share {len(set(shares)) * (gpus_per_run or 1)} GPUs.")
    elif devices:
        raise _no_gpus()
    elif gpus_per_run:
        notice("The runs are on the CPU: --gpus-per-run says nothing.")
    if memory is not None:
        fit = max(1, psutil.virtual_memory().total // memory)
        if fit < len(shares):
            notice(f"Only {fit} jobs fit into this machine's memory at a time.")
            shares = shares[:fit]
    return LocalEngine(shares, cores(), retries)


def _no_gpus() -> UsageError:
    """GPUs were named, and the runs are on the CPU: as was asked for, or because torch sees no GPU."""
    import torch

    from lifealign_bench.models.accelerator import why_no_cuda

    if torch.cuda.is_available():
        return UsageError("--devices names GPUs, and the runs are on the CPU.", "Leave out --devices, or --device cpu.")
    reason, remedy = why_no_cuda()
    return UsageError(
        f"--devices names GPUs, and torch sees no CUDA device here: {reason}.",
        f"{remedy} On a CPU leave out --devices.",
    )


def _chosen_gpus(devices: Sequence[int]) -> list[str]:
    """The GPUs to use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    visible = _visible_gpus()
    beyond = [place for place in devices if place >= len(visible)]
    if beyond:
        raise UsageError(
            f"--devices names cuda:{beyond[0]}, and this machine shows {len(visible)} GPUs, which are numbered from 0.",
            "Name those that nvidia-smi lists, or set CUDA_VISIBLE_DEVICES.",
        )
    places = list(devices) or list(range(len(visible)))
    kinds: dict[str, list[int]] = {}
    for place, kind in zip(places, _gpu_kinds(places), strict=True):
        kinds.setdefault(kind, []).append(place)
    if len(kinds) > 1:
        most = max(kinds.values(), key=len)
        raise UsageError(
            f"The runs would be done on GPUs of different kinds ({', '.join(kinds)}), whose numbers differ in the last "
            "bits and whose seconds cannot be compared.",
            f"Name those of one kind: --devices {','.join(f'cuda:{place}' for place in most)}.",
        )
    return [visible[place] for place in places]


def _gpu_kinds(places: Sequence[int]) -> list[str]:
    """What the drivers call the visible GPUs at these places."""
    import torch

    return [torch.cuda.get_device_name(place) for place in places]


def _visible_gpus() -> list[str]:
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    import torch

    return [str(i) for i in range(torch.cuda.device_count())]
