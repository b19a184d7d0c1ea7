"""``lifealign-bench sweep``: many runs, several at a time, on this machine or on a cluster; and ``orders``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from lifealign_bench.cli import options
from lifealign_bench.cli.asked import RunCommand, takes_settings
from lifealign_bench.cli.doubts import say_doubts
from lifealign_bench.cli.live import choose_board
from lifealign_bench.cli.output import (
    INTERRUPTED,
    Output,
    continuation,
    messages_console,
    print_json,
    results_console,
    show_error,
    show_trace,
)
from lifealign_bench.config import RunConfig
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.experiments.engines import ENGINES, Engine
from lifealign_bench.experiments.engines.events import Ended, Event
from lifealign_bench.experiments.request import Words, build_configs
from lifealign_bench.experiments.sweep import Sweep, SweepRun, expand_orders
from lifealign_bench.reporting.tables.files import save_comparisons
from lifealign_bench.reporting.tables.grid import Grid, show_grid
from lifealign_bench.util.launchenv import launched_processes
from lifealign_bench.util.process import is_silent, stop_on_interrupt
from lifealign_bench.util.registry import unknown_name
from lifealign_bench.util.text import clean

if TYPE_CHECKING:
    from lifealign_bench.results.view import RunView

__all__ = ["DryRun", "SweepWords", "app", "check_words", "parse_size", "perform", "show_failures", "show_standing"]

app = typer.Typer()

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show the runs and the state of each.", rich_help_panel="Output")
]


@app.command(
    cls=RunCommand,
    epilog="Examples:\n\n"
    "lifealign-bench sweep --method all --stream mini --seed 0,1,2 --jobs 2\n\n"
    "lifealign-bench sweep --method dpo,lifealign --stream mini --orders 5\n\n"
    "lifealign-bench sweep --method all --stream order1 --orders registered --preset paper --engine ray "
    "--out /shared/runs",
)
@takes_settings()
def sweep(
    words: Words,
    orders: options.Orders = None,
    order_seed: options.OrderSeed = 0,
    jobs: options.Jobs = None,
    engine: options.EngineName = "local",
    address: options.Address = None,
    gpus_per_run: options.GpusPerRun = None,
    memory_per_run: options.MemoryPerRun = None,
    retries: options.Retries = None,
    dry_run: DryRun = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Do many runs, several at a time, on this machine or on a cluster.

    Finished runs are skipped and broken ones continued, so the same command goes on where a sweep was stopped. A run
    that fails does not stop the others. With several orders of the same tasks it also shows how much the order matters.
    """
    output = Output(results_console(), messages_console(), quiet or is_silent(), as_json)
    wanted = SweepWords(jobs, engine, address, gpus_per_run, memory_per_run, retries, orders, order_seed)
    raise typer.Exit(show_states(words, wanted, output) if dry_run else execute(words, wanted, output))


@app.command("orders")
def show_orders(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, or folders above them, or records.")],
    as_json: options.AsJson = False,
) -> None:
    """Show how much the order of the tasks moves each metric, over runs that are finished."""
    from lifealign_bench.reporting.tables.experiments import order_grids
    from lifealign_bench.results.orders import open_runs, order_rows, order_summary

    output = Output(results_console(), messages_console(), as_json=as_json)
    views = open_runs(runs)
    say_doubts(views)
    rows = order_rows(views)
    if not rows:
        raise UsageError(
            "These runs hold no two orders of the same tasks by the same method and settings that are complete.",
            "Make some: lifealign-bench sweep --orders 3.",
        )
    if as_json:
        print_json(output, order_summary(rows))
    else:
        for grid in order_grids(rows):
            show_grid(output.results, grid)


@dataclass(frozen=True)
class SweepWords:
    """What the command line said about where and how runs are done.

    Args:
        jobs: runs at a time on this machine.
        engine: one of ``engines.ENGINES``.
        address: of a Ray cluster.
        gpus_per_run: None for one where there are any.
        memory: main memory of a run, as text.
        retries: None for 0 on this machine and 3 on a cluster.
        orders, order_seed: see ``orders.expand_orders``.
    """

    jobs: int | None = None
    engine: str = "local"
    address: str | None = None
    gpus_per_run: int | None = None
    memory: str | None = None
    retries: int | None = None
    orders: str | None = None
    order_seed: int = 0


