"""``lifealign-bench run``: one run after the other, what is shown meanwhile, and the results."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from lifealign_bench.cli import options
from lifealign_bench.cli.asked import RunCommand, takes_settings
from lifealign_bench.cli.output import (
    INTERRUPTED,
    Output,
    command_line,
    print_json,
    show_continuation,
    show_failure,
)
from lifealign_bench.config import RunConfig
from lifealign_bench.errors import BenchError, Interrupted, UsageError, as_bench_error
from lifealign_bench.experiments.configfile import dump_configs, write_dump
from lifealign_bench.experiments.request import Choice, Words, build_configs
from lifealign_bench.experiments.sharedclock import with_one_clock
from lifealign_bench.experiments.weighttypes import settled, told_of_other_types
from lifealign_bench.models.wheel import fetch_for
from lifealign_bench.reporting.live import choose_progress
from lifealign_bench.reporting.tables.brief import show_summary
from lifealign_bench.reporting.tables.files import run_summary, save_comparisons, write_tables
from lifealign_bench.reporting.tables.plan import plan_summary
from lifealign_bench.reporting.tables.run import render_comparison, render_plan, render_run
from lifealign_bench.results.record import Record
from lifealign_bench.results.view import RunView
from lifealign_bench.util.process import is_silent, quieten_libraries
from lifealign_bench.util.progress import Progress
from lifealign_bench.util.text import clean

if TYPE_CHECKING:
    from lifealign_bench.experiments.estimate import Gpu

app = typer.Typer()


@app.command(
    cls=RunCommand,
    epilog="Examples:\n\n"
    "lifealign-bench run --method lifealign --stream forms\n\n"
    "lifealign-bench run --method lifealign,dpo,ewc --seed 0,1,2 --set focal_gamma=0 --set epochs=2\n\n"
    "lifealign-bench run --stream TruthfulQA,safe-rlhf --data-dir data --limit 48\n\n"
    "lifealign-bench run --method path/to/mine.py --model fake --stream fake",
)
@takes_settings()
def run(
    words: Words,
    dry_run: options.DryRun = False,
    gpu: options.GpuName = None,
    dump_config: options.DumpConfig = None,
    full: options.Full = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Train methods through streams and score every task after every stage.

    The same command continues a run that was stopped (Ctrl-C, a crash). A finished run is not trained again.
    Each run writes to [bold]<out>/<stream>/<model>/<method>/seed-<n>[/].
    """
    output = Output.of(quiet, as_json)
    choice = build_configs(words)
    if dump_config is not None:
        raise typer.Exit(show_config(choice, output, dump_config))
    if dry_run:
        raise typer.Exit(show_plans(choice, output, gpu))
    if gpu is not None:
        raise UsageError("--gpu is for --dry-run alone.", "Choose a GPU with CUDA_VISIBLE_DEVICES.")
    raise typer.Exit(execute(choice, output, full))


@dataclass
class _Outcome:
    finished: list[tuple[Record, Path]] = field(default_factory=list)
    failed: list[tuple[RunConfig, BaseException]] = field(default_factory=list)
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        if self.interrupted:
            return INTERRUPTED
        if not self.failed:
            return 0
        known = [as_bench_error(error) for _, error in self.failed]
        return 1 if None in known else 2


def execute(choice: Choice, output: Output, full: bool = False) -> int:
    """Do the runs; a failed one does not stop the others.

    Args:
        full: show every table, not the summary.

    Returns:
        The exit code.

    Raises:
        BenchError: something in the configuration that would stop a run before it starts.
    """
    announce(choice, output)
    fetch_for([config.model for config in choice.configs], output.say)
    quieten_libraries()
    from lifealign_bench.runs.setup import check_configs

    check_configs(choice.configs)
    say_other_types(choice, output)
    outcome = _Outcome()
    with output.stoppable() as stopped:
        try:
            for number, config in enumerate(with_one_clock(choice.configs), start=1):
                if len(choice.configs) > 1:
                    output.say(f"run {number} of {len(choice.configs)}: {describe(config)}", "bold")
                _one(config, output, stopped, outcome, full)
                if outcome.interrupted:
                    break
            _conclude(choice, output, outcome, full)
        except KeyboardInterrupt:
            outcome.interrupted = True
    if outcome.interrupted:
        show_continuation(output)
    return outcome.exit_code


def show_config(choice: Choice, output: Output, target: Path) -> int:
    """``--dump-config``: the runs as a config file, on standard output for ``-``; nothing else is done.

    Raises:
        UsageError: there is such a file already.
    """
    for notice in choice.notices:
        output.say(f"note: {notice}")
    if str(target) == "-":
        if not output.results.quiet:
            output.results.file.write(dump_configs(choice.configs))
        return 0
    write_dump(choice.configs, target)
    output.say(f"Written: {target}. Start it with: {command_line(['run', '--config', str(target)])}")
    return 0


def describe(config: RunConfig) -> str:
    """A run in a few words."""
    return f"{config.method} on {config.stream}, {config.model}, seed {config.seed}, in {config.run_directory()}"


