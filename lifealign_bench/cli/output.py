"""Where the command line writes: results to standard output, all else to standard error; how errors look there."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.console import Console
from rich.text import Text

from lifealign_bench.errors import BenchError, Interrupted, as_bench_error
from lifealign_bench.util.launchenv import launched_processes
from lifealign_bench.util.process import is_silent, stop_on_interrupt
from lifealign_bench.util.redaction import redact
from lifealign_bench.util.text import clean

# Room for a stream of six tasks in one piece; a file or pipe has no width of its own.
_WIDTH_OF_FILES = 120


def results_console() -> Console:
    """Standard output."""
    console = Console(quiet=is_silent())
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDTH_OF_FILES
    return console


def messages_console() -> Console:
    """Standard error."""
    return Console(stderr=True, quiet=is_silent())


def show_error(console: Console, error: BenchError) -> None:
    """Print message and remedy."""
    console.print(Text("error: ", style="bold red"), Text(_one_paragraph(error.message)), sep="", soft_wrap=True)
    if error.remedy:
        console.print(Text(_one_paragraph(error.remedy)), soft_wrap=True)


def show_unexpected(console: Console, error: BaseException) -> None:
    """Print an error that nobody foresaw, with its traceback: it is a bug here or in a user's method."""
    show_trace(console, f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error)))


def show_failure(console: Console, error: BaseException) -> int:
    """Whatever it was, as what it is; gives the exit code."""
    known = as_bench_error(error)
    if known is None:
        show_unexpected(console, error)
        return 1
    show_error(console, known)
    return known.exit_code


def show_trace(console: Console, message: str, trace: str) -> None:
    """:func:`show_unexpected` for an error of another process, of which only the words are left."""
    for line in trace.rstrip().split("\n") if trace else []:
        console.print(Text(clean(line), style="dim"), soft_wrap=True)
    console.print(
        Text("error: ", style="bold red"), Text(clean(f"This should not happen: {message}")), sep="", soft_wrap=True
    )
    if trace:
        console.print(Text("It is a bug, in a method of yours if the last lines above name its file, else here."))


def _one_paragraph(text: str) -> str:
    return " ".join(clean(text).split())


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

    @classmethod
    def of(cls, quiet: bool = False, as_json: bool = False) -> Output:
        """This process's streams; of several that do one run, one speaks."""
        return cls(results_console(), messages_console(), quiet or is_silent(), as_json)

    def stoppable(self, part: str = "step") -> AbstractContextManager[Callable[[], bool]]:
        """Within it the first Ctrl-C asks to stop after this ``part``, which is said; gives what asks whether."""
        return stop_on_interrupt(lambda: self.say(f"Finishing this {part}; Ctrl-C again to stop at once.", "yellow"))

    def say_stopped(self, error: Interrupted | KeyboardInterrupt) -> int:
        """Where a run was stopped; gives the exit code."""
        if isinstance(error, Interrupted):
            self.messages.print(Text(clean(error.message)), soft_wrap=True)
        return INTERRUPTED

    def say(self, text: str, style: str = "") -> None:
        """A line for the user, unless it is to be quiet."""
        if not self.quiet:
            self.messages.print(Text(clean(text), style=style), soft_wrap=True)


def show_continuation(output: Output) -> None:
    """What to type after a stop."""
    output.messages.print(Text("Stopped. This continues where it was:"))
    output.messages.print(Text(f"  {continuation()}", style="bold"), soft_wrap=True)


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


def print_json(output: Output, content: object) -> None:
    """The one JSON document of a command."""
    if not output.results.quiet:
        output.results.file.write(json_text(content) + "\n")


def echo_json(content: object) -> None:
    """The same of a command that shows nothing but tables."""
    if not is_silent():
        typer.echo(json_text(content))


def json_text(content: object) -> str:
    """Every JSON document that a command shows is made here, and so without secrets, and without characters that would
    do something to a terminal, which are escaped."""
    text = redact(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)
