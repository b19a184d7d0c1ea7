"""``lifealign-bench sweep``: many runs, several at a time, on this machine or on a cluster; and ``orders``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from lifealign_bench.cli import options
from lifealign_bench.cli.asked import RunCommand, takes_settings
from lifealign_bench.cli.doubts import say_doubts
from lifealign_bench.cli.options import text_option
from lifealign_bench.cli.output import (
    INTERRUPTED,
    Output,
    print_json,
    show_continuation,
    show_error,
    show_trace,
)
from lifealign_bench.config import RunConfig
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.experiments.engines.words import SweepWords, check_words, make_engine
from lifealign_bench.experiments.request import Words, build_configs
from lifealign_bench.experiments.slurm import write_job_array
from lifealign_bench.experiments.sweep import Sweep, SweepRun, expand_orders, work
from lifealign_bench.models.wheel import fetch_for
from lifealign_bench.reporting.live import choose_board
from lifealign_bench.reporting.tables.brief import show_summary
from lifealign_bench.reporting.tables.experiments import order_grids
from lifealign_bench.reporting.tables.files import run_summary, save_comparisons
from lifealign_bench.reporting.tables.grid import Grid, show_grid
from lifealign_bench.reporting.tables.plan import hours_grid, hours_summary
from lifealign_bench.reporting.tables.run import render_comparison
from lifealign_bench.results.finding import open_runs
from lifealign_bench.results.orders import order_rows, order_summary
from lifealign_bench.results.view import RunView
from lifealign_bench.util.process import stop_on_interrupt
from lifealign_bench.util.text import clean

if TYPE_CHECKING:
    from lifealign_bench.results.view import RunView

__all__ = ["DrySweep", "SweepWords", "app", "check_words", "perform_sweep", "show_failures", "show_standing"]

app = typer.Typer()

DrySweep = Annotated[
    bool, typer.Option("--dry-run", help="Show the runs and the state of each.", rich_help_panel="Output")
]


_GPU_HELP = "With --dry-run: the hours of all runs on one GPU of this kind, of the paper's tasks."


@app.command(
    cls=RunCommand,
    epilog="Examples:\n\n"
    "lifealign-bench sweep --method all --stream forms --seed 0,1,2 --jobs 2\n\n"
    "lifealign-bench sweep --method dpo,lifealign --stream forms --orders 5\n\n"
    "lifealign-bench sweep --method all --stream order1 --orders registered --preset paper --engine ray "
    "--out /shared/runs",
)
@takes_settings()
def sweep(
    words: Words,
    orders: options.Orders = None,
    order_seed: options.OrderSeed = 0,
    jobs: options.Jobs = None,
    devices: options.Devices = None,
    engine: options.EngineName = "local",
    address: options.Address = None,
    gpus_per_run: options.GpusPerRun = None,
    memory_per_run: options.MemoryPerRun = None,
    retries: options.Retries = None,
    slurm: options.Slurm = None,
    dry_run: DrySweep = False,
    gpu: Annotated[str | None, text_option("--gpu", help=_GPU_HELP, panel="Output", metavar="NAME")] = None,
    full: options.Full = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Do many runs, several at a time, on this machine or on a cluster.

    Finished runs are skipped and unfinished ones continued, so the same command continues a sweep that was stopped. A
    run that fails does not stop the others. With several orders of the same tasks it also shows how much the order
    matters.
    """
    output = Output.of(quiet, as_json)
    wanted = SweepWords(jobs, engine, address, gpus_per_run, memory_per_run, retries, orders, order_seed, devices)
    if gpu is not None and not dry_run:
        raise UsageError("--gpu is for --dry-run alone.", "Name the GPUs of a sweep with --devices.")
    if slurm is not None:
        raise typer.Exit(write_array(words, wanted, slurm, output))
    raise typer.Exit(show_states(words, wanted, output, gpu) if dry_run else execute(words, wanted, output, full))


@app.command("orders")
def show_orders(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, or folders above them, or records.")],
    as_json: options.AsJson = False,
) -> None:
    """Show how much the order of the tasks moves each metric, over runs that are finished."""
    output = Output.of(as_json=as_json)
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


def execute(words: Words, wanted: SweepWords, output: Output, full: bool = False) -> int:
    """Do all runs that are not finished; show the board, and then what came out.

    Args:
        full: as every table, not as a summary.

    Returns:
        The exit code: 0 all complete, 2 some failed with an error that the user can mend, 1 with another, 130 stopped.

    Raises:
        BenchError: something in what was asked for that keeps all runs from starting.
    """
    check_words(wanted)
    return perform_sweep(_configs(words, wanted, output), wanted, output, partial(_conclude, full=full))