def execute(words: Words, wanted: SweepWords, output: Output) -> int:
    """Do all runs that are not finished; show the board, and then what came out.

    Returns:
        The exit code: 0 all complete, 2 some failed with an error that the user can mend, 1 with another, 130 stopped.

    Raises:
        BenchError: something in what was asked for that keeps all runs from starting.
    """
    check_words(wanted)
    return perform(_configs(words, wanted, output), wanted, output, _conclude)


def perform(
    configs: list[RunConfig], wanted: SweepWords, output: Output, conclude: Callable[[Sweep, Output], None]
) -> int:
    """Do these runs; ``conclude`` shows what came out of those that are complete, whatever became of the others.

    Returns:
        The exit code, see :func:`execute`.

    Raises:
        BenchError: they cannot be started here.
    """
    engine, configs = _engine(configs, wanted, output)
    sweep = Sweep.of(configs)
    output.say(_census(sweep), "bold")
    stopped_by_user = False
    board = choose_board(sweep, output.messages, quiet=output.quiet)

    def tell_to_wait() -> None:
        board.line("Stopping all runs at their next checkpoint; Ctrl-C again to stop at once.", "yellow")

    def tell(number: int, event: Event) -> None:
        if isinstance(event, Ended) and event.status == "complete":
            event = _verified(configs[number - 1], event)
        board.heard(sweep.told(number, event), event)

    with stop_on_interrupt(tell_to_wait) as stopped:
        try:
            if sweep.to_do():
                with board:
                    engine.work(sweep.to_do(), tell, stopped, board.tick)
            stopped_by_user = bool(sweep.of_state("waiting", "running", "interrupted"))
            conclude(sweep, output)
        except KeyboardInterrupt:
            stopped_by_user = True
    if stopped_by_user:
        output.messages.print(Text("Stopped. This continues where it was:"))
        output.messages.print(Text(f"  {continuation()}", style="bold"), soft_wrap=True)
        return INTERRUPTED
    return _exit_code(sweep)


def show_states(words: Words, wanted: SweepWords, output: Output) -> int:
    """``--dry-run``: the runs and what state each is in; nothing is done.

    Raises:
        BenchError: something in what was asked for that keeps all runs from starting.
    """
    check_words(wanted)
    return show_standing(_configs(words, wanted, output), output)


def show_standing(configs: Sequence[RunConfig], output: Output) -> int:
    """The runs and what state each is in; returns the exit code."""
    sweep = Sweep.of(configs)
    if output.as_json:
        print_json(output, [_entry(run) | {"state": run.standing} for run in sweep.runs])
        return 0
    rows = tuple(
        (str(run.number), _method(run.config), run.config.stream, str(run.config.seed), run.standing, str(_place(run)))
        for run in sweep.runs
    )
    notes = [f"{run.number}: {run.ended.message}" for run in sweep.runs if run.ended is not None]
    notes.append(_census(sweep))
    heads = ("run", "method", "stream", "seed", "state", "writes to")
    show_grid(output.results, Grid("Runs of the sweep", heads, rows, tuple(notes), prose=(2, 5)))
    return 0