def announce(choice: Choice, output: Output) -> None:
    """Say what is asked for."""
    for notice in choice.notices:
        output.say(f"note: {notice}")
    if len(choice.configs) == 1:
        output.say(describe(choice.configs[0]))


def say_other_types(choice: Choice, output: Output) -> None:
    """Say which runs no leaderboard will rank with those beside them."""
    for told in told_of_other_types(choice.configs, settled(choice.configs)):
        output.say(f"note: {told}")


def _one(config: RunConfig, output: Output, stopped: Callable[[], bool], outcome: _Outcome, full: bool) -> None:
    from lifealign_bench.runs.run import run

    progress: Progress = choose_progress(output.messages, quiet=output.quiet)
    try:
        record = run(config, progress, stopped)
        view = RunView(record, config.run_directory())
        if not is_silent():
            write_tables(view, config.run_directory())
    except (Interrupted, KeyboardInterrupt) as error:
        output.say_stopped(error)
        outcome.interrupted = True
        return
    except Exception as error:  # noqa: BLE001 - the other runs go on; the error is shown and decides the exit code
        show_failure(output.messages, error)
        outcome.failed.append((config, error))
        return
    outcome.finished.append((record, config.run_directory()))
    if full and not output.as_json:
        render_run(output.results, view)


def _conclude(choice: Choice, output: Output, outcome: _Outcome, full: bool) -> None:
    """Comparison, files, failures."""
    views = [RunView(record, directory) for record, directory in outcome.finished]
    if output.as_json:
        print_json(
            output,
            [
                {"directory": str(directory), **run_summary(view)}
                for view, (_, directory) in zip(views, outcome.finished, strict=True)
            ],
        )
    elif not full and views:
        show_summary(output.results, views, [directory for _, directory in outcome.finished])
    elif len(views) > 1:
        render_comparison(output.results, views)
    if not is_silent():
        save_comparisons(
            {directory: view for view, (_, directory) in zip(views, outcome.finished, strict=True)}, output.say
        )
    for _, directory in outcome.finished:
        output.say(f"tables as files: {directory / 'tables'}")
    if outcome.failed and len(choice.configs) > 1:
        output.messages.print(Text(f"{len(outcome.failed)} of {len(choice.configs)} runs failed:", style="bold red"))
        for config, error in outcome.failed:
            known = as_bench_error(error)
            reason = known.message if known is not None else f"{type(error).__name__}: {error}"
            output.messages.print(Text(clean(f"  {describe(config)}: {reason}")), soft_wrap=True)


_DEFAULT = "H100"


def show_plans(choice: Choice, output: Output, gpu: str | None) -> int:
    """What would be done, and nothing done.

    Args:
        gpu: the kind of GPU to plan for; None: the one that is here, else an H100.

    Raises:
        BenchError: what would stop the first run that cannot start.
    """
    from lifealign_bench.experiments.estimate import COUNTS, gpu_named

    kind = gpu_named(gpu) if gpu is not None else None
    announce(choice, output)
    fetch_for([config.model for config in choice.configs], output.say)
    quieten_libraries()
    from lifealign_bench.experiments.plan import make_plan
    from lifealign_bench.runs.setup import check_configs

    check_configs(choice.configs)
    say_other_types(choice, output)
    kind = kind or _present()
    launches = {count: launch_line(count, sys.argv[1:]) for count in COUNTS}
    plans = []

    def tell(text: str) -> None:
        if not output.quiet:
            output.messages.print(Text(clean(text), style="dim"), soft_wrap=True)

    for config in choice.configs:
        plan = make_plan(config, kind, tell)
        plans.append(plan_summary(plan, launches))
        if not output.as_json:
            render_plan(output.results, plan)
    if output.as_json:
        print_json(output, plans)
        return 0
    output.results.print(Text("Start it", style="bold"))
    for count, line in launches.items():
        output.results.print(Text(f"on {count} GPU{'s' if count > 1 else ''}:", style="dim"))
        output.results.print(Text(f"  {clean(line)}"), soft_wrap=True)
    return 0


def launch_line(count: int, arguments: Sequence[str]) -> str:
    """The command that starts the runs of ``arguments``, which ask for a dry run, on ``count`` GPUs."""
    kept = _without_planning(arguments)
    if count == 1:  # which has nobody to share the layers with
        return command_line([word for word in kept if word != "--shard"])
    many = ["accelerate", "launch", "--multi_gpu", "--num_processes", str(count), "--mixed_precision", "no"]
    return shlex.join([*many, "-m", "lifealign_bench", *kept])


def _without_planning(arguments: Sequence[str]) -> list[str]:
    kept: list[str] = []
    skip = False
    for word in arguments:
        if skip:
            skip = False
        elif word == "--gpu":
            skip = True
        elif word not in ("--dry-run", "--json") and not word.startswith("--gpu="):
            kept.append(word)
    return kept


def _present() -> Gpu:
    """The kind of GPU that is here; where it is none of the known ones, or none is here, an H100."""
    import torch

    from lifealign_bench.experiments.estimate import GPUS, gpu_named

    if torch.cuda.is_available():
        try:
            return gpu_named(torch.cuda.get_device_name())
        except BenchError:
            return GPUS[_DEFAULT]
    return GPUS[_DEFAULT]
