"""``lifealign-bench reproduce``: the words of the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lifealign_bench.cli import options
from lifealign_bench.cli.output import messages_console, results_console
from lifealign_bench.errors import UsageError
from lifealign_bench.experiments.fields import parse_value
from lifealign_bench.util.process import is_silent

__all__ = ["add_reproduce_command"]


def add_reproduce_command(app: typer.Typer) -> None:
    """Make the command known to the application."""
    app.command(
        epilog="Examples:\n\nlifealign-bench reproduce results/mini/smollm2-135m/dpo/seed-0.json\n\n"
        "lifealign-bench reproduce results/mini/smollm2-135m/dpo/seed-0.json --dry-run\n\n"
        "lifealign-bench reproduce runs/mini/smollm2-135m/mine/seed-0 --method-file mine.py"
    )(reproduce)


def reproduce(
    record: Annotated[
        Path, typer.Argument(help="A published record, or the folder of a finished run.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", help="The run is written below this folder.")] = Path("runs/reproduced"),
    method_file: Annotated[
        Path | None,
        options.text_option(
            "--method-file", help="The file of a method that is not part of this package.", panel="What", metavar="PATH"
        ),
    ] = None,
    task_card: Annotated[
        list[Path] | None,
        options.text_option(
            "--task-card",
            help="The card of a task that is not registered here; repeatable.",
            panel="What",
            metavar="PATH",
        ),
    ] = None,
    data_dir: options.DataDir = None,
    judge_url: options.JudgeUrl = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    threads: Annotated[
        int | None,
        typer.Option(help="Threads on a CPU (default: as many as the record says)", rich_help_panel="Machine", min=1),
    ] = None,
    trust_remote_code: options.TrustRemoteCode = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show what differs and what would be run.", rich_help_panel="Output"),
    ] = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Do the run of a record again and say whether its numbers come out.

    First it shows what is not as it was (versions, commit, processor, threads), and refuses other data before anything
    is trained. Stopped, the same command goes on; called again when it is finished, it only compares.

    [bold]Tolerance.[/] float32 on a CPU, with the same versions, commit, threads and kind of processor, comes out to
    the bit, and must. Otherwise (bfloat16, other threads, another processor or version) the last bits differ and
    training amplifies them: each metric may then lie 2 of the record's standard errors over test pairs apart, and each
    cell of a score matrix as many as keep the risk over all cells where 2 put it for one (Bonferroni). Shares count as
    if four more pairs disagreed evenly, since where all agree the plain error is 0.

    Exit code: 0 to the bit or within the tolerance, 1 not reproduced, 2 it could not be tried, 130 stopped.
    """
    from lifealign_bench.cli.output import Output
    from lifealign_bench.cli.reproduction import reproduce as do
    from lifealign_bench.config import RunConfig
    from lifealign_bench.experiments.reproduction.recipe import ReproductionRequest

    if data_dir is not None and not data_dir.expanduser().is_dir():
        raise UsageError(f"There is no data folder {data_dir}.", "Give --data-dir a folder that exists.")
    for key, text in (("device", device), ("dtype", dtype)):
        if text is not None:
            parse_value(RunConfig, key, text)
    wish = ReproductionRequest(
        out=out.expanduser(),
        data_dir=data_dir.expanduser() if data_dir is not None else None,
        method_file=method_file,
        task_cards=tuple(task_card or ()),
        judge_url=judge_url,
        device=device,
        dtype=dtype,
        threads=threads,
        trust_remote_code=bool(trust_remote_code),
    )
    output = Output(results_console(), messages_console(), quiet or is_silent(), as_json)
    raise typer.Exit(do(record.expanduser(), wish, output, dry_run))
