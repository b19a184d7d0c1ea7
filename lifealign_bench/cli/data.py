"""``lifealign-bench data``: fetch, verify and measure the tasks' data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from lifealign_bench.cli import options
from lifealign_bench.cli.output import echo_json, messages_console, results_console, show_error
from lifealign_bench.data.cards import check_reward, git_tasks, registered_tasks, select_tasks
from lifealign_bench.data.stats import measure_task, overlaps
from lifealign_bench.data.tasks import available
from lifealign_bench.data.verify import check_files, file_errors
from lifealign_bench.errors import BenchError, Interrupted
from lifealign_bench.models.wheel import fetch_for
from lifealign_bench.reporting.tables.grid import show_grid
from lifealign_bench.util.process import is_silent
from lifealign_bench.util.text import clean

if TYPE_CHECKING:
    from lifealign_bench.data.cards import TaskCard
    from lifealign_bench.data.stats import TaskStats

app = typer.Typer(help="Download, verify and measure the tasks' data.", no_args_is_help=True)

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="TASK|STREAM", help="Tasks, streams, cards' paths or all.", show_default=False),
]
FAILED = 2


@app.command(
    epilog="Examples:\n\nlifealign-bench data fetch\n\nlifealign-bench data fetch order1 --mirror http://host/{path}"
)
def fetch(
    names: Names = None,
    mirror: Annotated[
        str | None,
        typer.Option(
            help="Address instead of https://raw.githubusercontent.com; {repo}, {commit} and {path} are filled in "
            "(also: LIFEALIGN_BENCH_MIRROR)."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Download again even what is already there.")] = False,
    retries: Annotated[int, typer.Option(min=0, help="Retries in a row without a new byte before giving up.")] = 5,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds without a byte before a try counts as failed.")
    ] = 30.0,
    data_dir: options.DataDir = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Download data files, verify them, and keep them in the cache (default: the six tasks of the paper).

    A download that was stopped continues. A file that is there and correct is not fetched again.
    """
    from lifealign_bench.cli.live import FetchView
    from lifealign_bench.data.download import DownloadPolicy as Patience
    from lifealign_bench.data.fetch import FetchOptions, fetch_files, wanted_files
    from lifealign_bench.reporting.tables.data import fetch_grid

    messages = messages_console()
    wanted, others = wanted_files(_chosen(names, "paper"))
    if others and not quiet:
        text = f"Nothing to fetch for {', '.join(others)}: the data is not in a git repository."
        messages.print(Text(clean(text)), soft_wrap=True)
    how = FetchOptions(mirror, data_dir, force, Patience(retries=retries, timeout=timeout))
    try:
        with FetchView(messages, quiet=quiet or is_silent()) as view:
            results = fetch_files(wanted, how, view)
    except KeyboardInterrupt as error:
        raise Interrupted("Stopped.", "What came is kept: the same command goes on where it was.") from error
    if as_json:
        echo_json([result.as_dict() for result in results])
    elif results:
        show_grid(results_console(), fetch_grid(results))
    failed = [result for result in results if result.error]
    for number, result in enumerate(failed):
        last = number + 1 == len(failed) or failed[number + 1].remedy != result.remedy
        show_error(messages, BenchError(result.error, result.remedy if last else ""))
    if failed:
        raise typer.Exit(FAILED)


@app.command()
def verify(names: Names = None, data_dir: options.DataDir = None, as_json: options.AsJson = False) -> None:
    """Compare data files with the hashes on their cards (default: the six tasks of the paper)."""
    from lifealign_bench.reporting.tables.data import verify_grid

    checks = [check for card in _chosen(names, "paper") for check in check_files(card, data_dir)]
    if as_json:
        echo_json([check.as_dict() for check in checks])
    else:
        show_grid(results_console(), verify_grid(checks))
    problems = file_errors(checks)
    for problem in problems:
        show_error(messages_console(), problem)
    if problems:
        raise typer.Exit(FAILED)


@app.command(epilog="Examples:\n\nlifealign-bench data stats\n\nlifealign-bench data stats order1 --data-dir data")
def stats(
    names: Names = None,
    model: Annotated[
        str | None,
        typer.Option(help="Whose tokens to count: smollm2-135m, fake, a folder, a model of the hub, or none."),
    ] = None,
    data_dir: options.DataDir = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Show pairs, lengths, repetitions, script and overlap (default: all tasks whose data is available)."""
    from lifealign_bench.reporting.tables.data import stats_grids

    messages = messages_console()
    cards = _chosen(names, "all")
    # Without names the question is what is here: nothing is downloaded for it.
    reasons = {card.name: available(card, data_dir, download=bool(names)) for card in cards}
    at_hand = [card for card in cards if reasons[card.name] is None]
    absent = {name: reason for name, reason in reasons.items() if reason is not None}
    try:
        measured, broken, counted = _measure(at_hand, data_dir, model, messages, quiet or is_silent())
    except KeyboardInterrupt as error:
        raise Interrupted("Stopped.", "") from error
    shared = overlaps(measured)
    if as_json:
        tasks = [task.as_dict() for task in measured]
        echo_json({"tokens_of": counted, "tasks": tasks, "test_prompts_in_train": shared, "left_out": absent | broken})
    elif measured:
        for grid in stats_grids(measured, shared, counted):
            show_grid(results_console(), grid)
    for name, reason in (absent | broken).items():
        messages.print(Text(clean(f"Task {name} is left out: {reason}"), style="yellow"), soft_wrap=True)
    # Without names the question was "what is here"; a task that was asked for and is not here is a failure.
    if broken or (absent and names):
        raise typer.Exit(FAILED)


def _measure(
    cards: Sequence[TaskCard], data_dir: Path | None, model: str | None, messages: Console, quiet: bool
) -> tuple[list[TaskStats], dict[str, str], str | None]:
    """The statistics of every task, those whose data cannot be used with the reason, the model of the tokens."""
    if not quiet:
        fetch_for([model or ""], lambda text: messages.print(Text(clean(text)), soft_wrap=True))
    from lifealign_bench.cli.live import StatsView
    from lifealign_bench.models.encode import token_counter

    measured, broken = [], {}
    with StatsView(messages, cards, quiet=quiet) as view:
        counted, count = token_counter(model, view.notice) if cards else (None, None)
        for card in cards:
            try:
                measured.append(measure_task(card, data_dir, count, view.advancer(card)))
            except BenchError as error:
                broken[card.name] = str(error)
    return measured, broken, counted


def _chosen(names: Sequence[str] | None, default: str) -> list[TaskCard]:
    if not names:
        return git_tasks() if default == "paper" else registered_tasks()
    cards = select_tasks(names)
    for card in cards:
        check_reward(card)
    return cards