def parse_size(text: str) -> int:
    """Bytes of ``16G``, ``16GiB``, ``16GB`` (all 2**30 each), ``512M``.

    Raises:
        UsageError: it is nothing of that kind.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([MGT])(?:i?B)?", text.strip(), re.IGNORECASE)
    size = int(float(found[1]) * 2 ** {"M": 20, "G": 30, "T": 40}[found[2].upper()]) if found else 0
    if size <= 0:
        raise UsageError(f"--memory-per-run {text!r} is not a size.", "Write it like 16G or 512M.")
    return size


def _configs(words: Words, wanted: SweepWords, output: Output) -> list[RunConfig]:
    choice = build_configs(words, lambda streams: expand_orders(streams, wanted.orders, wanted.order_seed))
    for notice in choice.notices:
        output.say(f"note: {notice}")
    return list(choice.configs)


def check_words(wanted: SweepWords) -> None:
    """What no sweep can be made of."""
    if launched_processes() > 1:
        raise UsageError(
            "A sweep starts the processes of its runs itself; this one was launched as several.",
            "Start it without accelerate launch or torchrun, with --gpus-per-run.",
        )
    if wanted.engine not in ENGINES:
        raise unknown_name("engine", wanted.engine, ENGINES)
    if wanted.engine == "local" and wanted.address is not None:
        raise UsageError("--address is for --engine ray.", "Add --engine ray, or leave --address out.")
    if wanted.engine == "ray" and wanted.jobs is not None:
        raise UsageError(
            "--jobs is for --engine local.", "On a cluster as many runs go on as fit: --threads, --gpus-per-run."
        )
    if wanted.memory is not None:
        parse_size(wanted.memory)


def _engine(configs: list[RunConfig], wanted: SweepWords, output: Output) -> tuple[Engine, list[RunConfig]]:
    """The engine, and the runs as it wants them."""
    memory = parse_size(wanted.memory) if wanted.memory is not None else None
    if wanted.engine == "ray":
        from lifealign_bench.experiments.engines.ray import RayEngine, require_ray

        require_ray()
        retries = 3 if wanted.retries is None else wanted.retries
        return RayEngine(wanted.address, wanted.gpus_per_run, memory, retries), configs
    from lifealign_bench.experiments.engines.local import local_engine, settled

    configs = settled(configs)
    engine = local_engine(
        configs,
        jobs=wanted.jobs,
        gpus_per_run=wanted.gpus_per_run,
        memory=memory,
        retries=wanted.retries or 0,
        notice=lambda text: output.say(f"note: {text}"),
    )
    return engine, configs


def _census(sweep: Sweep) -> str:
    counts: dict[str, int] = {}
    for run in sweep.runs:
        counts[run.standing] = counts.get(run.standing, 0) + 1
    return f"{len(sweep.runs)} runs: " + ", ".join(f"{count} {name}" for name, count in counts.items()) + "."


def _verified(config: RunConfig, event: Ended) -> Ended:
    """A run that is said to be complete has a record here; where not, its storage is not shared."""
    if (config.run_directory() / "record.json").is_file():
        return event
    return Ended(
        status="failed",
        message=f"The run was done, but {config.run_directory()} holds no record.",
        remedy="Give --out a folder that all machines share, at the same path.",
    )


def _conclude(sweep: Sweep, output: Output) -> None:
    """Comparison, orders, files, failures."""
    from lifealign_bench.reporting.tables.experiments import order_grids
    from lifealign_bench.reporting.tables.run import render_comparison
    from lifealign_bench.results.orders import order_rows, order_summary
    from lifealign_bench.results.view import RunView

    finished = sweep.of_state("complete", "finished before")
    views = {run.number: RunView.open(_place(run)) for run in finished}
    rows = order_rows(list(views.values()))
    if output.as_json:
        runs = [_entry(run, views.get(run.number)) for run in sweep.runs]
        print_json(output, {"runs": runs, "orders": order_summary(rows)})
    else:
        render_comparison(output.results, list(views.values()))
        for grid in order_grids(rows):
            show_grid(output.results, grid)
    save_comparisons(output.say, {_place(run): views[run.number] for run in finished})
    show_failures(sweep, output)


def show_failures(sweep: Sweep, output: Output) -> None:
    """The runs that failed, and why."""
    failed = sweep.of_state("failed")
    if not failed:
        return
    output.messages.print(Text(f"{len(failed)} of {len(sweep.runs)} runs failed:", style="bold red"))
    for run in failed:
        if run.ended is None:
            continue
        output.messages.print(Text(clean(f"{run.title}, in {_place(run)}"), style="bold"), soft_wrap=True)
        if run.ended.foreseen:
            show_error(output.messages, BenchError(run.ended.message, run.ended.remedy))
        else:
            show_trace(output.messages, f"{run.ended.message} {run.ended.remedy}".strip(), run.ended.trace)


def _exit_code(sweep: Sweep) -> int:
    ends = [run.ended for run in sweep.of_state("failed")]
    if not ends:
        return 0
    return 2 if all(end is not None and end.foreseen for end in ends) else 1


def _entry(run: SweepRun, view: RunView | None = None) -> dict[str, Any]:
    """A run as plain JSON values; with what came out, where there is a view."""
    from lifealign_bench.reporting.tables.files import run_summary

    entry: dict[str, Any] = {
        "directory": str(_place(run)),
        "method": _method(run.config),
        "stream": run.config.stream,
        "model": run.config.model,
        "seed": run.config.seed,
        "state": run.state,
    }
    if run.ended is not None and run.ended.message:
        entry["error"] = run.ended.message
    return {**entry, **(run_summary(view) if view is not None else {}), "state": run.state}


def _method(config: RunConfig) -> str:
    return Path(config.method).stem if config.method.endswith(".py") else config.method


def _place(run: SweepRun) -> Path:
    return run.config.run_directory()
