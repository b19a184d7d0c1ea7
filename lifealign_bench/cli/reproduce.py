"""``lifealign-bench reproduce``: what differs from a record, its run once more, and the verdict."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from lifealign_bench.cli import options
from lifealign_bench.cli.output import (
    INTERRUPTED,
    Output,
    print_json,
    show_continuation,
)
from lifealign_bench.config import RunConfig
from lifealign_bench.data.tasks import load_data
from lifealign_bench.errors import Interrupted, UsageError
from lifealign_bench.experiments.fields import parse_value
from lifealign_bench.experiments.reproduction.match import (
    STATEMENT,
    Circumstances,
    Match,
    circumstance_differences,
    here,
    match_runs,
    of_record,
    why_not_to_the_bit,
)
from lifealign_bench.experiments.reproduction.recipe import (
    Recipe,
    RecordSource,
    ReproductionRequest,
    make_recipe,
    open_source,
    require_same_data,
)
from lifealign_bench.experiments.reproduction.seedspread import published_seeds
from lifealign_bench.experiments.sweep import standing
from lifealign_bench.models.wheel import fetch_for
from lifealign_bench.reporting.live import choose_progress
from lifealign_bench.reporting.tables.experiments import (
    agreeing_share,
    agreement_grid,
    beyond_seeds_text,
    difference_grid,
    match_json,
    metric_grid,
    score_grid,
)
from lifealign_bench.reporting.tables.files import write_tables
from lifealign_bench.reporting.tables.grid import show_grid
from lifealign_bench.results.folder import RunFolder
from lifealign_bench.results.record import Record
from lifealign_bench.results.view import RunView
from lifealign_bench.runs.directory import RunDirectory, fixed_parts
from lifealign_bench.util.process import is_silent, quieten_libraries
from lifealign_bench.util.progress import Progress
from lifealign_bench.util.text import clean

app = typer.Typer()

NOT_REPRODUCED = 1


@app.command(
    epilog="Examples:\n\nlifealign-bench reproduce results/forms/smollm2-135m/dpo/seed-0.json\n\n"
    "lifealign-bench reproduce results/forms/smollm2-135m/dpo/seed-0.json --dry-run\n\n"
    "lifealign-bench reproduce runs/mini/smollm2-135m/mine/seed-0 --method-file mine.py"
)
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
    generation: options.Generation = None,
    generation_url: options.GenerationUrl = None,
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
    """Repeat the run of a record and say whether it gives the same numbers.

    It first shows what has changed since (versions, commit, processor, threads), and refuses other data before anything
    is trained. If it is stopped, the same command continues; once it is finished, the command only compares.

    [bold]Tolerance.[/] float32 on a CPU, with the same versions, commit, threads and kind of processor, comes out to
    the bit, and must. Otherwise (bfloat16, other threads, another processor or version) the last bits differ and
    training amplifies them: each metric may then lie 2 of the record's standard errors over test pairs apart, and each
    cell of a score matrix as many as keep the risk over all cells where 2 put it for one (Bonferroni). Shares count as
    if four more pairs disagreed evenly, since where all agree the plain error is 0.

    Exit code: 0 to the bit or within the tolerance, 1 not reproduced, 2 it could not be tried, 130 stopped.
    """
    _check_words(data_dir, device=device, dtype=dtype, generation_engine=generation)
    wish = ReproductionRequest(
        out=out.expanduser(),
        data_dir=data_dir.expanduser() if data_dir is not None else None,
        method_file=method_file,
        task_cards=tuple(task_card or ()),
        judge_url=judge_url,
        generation=generation,
        generation_url=generation_url,
        device=device,
        dtype=dtype,
        threads=threads,
        trust_remote_code=bool(trust_remote_code),
    )
    output = Output.of(quiet, as_json)
    raise typer.Exit(execute(record.expanduser(), wish, output, dry_run))


def _check_words(data_dir: Path | None, **said: str | None) -> None:
    """Refuse what can be seen to be wrong before the record is read.

    Raises:
        UsageError: a folder that is not there; a setting that has no such value.
    """
    if data_dir is not None and not data_dir.expanduser().is_dir():
        raise UsageError(f"There is no data folder {data_dir}.", "Give --data-dir a folder that exists.")
    for key, text in said.items():
        if text is not None:
            parse_value(RunConfig, key, text)


@dataclass(frozen=True)
class _Plan:
    """What will be done: the source, how, and what is known of here before it is."""

    source: RecordSource
    recipe: Recipe
    config: RunConfig
    now: Circumstances

    @property
    def there(self) -> Circumstances:
        return of_record(self.source.record)


def execute(path: Path, wish: ReproductionRequest, output: Output, dry_run: bool) -> int:
    """Do the run of a record again and compare.

    Returns:
        The exit code: 0 for a reproduction, 1 where it is none, 130 where it was stopped.

    Raises:
        BenchError: the record is broken or contradicts itself, its data is not available, or it cannot be run here.
    """
    quieten_libraries()
    source = open_source(path)
    recipe = make_recipe(source, wish)
    fetch_for([recipe.config.model], output.say)
    folder = source.view.directory if source.view.published is None else None
    if folder is not None and folder.resolve() == recipe.config.run_directory().resolve():
        raise UsageError(f"The run in {path} would be compared with itself.", "Give another --out.")
    # What is done already is only compared, which takes no torch.
    record = None if dry_run else _done(source, recipe, output)
    plan = _plan(source, recipe) if record is None else _Plan(source, recipe, _as_begun(recipe), of_record(record))
    if not output.as_json:
        _announce(plan, output)
    if dry_run:
        _show_plan(plan, output)
        return 0
    record = record or _run(plan.config, output)
    if record is None:
        show_continuation(output)
        return INTERRUPTED
    return _conclude(plan, record, output)


def _as_begun(recipe: Recipe) -> RunConfig:
    """The run with the device and type that it began with, where they are left open."""
    config = recipe.config
    began = RunFolder(config.run_directory()).began_with()
    left_open = {key: began.get(key, "auto") for key in ("device", "dtype") if getattr(config, key) == "auto"}
    return config.model_copy(update=left_open)


def _done(source: RecordSource, recipe: Recipe, output: Output) -> Record | None:
    """The record of the run where it was done before, and its files give what it says.

    Raises:
        BenchError: the data are not the record's; the folder is in use, or holds another run.
    """
    if standing(recipe.config)[0] != "finished":
        return None
    config = _as_begun(recipe)
    data = load_data(config, Progress())
    require_same_data(source.record, data)
    own = Path(config.method) if config.method.endswith(".py") else None
    digest = hashlib.sha256(own.read_bytes()).hexdigest() if own is not None else ""
    with RunDirectory.open(config, fixed_parts(config, digest, data)) as directory:
        record = directory.finished(output.say)
    if record is not None:
        output.say(f"This run is finished already: {config.run_directory()}.")
    return record


def _plan(source: RecordSource, recipe: Recipe) -> _Plan:
    from lifealign_bench.runs.setup import make_method, method_source, resolved

    config = resolved(recipe.config)
    method = make_method(config)
    require_same_data(source.record, load_data(config, Progress()))
    return _Plan(source, recipe, config, here(config, method_source(method)))


def _announce(plan: _Plan, output: Output) -> None:
    """What differs, and what is to be expected, before hours are spent."""
    if output.quiet:
        return
    config, record = plan.config, plan.source.record
    output.say(
        f"Reproducing {record.method.name} on {config.stream}, {config.model}, seed {config.seed}, in "
        f"{config.run_directory()}",
        "bold",
    )
    show_grid(output.messages, difference_grid(circumstance_differences(plan.there, plan.now)))
    for note in _notes(plan):
        output.say(f"note: {note}")
    output.say(f"Tolerance: {STATEMENT}")
    output.say(_expectation(why_not_to_the_bit(plan.there, plan.now, plan.recipe.left_out)))


def _notes(plan: _Plan) -> list[str]:
    left_out = [f"{name} is left out: {reason}" for name, reason in plan.recipe.left_out.items()]
    return [*plan.source.notes, *plan.recipe.notes, *left_out]


def _expectation(reasons: list[str]) -> str:
    if not reasons:
        return "All that moves the last bits is the same: every number must be the same to the bit."
    return f"The last bits may differ: {'; '.join(reasons)}."


def _show_plan(plan: _Plan, output: Output) -> None:
    reasons = why_not_to_the_bit(plan.there, plan.now, plan.recipe.left_out)
    if output.as_json:
        content = _head(plan, circumstance_differences(plan.there, plan.now), reasons)
        print_json(output, {**content, "config": plan.config.identity()})
        return
    stages = len(plan.source.view.trained)
    output.results.print(
        Text(clean(f"Would train {stages} stages and write to {plan.config.run_directory()}; nothing was done.")),
        soft_wrap=True,
    )


def _head(plan: _Plan, found: Mapping[str, tuple[str, str]], reasons: list[str]) -> dict[str, Any]:
    return {
        "record": str(plan.source.path),
        "directory": str(plan.config.run_directory()),
        "differs": {name: {"record": there, "here": now} for name, (there, now) in found.items()},
        "to_the_bit_expected": not reasons,
        "why_not": reasons,
        "left_out": dict(plan.recipe.left_out),
        "notes": [*plan.source.notes, *plan.recipe.notes],
        "tolerance": STATEMENT,
    }


def _run(config: RunConfig, output: Output) -> Record | None:
    """The ordinary run; None where the user stopped it."""
    from lifealign_bench.runs.run import run

    with output.stoppable() as stopped:
        try:
            record = run(config, choose_progress(output.messages, quiet=output.quiet), stopped)
            if not is_silent():
                write_tables(RunView(record, config.run_directory()), config.run_directory())
        except (Interrupted, KeyboardInterrupt) as error:
            output.say_stopped(error)
            return None
    return record


def _conclude(plan: _Plan, record: Record, output: Output) -> int:
    """The comparison. What was done may have been done earlier, with other versions: its own record says with which."""
    now = of_record(record)
    reasons = why_not_to_the_bit(plan.there, now, plan.recipe.left_out)
    mine = RunView(record, plan.config.run_directory())
    seeds, lacking = published_seeds(plan.source.view)
    match = match_runs(plan.source.view, mine, exact=not reasons, left_out=plan.recipe.left_out, seeds=seeds)
    for note in lacking:
        output.say(f"note: {note}")
    found = circumstance_differences(plan.there, now)
    if output.as_json:
        content = {**_head(plan, found, reasons), "verdict": match.verdict, **match_json(match)}
        print_json(output, {**content, "reproduced": match.verdict != "not reproduced"})
    else:
        _say_verdict(match, output)
        show_grid(output.results, difference_grid(found))
        for grid in (score_grid(match), metric_grid(match), agreement_grid(match)):
            if grid is not None:
                show_grid(output.results, grid)
        _say_terms(match, reasons, output)
    return NOT_REPRODUCED if match.verdict == "not reproduced" else 0


def _say_verdict(match: Match, output: Output) -> None:
    """The first line of all."""
    why = ""
    if match.verdict == "not reproduced":
        outside = match.outside
        first = ", ".join(f"{n.score} {n.name} ({n.there:.4g} there, {n.here:.4g} here)" for n in outside[:3])
        more = f" and {len(outside) - 3} more" if len(outside) > 3 else ""
        why = f": {first}{more}" if outside else ": no number of the record could be judged"
        if match.exact and not outside:
            why = ": the numbers agree and the scores of the test pairs do not"
    style = "bold red" if match.verdict == "not reproduced" else "bold green"
    output.results.print(Text(clean(f"Verdict: {match.verdict}{why}."), style=style), soft_wrap=True)
    output.results.print()


def _say_terms(match: Match, reasons: list[str], output: Output) -> None:
    """What the verdict was found by."""
    lines = [f"Tolerance: {STATEMENT}", _expectation(reasons)]
    if match.agreement:
        lines.append(f"{agreeing_share(match):.1f} % of the test pairs, over all stages, are on the same side.")
    if said := beyond_seeds_text(match):
        lines.append(said)
    if match.absent:
        lines.append(f"Not compared: {', '.join(match.absent)}.")
    for line in lines:
        output.results.print(Text(clean(line), style="dim"), soft_wrap=True)