def perform_sweep(
    configs: list[RunConfig], wanted: SweepWords, output: Output, conclude: Callable[[Sweep, Output], None]
) -> int:
    """Do these runs; ``conclude`` shows what came out of those that are complete, whatever became of the others.

    Returns:
        The exit code, see :func:`execute`.

    Raises:
        BenchError: they cannot be started here.
    """
    fetch_for([config.model for config in configs], output.say)
    engine, configs = make_engine(configs, wanted, lambda text: output.say(f"note: {text}"))
    sweep = Sweep.of(configs)
    output.say(_census(sweep), "bold")
    stopped_by_user = False
    board = choose_board(sweep, output.messages, quiet=output.quiet)

    def tell_to_wait() -> None:
        board.line("Stopping all runs at their next checkpoint; Ctrl-C again to stop at once.", "yellow")

    with stop_on_interrupt(tell_to_wait) as stopped:
        try:
            if sweep.to_do():
                with board:
                    work(sweep, engine, board.heard, stopped, board.tick)
            stopped_by_user = bool(sweep.of_state("waiting", "running", "interrupted"))
            conclude(sweep, output)
        except KeyboardInterrupt:
            stopped_by_user = True
    if stopped_by_user:
        show_continuation(output)
        return INTERRUPTED
    return _exit_code(sweep)


def show_states(words: Words, wanted: SweepWords, output: Output, gpu: str | None = None) -> int:
    """``--dry-run``: the runs and what state each is in; nothing is done.

    Args:
        gpu: tell the hours on one GPU of this kind instead.

    Raises:
        BenchError: something in what was asked for that keeps all runs from starting.
    """
    check_words(wanted)
    configs = _configs(words, wanted, output)
    return show_standing(configs, output) if gpu is None else show_hours(configs, gpu, output)


def write_array(words: Words, wanted: SweepWords, folder: Path, output: Output) -> int:
    """``--slurm``: the runs as a job array, a task each; nothing is done. Returns the exit code.

    Raises:
        BenchError: something in what was asked for that keeps all runs from starting; there is such a folder already.
    """
    check_words(wanted)
    script = write_job_array(_configs(words, wanted, output), wanted, folder)
    output.say(f"Written: {script}. Submit it with: sbatch --time=24:00:00 {script}")
    return 0


def show_hours(configs: Sequence[RunConfig], gpu: str, output: Output) -> int:
    """The hours of all runs on one GPU, by method and part; returns the exit code.

    Raises:
        BenchError: an unknown kind of GPU; a task or a model of which nothing is known.
    """
    from lifealign_bench.experiments.estimate import gpu_named
    from lifealign_bench.experiments.hours import plan_hours

    plan = plan_hours(configs, gpu_named(gpu))
    if output.as_json:
        print_json(output, hours_summary(plan))
    else:
        show_grid(output.results, hours_grid(plan))
    return 0


def show_standing(configs: Sequence[RunConfig], output: Output) -> int:
    """The runs and what state each is in; returns the exit code."""
    sweep = Sweep.of(configs)
    if output.as_json:
        print_json(output, [_entry(run) | {"state": run.standing} for run in sweep.runs])
        return 0
    rows = tuple(
        (
            str(run.number),
            run.config.method_name,
            run.config.stream,
            str(run.config.seed),
            run.standing,
            str(_place(run)),
        )
        for run in sweep.runs
    )
    notes = [f"{run.number}: {run.ended.message}" for run in sweep.runs if run.ended is not None]
    notes.append(_census(sweep))
    heads = ("run", "method", "stream", "seed", "state", "writes to")
    show_grid(output.results, Grid("Runs of the sweep", heads, rows, tuple(notes), prose=(2, 5)))
    return 0


def _configs(words: Words, wanted: SweepWords, output: Output) -> list[RunConfig]:
    choice = build_configs(words, lambda streams: expand_orders(streams, wanted.orders, wanted.order_seed))
    for notice in choice.notices:
        output.say(f"note: {notice}")
    return list(choice.configs)


def _census(sweep: Sweep) -> str:
    counts: dict[str, int] = {}
    for run in sweep.runs:
        counts[run.standing] = counts.get(run.standing, 0) + 1
    return f"{len(sweep.runs)} runs: " + ", ".join(f"{count} {name}" for name, count in counts.items()) + "."


def _conclude(sweep: Sweep, output: Output, full: bool) -> None:
    """Comparison, orders, files, failures."""
    finished = sweep.of_state("complete", "finished before")
    views = {run.number: RunView.open(_place(run)) for run in finished}
    rows = order_rows(list(views.values()))
    if output.as_json:
        runs = [_entry(run, views.get(run.number)) for run in sweep.runs]
        print_json(output, {"runs": runs, "orders": order_summary(rows)})
    else:
        if full:
            render_comparison(output.results, list(views.values()))
        else:
            show_summary(output.results, list(views.values()), [_place(run) for run in finished])
        for grid in order_grids(rows):
            show_grid(output.results, grid)
    save_comparisons({_place(run): views[run.number] for run in finished}, output.say)
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
    entry: dict[str, Any] = {
        "directory": str(_place(run)),
        "method": run.config.method_name,
        "stream": run.config.stream,
        "model": run.config.model,
        "seed": run.config.seed,
        "state": run.state,
    }
    if run.ended is not None and run.ended.message:
        entry["error"] = run.ended.message
    return {**entry, **(run_summary(view) if view is not None else {}), "state": run.state}


def _place(run: SweepRun) -> Path:
    return run.config.run_directory()
