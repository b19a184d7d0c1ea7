"""``lifealign-bench run``: one run after the other, what is shown meanwhile, and the results."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from lifealign_bench.config import RunConfig
from lifealign_bench.consoles import is_silent
from lifealign_bench.display import choose_progress
from lifealign_bench.errors import Interrupted
from lifealign_bench.failures import as_bench_error, show_error, show_unexpected
from lifealign_bench.grid import clean
from lifealign_bench.interrupt import stop_on_interrupt
from lifealign_bench.launchenv import launched_processes
from lifealign_bench.progress import Progress
from lifealign_bench.record import Record
from lifealign_bench.redaction import redact
from lifealign_bench.settings import Choice
from lifealign_bench.singles import SINGLE

if TYPE_CHECKING:
    from lifealign_bench.runview import RunView

__all__ = [
    "INTERRUPTED",
    "Output",
    "announce",
    "check",
    "command_line",
    "continuation",
    "execute",
    "print_json",
    "quieten_libraries",
    "save_comparisons",
    "show_config",
]

INTERRUPTED = 130


@dataclass
class Output:
    """Where things are shown.

    Args:
        results: standard output: tables, or one JSON document.
        messages: standard error: progress, notices, errors.
        quiet: no progress and no notices.
        as_json: results as JSON.
    """

    results: Console
    messages: Console
    quiet: bool = False
    as_json: bool = False

    def say(self, text: str, style: str = "") -> None:
        """A line for the user, unless it is to be quiet."""
        if not self.quiet:
            self.messages.print(Text(clean(text), style=style), soft_wrap=True)


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


def quieten_libraries() -> None:
    """The terminal belongs to the benchmark: libraries show no bars, hints and notices. Call before importing them."""
    for name, value in {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
        "DATASETS_VERBOSITY": "error",
        "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
        "TQDM_DISABLE": "1",  # bars that no library setting reaches, such as that of the GGUF reader
    }.items():
        os.environ.setdefault(name, value)
    for module in ("transformers", "peft", "trl", "accelerate", "datasets", "torch", "huggingface_hub"):
        warnings.filterwarnings("ignore", module=rf"{module}(\..*)?")


def execute(choice: Choice, output: Output) -> int:
    """Do the runs; a failed one does not stop the others.

    Returns:
        The exit code.

    Raises:
        BenchError: something in the configuration that would stop a run before it starts.
    """
    announce(choice, output)
    quieten_libraries()
    check(choice.configs)
    outcome = _Outcome()
    with stop_on_interrupt(
        lambda: output.say("Finishing this step; Ctrl-C again to stop at once.", "yellow")
    ) as stopped:
        try:
            for number, config in enumerate(choice.configs, start=1):
                if len(choice.configs) > 1:
                    output.say(f"run {number} of {len(choice.configs)}: {describe(config)}", "bold")
                _one(config, output, stopped, outcome)
                if outcome.interrupted:
                    break
            _conclude(choice, output, outcome)
        except KeyboardInterrupt:
            outcome.interrupted = True
    if outcome.interrupted:
        output.messages.print(Text("Stopped. This continues where it was:"))
        output.messages.print(Text(f"  {continuation()}", style="bold"), soft_wrap=True)
    return outcome.exit_code


def show_config(choice: Choice, output: Output, target: Path) -> int:
    """``--dump-config``: the runs as a config file, on standard output for ``-``; nothing else is done.

    Raises:
        UsageError: there is such a file already.
    """
    from lifealign_bench.configdump import dump_configs, write_dump

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


def continuation() -> str:
    """The command that was typed, to be typed again."""
    command = command_line(sys.argv[1:])
    if launched_processes() > 1:
        return f"accelerate launch ... (as before) {command}"
    return command


def command_line(arguments: Sequence[str]) -> str:
    """This program, as it was called, with ``arguments``."""
    program = Path(sys.argv[0])
    if program.name == "__main__.py":
        words = [sys.executable, "-m", "lifealign_bench"]
    else:
        found = shutil.which(program.name)
        same = found is not None and Path(found).resolve() == program.resolve()
        words = [program.name if same else sys.argv[0]]
    return shlex.join([*words, *arguments])


def announce(choice: Choice, output: Output) -> None:
    """Say what is asked for."""
    for notice in choice.notices:
        output.say(f"note: {notice}")
    if len(choice.configs) == 1:
        output.say(describe(choice.configs[0]))


def check(configs: Sequence[RunConfig]) -> None:
    """What can be known to be wrong before the first run starts: method files and devices."""
    from lifealign_bench.methods import load_method
    from lifealign_bench.models import resolve_device

    for config in configs:
        load_method(config.method)
        resolve_device(config.device, config.dtype)


def _one(config: RunConfig, output: Output, stopped: Callable[[], bool], outcome: _Outcome) -> None:
    from lifealign_bench.run import run
    from lifealign_bench.tables import RunView, render_run, write_tables

    progress: Progress = choose_progress(output.messages, quiet=output.quiet)
    try:
        record = run(config, progress, stopped)
        view = RunView(record, config.run_directory())
        if not is_silent():
            write_tables(view, config.run_directory())
    except (Interrupted, KeyboardInterrupt) as error:
        outcome.interrupted = True
        if isinstance(error, Interrupted):
            output.messages.print(Text(clean(error.message)), soft_wrap=True)
        return
    except Exception as error:  # noqa: BLE001 - the other runs go on; the error is shown and decides the exit code
        known = as_bench_error(error)
        if known is not None:
            show_error(output.messages, known)
        else:
            show_unexpected(output.messages, error)
        outcome.failed.append((config, error))
        return
    outcome.finished.append((record, config.run_directory()))
    if not output.as_json:
        render_run(output.results, view)


def _conclude(choice: Choice, output: Output, outcome: _Outcome) -> None:
    """Comparison, files, failures."""
    from lifealign_bench.tables import RunView, render_comparison, run_summary

    views = [RunView(record, directory) for record, directory in outcome.finished]
    if output.as_json:
        print_json(
            output,
            [
                {"directory": str(directory), **run_summary(view)}
                for view, (_, directory) in zip(views, outcome.finished, strict=True)
            ],
        )
    elif len(views) > 1:
        render_comparison(output.results, views)
    if not is_silent():
        save_comparisons(
            output, {directory: view for view, (_, directory) in zip(views, outcome.finished, strict=True)}
        )
    for _, directory in outcome.finished:
        output.say(f"tables as files: {directory / 'tables'}")
    if outcome.failed and len(choice.configs) > 1:
        output.messages.print(Text(f"{len(outcome.failed)} of {len(choice.configs)} runs failed:", style="bold red"))
        for config, error in outcome.failed:
            known = as_bench_error(error)
            reason = known.message if known is not None else f"{type(error).__name__}: {error}"
            output.messages.print(Text(clean(f"  {describe(config)}: {reason}")), soft_wrap=True)


def save_comparisons(output: Output, views: Mapping[Path, RunView]) -> None:
    """Write the comparison of all complete runs beside these (by their folders), for each stream and model."""
    from lifealign_bench.tables import RunView, write_comparison, write_tables

    if any(view.name == SINGLE for view in views.values()):
        # What was written of the runs before it had no intransigence yet.
        for directory, view in views.items():
            write_tables(view, directory)
    for folder in dict.fromkeys(directory.parent.parent for directory in views):
        files = sorted(folder.glob("*/seed-*/record.json"))
        # A view that is open has its intervals already.
        present = [views.get(file.parent) or RunView.open(file.parent) for file in files]
        complete = [view for view in present if view.complete]
        if len(complete) > 1:
            write_comparison(complete, folder)
            output.say(f"comparison of the {len(complete)} runs in {folder}: {folder / 'comparison.md'}")


def print_json(output: Output, content: object) -> None:
    """The one JSON document of a command."""
    if not output.results.quiet:
        output.results.file.write(redact(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)) + "\n")
