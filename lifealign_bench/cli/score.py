"""``lifealign-bench score``: more scores for runs that are finished."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from lifealign_bench.cli import options
from lifealign_bench.cli.asked import RunCommand, takes_settings
from lifealign_bench.cli.output import (
    INTERRUPTED,
    Output,
    print_json,
    show_continuation,
    show_failure,
)
from lifealign_bench.config import RunConfig, setting_at
from lifealign_bench.errors import Interrupted, UsageError
from lifealign_bench.experiments.assignments import scoring_settings
from lifealign_bench.experiments.request import Words, scorer_names, scoring_flags
from lifealign_bench.models.wheel import fetch_for
from lifealign_bench.reporting.live import choose_progress
from lifealign_bench.reporting.tables.files import run_summary, write_tables
from lifealign_bench.reporting.tables.run import render_run
from lifealign_bench.results.view import RunView
from lifealign_bench.scoring.scorers import check_scorers, scorers_asked_by
from lifealign_bench.util.process import is_silent, quieten_libraries

app = typer.Typer()


@app.command(
    cls=RunCommand,
    epilog="Examples:\n\n"
    "lifealign-bench score runs/forms/smollm2-135m/lifealign/seed-0 --scorer overlap,distance\n\n"
    "lifealign-bench score runs/forms/smollm2-135m/*/seed-* --reward trained\n\n"
    "lifealign-bench score runs/forms/smollm2-135m/dpo/seed-0 --scorer win --judge check --opponent previous",
)
@takes_settings(
    beside=("assignment",),
    without=[n for n in RunConfig.model_fields if not setting_at(n).scoring and n != "data_dir"],
)
def score(
    words: Words,
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs.", show_default=False)],
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Add scores to finished runs, from their adapters and responses; nothing is trained.

    The numbers are those of a run that asked for the same scores from the start. If it is stopped, the same command
    continues.
    """
    output = Output.of(quiet, as_json)
    raise typer.Exit(execute(runs, words, output))


def execute(runs: Sequence[Path], words: Words, output: Output) -> int:
    """Score the runs; one that fails does not stop the others.

    Returns:
        The exit code.

    Raises:
        BenchError: nothing is asked for, or a run cannot be scored as asked; nothing was begun then.
    """
    quieten_libraries()
    from lifealign_bench.runs.rescoring import extended, run_of

    wanted = [(path, run_of(path, words.said.get("data_dir"))) for path in runs]
    pairs = [(path, before, _wanted(before, words, extended)) for path, before in wanted]
    for _, _, config in pairs:
        check_scorers(config)
    fetch_for([config.model for _, _, config in pairs], output.say)
    summaries = []
    worst = 0
    with output.stoppable("part") as stopped:
        for path, before, config in pairs:
            output.say(f"scoring {path}", "bold" if len(pairs) > 1 else "")
            code = _one(before, config, output, stopped)
            if code == INTERRUPTED:
                show_continuation(output)
                return code
            worst = max(worst, code)
            if code:
                continue
            view = RunView.open(path)
            if not is_silent():
                write_tables(view, path)
            if output.as_json:
                summaries.append({"directory": str(path), **run_summary(view)})
            else:
                render_run(output.results, view)
    if output.as_json:
        print_json(output, summaries)
    return worst


def _wanted(before: RunConfig, words: Words, extended: Callable[..., RunConfig]) -> RunConfig:
    scorers = scorer_names(words.listed("scorers"))
    flags = scoring_flags(words) | scoring_settings(words.assignments, before)
    scorers = (*scorers, *scorers_asked_by(flags))
    if not scorers and "abilities" not in flags:
        raise UsageError("Nothing to score is asked for.", "Name scorers with --scorer, or --reward, or --ability.")
    return extended(before, scorers, flags)


def _one(before: RunConfig, config: RunConfig, output: Output, stopped: Callable[[], bool]) -> int:
    from lifealign_bench.runs.rescoring import add_scores

    try:
        add_scores(before, config, choose_progress(output.messages, quiet=output.quiet), stopped)
    except (Interrupted, KeyboardInterrupt) as error:
        return output.say_stopped(error)
    except Exception as error:  # noqa: BLE001 - the other runs go on; the error is shown and decides the exit code
        return show_failure(output.messages, error)
    return 0
