"""A run, and the stage loop: the only place where stages advance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch

from lifealign_bench.config import RunConfig
from lifealign_bench.data.tasks import TaskData, load_data
from lifealign_bench.errors import BenchError, Interrupted
from lifealign_bench.method import Method
from lifealign_bench.models.accelerator import require_one_kind
from lifealign_bench.models.cache import cache_limit
from lifealign_bench.models.device import threads_to_use
from lifealign_bench.models.sharding import check_sharding
from lifealign_bench.results.record import Record
from lifealign_bench.runs.directory import RunDirectory
from lifealign_bench.runs.recording import build_record, run_identity
from lifealign_bench.runs.resuming import Ledger, claim_tokens, claim_training
from lifealign_bench.runs.session import Session
from lifealign_bench.runs.setup import make_method, resolved
from lifealign_bench.runs.stages import planned_work, score_one, train_one
from lifealign_bench.runs.trackers import Tracking
from lifealign_bench.scoring.abilities.ability import Abilities
from lifealign_bench.scoring.abilities.load import as_begun, find_abilities
from lifealign_bench.scoring.stage import Known
from lifealign_bench.util.clock import Clock
from lifealign_bench.util.distributed import broadcast, is_main, join, together
from lifealign_bench.util.launchenv import overruled
from lifealign_bench.util.progress import Progress, Several


def run(config: RunConfig, progress: Progress | None = None, stopped: Callable[[], bool] = lambda: False) -> Record:
    """Train a method through a stream, score every task after every stage, and leave a record.

    The same call continues a run that was stopped. A finished run is not trained again.

    Args:
        config: the whole run.
        progress: told what happens.
        stopped: asked after every optimizer step and scored task; True stops at the next checkpoint.

    Raises:
        BenchError: anything the user can mend; nothing that was finished is lost.
        Interrupted: ``stopped`` said so.
    """
    progress = progress or Progress()
    join(config.device == "cpu")
    if config.report_to and is_main():
        progress = Several((progress, Tracking(config.report_to, progress.notice)))
    cache_limit()
    config = broadcast(resolved(config) if is_main() else config)
    for text in overruled(config.device):
        progress.notice(
            f"{text} is set and not followed: the run is trained in {config.dtype} on {config.device}, by the "
            "processes that accelerate launch or torchrun started."
        )
    check_sharding(config)
    require_one_kind(config.device)
    with together(config.shard), held(config, progress) as (directory, method, data):
        finished = directory.finished(progress.notice)
        if finished is not None:
            progress.notice(f"This run is finished already: {directory.path}.")
            return finished
        ledger = Ledger(directory, len(method.plan(list(data))), progress.notice)
        if is_main():
            claim_training(method, config.method_name, ledger)
        attempts = directory.attempts() if is_main() else 1
        try:
            _set_threads(config, directory, progress)
            config = _with_clock(config, directory)
            abilities = _abilities(config, directory, progress)
            session = Session.build(config, data, method, progress, abilities=abilities)
            if is_main():
                claim_tokens(session, directory)
        except BenchError:
            if is_main():
                directory.give_up()
            raise
        progress.run_started(config, planned_work(session, ledger))
        try:
            go_through(session, ledger, stopped)
        except BaseException as error:
            status: Literal["interrupted", "failed"] = (
                "interrupted" if isinstance(error, Interrupted | KeyboardInterrupt) else "failed"
            )
            reason = error.message if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
            if is_main():
                directory.finish(build_record(session, ledger, attempts, status, reason))
            raise
        finally:
            progress.run_finished()
        record = build_record(session, ledger, attempts, "complete", None)
        if is_main():
            directory.finish(record)
        return record


def go_through(
    session: Session,
    ledger: Ledger,
    stopped: Callable[[], bool],
    *,
    last: int | None = None,
    trained: Callable[[int], None] = lambda stage: None,
    scored: Callable[[int], bool] = lambda stage: True,
    known: Callable[[int], Known | None] = lambda stage: None,
) -> None:
    """Train and score stage after stage, what the ledger does not have.

    Args:
        stopped: asked after every optimizer step and scored task.
        last: the last stage; default: the method's.
        trained: called after every stage that was trained.
        scored: whether a stage is scored.
        known: what an earlier scoring of a stage left, to which scores are added; None where there is none.

    Raises:
        Interrupted: ``stopped`` said so.
    """
    stages = len(session.plan())
    for index in range(min(last or stages, stages) + 1):
        if index not in ledger.trained:
            train_one(session, ledger, index, stopped)
            trained(index)
        if not scored(index):
            continue
        earlier = known(index)
        if earlier is not None or index not in ledger.scored:
            score_one(session, ledger, index, stopped, earlier)


def _set_threads(config: RunConfig, directory: RunDirectory, progress: Progress) -> None:
    """As many threads as the run began with: a run that was stopped then goes on to the bit."""
    if config.device != "cpu":
        return
    wanted = threads_to_use(config.threads)
    began = int(broadcast(directory.threads(wanted) if is_main() else 0))
    if config.threads is not None and began != config.threads:
        progress.notice(f"The run began with {began} threads and goes on with {wanted}: the last bits may differ.")
        began = wanted
    torch.set_num_threads(began)


def _with_clock(config: RunConfig, directory: RunDirectory) -> RunConfig:
    """``config`` with the clock that the run began with.

    Raises:
        BenchError: it was begun with another one than is asked for.
    """
    wanted = Clock.of(config.clock).text()
    began = str(broadcast(directory.clock(wanted) if is_main() else ""))
    if config.clock is not None and began != wanted:
        raise BenchError(
            f"The run in {directory.path} began with the clock at {began}, and {wanted} is asked for.",
            "Leave it out to continue that run, or write elsewhere with --out.",
        )
    return config.model_copy(update={"clock": began})


def _abilities(config: RunConfig, directory: RunDirectory, progress: Progress) -> Abilities:
    """The tests of general ability, loaded: those that the run began with, or now those that can be had."""
    if not config.abilities:
        return Abilities()
    found: Abilities | None = None
    begun = None
    if is_main():
        begun = directory.abilities()
        found = find_abilities(config, begun, progress.notice)
        if begun is None:
            begun = as_begun(found)
            directory.keep_abilities(begun)
    begun = broadcast(begun)
    return found if found is not None else find_abilities(config, begun, lambda text: None)


@contextmanager
def held(config: RunConfig, progress: Progress) -> Iterator[tuple[RunDirectory, Method, Mapping[str, TaskData]]]:
    """The run's folder, which no other process may write meanwhile, its method and its data.

    In a launch of several processes rank 0 holds the folder.

    Raises:
        BenchError: one of the three cannot be had, or the folder is another run's.
    """
    method = make_method(config)
    data = load_data(config, progress)
    if not is_main():
        yield RunDirectory(config.run_directory()), method, data
        return
    with RunDirectory.open(config, run_identity(config, method, data)) as directory:
        yield directory, method, data
