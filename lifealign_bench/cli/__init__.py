"""The command line: typer and rich only. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lifealign_bench import __version__
from lifealign_bench.cli import options
from lifealign_bench.cli.authors import check_app, new_app
from lifealign_bench.cli.data import data_app
from lifealign_bench.cli.output import echo_json, messages_console, results_console, show_error, show_unexpected
from lifealign_bench.cli.reproduce import add_reproduce_command
from lifealign_bench.cli.results import add_results_commands
from lifealign_bench.errors import UsageError, as_bench_error
from lifealign_bench.util.process import is_silent, quieten_libraries
from lifealign_bench.util.redaction import redact, redacted_streams

__all__ = ["app", "main"]

_EPILOG = """Examples:

lifealign-bench run --method lifealign --stream mini

lifealign-bench run --method all --seed 0,1,2

lifealign-bench show lifealign"""

app = typer.Typer(
    name="lifealign-bench",
    help="A benchmark for continual alignment: train a method through a stream of preference tasks and score every "
    "task after every stage.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
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
            known = as_bench_error(error)
            if known is None:
                show_unexpected(messages, error)
                sys.exit(1)
            show_error(messages, known)
            sys.exit(known.exit_code)


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


@app.command(
    epilog="Examples:\n\n"
    "lifealign-bench run --method lifealign --stream mini\n\n"
    "lifealign-bench run --method lifealign,dpo,ewc --seed 0,1,2 --set focal_gamma=0 --set epochs=2\n\n"
    "lifealign-bench run --stream TruthfulQA,safe-rlhf --data-dir data --limit 48\n\n"
    "lifealign-bench run --method path/to/mine.py --model fake --stream fake"
)
def run(
    method: options.Methods = None,
    stream: options.Streams = None,
    model: options.Model = None,
    seed: options.Seeds = None,
    config: options.ConfigFile = None,
    preset: options.Preset = None,
    assignment: options.Assignments = None,
    limit: options.Limit = None,
    train_limit: options.TrainLimit = None,
    test_limit: options.TestLimit = None,
    validation: options.Validation = None,
    data_dir: options.DataDir = None,
    scorer: options.Scorers = None,
    reward: options.Reward = None,
    judge: options.Judge = None,
    judge_url: options.JudgeUrl = None,
    judge_budget: options.JudgeBudget = None,
    opponent: options.Opponents = None,
    ability: options.Abilities = None,
    ability_stages: options.AbilityStages = None,
    evaluate: options.Evaluate = None,
    tuned: options.Tuned = None,
    sft: options.Sft = None,
    out: options.Out = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    threads: options.Threads = None,
    trust_remote_code: options.TrustRemoteCode = None,
    dry_run: options.DryRun = False,
    gpu: options.GpuName = None,
    dump_config: options.DumpConfig = None,
    report_to: options.ReportTo = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Train methods through streams and score every task after every stage.

    The same command continues a run that was stopped (Ctrl-C, a crash). A finished run is not trained again.
    Each run writes to [bold]<out>/<stream>/<model>/<method>/seed-<n>[/].
    """
    chosen = dict(locals())  # the options, before there is any other name
    from lifealign_bench.cli.output import Output
    from lifealign_bench.cli.run import execute, show_config
    from lifealign_bench.experiments.request import Words, build_configs

    output = Output(results_console(), messages_console(), quiet or is_silent(), as_json)
    words = Words.of(chosen)
    choice = build_configs(words)
    if dump_config is not None:
        raise typer.Exit(show_config(choice, output, dump_config))
    if dry_run:
        from lifealign_bench.cli.run import show_plans

        raise typer.Exit(show_plans(choice, output, gpu))
    if gpu is not None:
        raise UsageError("--gpu is for --dry-run alone.", "Choose a GPU with CUDA_VISIBLE_DEVICES.")
    raise typer.Exit(execute(choice, output))


@app.command(
    epilog="Examples:\n\n"
    "lifealign-bench sweep --method all --stream mini --seed 0,1,2 --jobs 2\n\n"
    "lifealign-bench sweep --method dpo,lifealign --stream mini --orders 5\n\n"
    "lifealign-bench sweep --method all --stream order1 --orders registered --preset paper --engine ray "
    "--out /shared/runs"
)
def sweep(
    method: options.Methods = None,
    stream: options.Streams = None,
    model: options.Model = None,
    seed: options.Seeds = None,
    orders: options.Orders = None,
    order_seed: options.OrderSeed = 0,
    jobs: options.Jobs = None,
    engine: options.EngineName = "local",
    address: options.Address = None,
    gpus_per_run: options.GpusPerRun = None,
    memory_per_run: options.MemoryPerRun = None,
    retries: options.Retries = None,
    config: options.ConfigFile = None,
    preset: options.Preset = None,
    assignment: options.Assignments = None,
    limit: options.Limit = None,
    train_limit: options.TrainLimit = None,
    test_limit: options.TestLimit = None,
    validation: options.Validation = None,
    data_dir: options.DataDir = None,
    scorer: options.Scorers = None,
    reward: options.Reward = None,
    judge: options.Judge = None,
    judge_url: options.JudgeUrl = None,
    judge_budget: options.JudgeBudget = None,
    opponent: options.Opponents = None,
    ability: options.Abilities = None,
    ability_stages: options.AbilityStages = None,
    evaluate: options.Evaluate = None,
    tuned: options.Tuned = None,
    sft: options.Sft = None,
    out: options.Out = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    threads: options.Threads = None,
    trust_remote_code: options.TrustRemoteCode = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the runs and the state of each.", rich_help_panel="Output")
    ] = False,
    report_to: options.ReportTo = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Do many runs, several at a time, on this machine or on a cluster.

    Finished runs are skipped and broken ones continued, so the same command goes on where a sweep was stopped. A run
    that fails does not stop the others. With several orders of the same tasks it also shows how much the order matters.
    """
    chosen = dict(locals())  # the options, before there is any other name
    from lifealign_bench.cli.output import Output
    from lifealign_bench.cli.sweep import SweepWords, execute, show_states
    from lifealign_bench.experiments.request import Words

    output = Output(results_console(), messages_console(), quiet or is_silent(), as_json)
    words = Words.of(chosen)
    wanted = SweepWords(jobs, engine, address, gpus_per_run, memory_per_run, retries, orders, order_seed)
    raise typer.Exit(show_states(words, wanted, output) if dry_run else execute(words, wanted, output))


@app.command(
    epilog="Examples:\n\n"
    "lifealign-bench tune --method all --stream mini --jobs 2\n\n"
    "lifealign-bench tune --show results/tuning/mini/smollm2-135m.json\n\n"
    "lifealign-bench sweep --method all --seed 0,1,2 --tuned results/tuning/mini/smollm2-135m.json"
)
def tune(
    method: options.Methods = None,
    stream: options.Streams = None,
    model: options.Model = None,
    seed: options.Seeds = None,
    factors: Annotated[
        str,
        typer.Option(help="The grid: factors of each method's rate on this stream.", rich_help_panel="What"),
    ] = "0.5,1,2",
    validation: options.Validation = None,
    results: Annotated[
        Path, typer.Option(help="The table goes below this folder, by stream and model.", rich_help_panel="Output")
    ] = Path("results/tuning"),
    show: Annotated[
        Path | None,
        typer.Option(help="Show a table that is there; nothing is trained.", rich_help_panel="Output"),
    ] = None,
    jobs: options.Jobs = None,
    engine: options.EngineName = "local",
    address: options.Address = None,
    gpus_per_run: options.GpusPerRun = None,
    memory_per_run: options.MemoryPerRun = None,
    retries: options.Retries = None,
    config: options.ConfigFile = None,
    preset: options.Preset = None,
    assignment: options.Assignments = None,
    limit: options.Limit = None,
    train_limit: options.TrainLimit = None,
    data_dir: options.DataDir = None,
    sft: options.Sft = None,
    out: options.Out = Path("runs/tuning"),
    device: options.Device = None,
    dtype: options.Dtype = None,
    threads: options.Threads = None,
    trust_remote_code: options.TrustRemoteCode = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the runs and the state of each.", rich_help_panel="Output")
    ] = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Choose every method's learning rate by the same grid, on pairs held out of training.

    Each method is trained through the stream with every rate of the grid and scored after the last stage on validation
    pairs; test pairs are not looked at. The table says what every rate reached, and [bold]--tuned[/] of run and sweep
    takes each method's best. The same command goes on where it was stopped, and adds methods to a table.
    """
    chosen = dict(locals())  # the options, before there is any other name
    from lifealign_bench.cli.output import Output
    from lifealign_bench.cli.sweep import SweepWords
    from lifealign_bench.cli.tune import execute, show_table
    from lifealign_bench.experiments.request import Words
    from lifealign_bench.experiments.tuning import parse_factors

    output = Output(results_console(), messages_console(), quiet or is_silent(), as_json)
    if show is not None:
        raise typer.Exit(show_table(show, output))
    wanted = SweepWords(jobs, engine, address, gpus_per_run, memory_per_run, retries)
    raise typer.Exit(execute(Words.of(chosen), wanted, parse_factors(factors), results, output, dry_run))


@app.command(
    epilog="Examples:\n\n"
    "lifealign-bench score runs/mini/smollm2-135m/lifealign/seed-0 --scorer overlap,distance\n\n"
    "lifealign-bench score runs/mini/smollm2-135m/*/seed-* --reward trained\n\n"
    "lifealign-bench score runs/mini/smollm2-135m/dpo/seed-0 --scorer win --judge check --opponent previous"
)
def score(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs.", show_default=False)],
    scorer: Annotated[
        list[str] | None, options.text_option("--scorer", help="Scorers to add: names or all.", panel="Scores")
    ] = None,
    reward: options.Reward = None,
    judge: options.Judge = None,
    judge_url: options.JudgeUrl = None,
    judge_budget: options.JudgeBudget = None,
    opponent: options.Opponents = None,
    ability: options.Abilities = None,
    ability_stages: options.AbilityStages = None,
    assignment: options.Assignments = None,
    data_dir: options.DataDir = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Add scores to finished runs, from their adapters and responses; nothing is trained.

    The numbers are those of a run that had the same scores asked for at the start. Stopped, the same command goes on.
    """
    chosen = dict(locals())  # the options, before there is any other name
    from lifealign_bench.cli.output import Output
    from lifealign_bench.cli.score import execute
    from lifealign_bench.experiments.request import Words

    output = Output(results_console(), messages_console(), quiet or is_silent(), as_json)
    raise typer.Exit(execute(runs, Words.of(chosen), output))


@app.command()
def orders(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, or folders above them, or records.")],
    as_json: options.AsJson = False,
) -> None:
    """Show how much the order of the tasks moves each metric, over runs that are finished."""
    from lifealign_bench.cli.output import Output
    from lifealign_bench.cli.sweep import show_orders

    raise typer.Exit(show_orders(runs, Output(results_console(), messages_console(), as_json=as_json)))


@app.command("list")
def list_names(
    what: Annotated[
        str | None, typer.Argument(help="methods, streams, tasks, scorers, metrics or presets; nothing: all.")
    ] = None,
    data_dir: options.DataDir = None,
) -> None:
    """List what there is."""
    from lifealign_bench.cli.catalog import show_lists

    show_lists(results_console(), what, data_dir)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A method (or its file), a stream or a task (or their cards), a preset.")],
    data_dir: options.DataDir = None,
) -> None:
    """Show one method, stream, task or preset: what it is, its settings, some of its data."""
    from lifealign_bench.cli.catalog import show_name

    show_name(results_console(), name, data_dir)


@app.command()
def doctor(data_dir: options.DataDir = None) -> None:
    """Check this machine: versions, device, caches, disk, data."""
    from lifealign_bench.cli.doctor import examine

    examine(results_console(), data_dir)


@app.command()
def summary(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, or records.")],
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON document.")] = False,
) -> None:
    """Show the tables of finished runs again; of several, their comparison."""
    from lifealign_bench.cli.doubts import say_doubts
    from lifealign_bench.reporting.tables.files import run_summary
    from lifealign_bench.reporting.tables.run import render_comparison, render_run
    from lifealign_bench.results.view import RunView

    console = results_console()
    views = [RunView.open(path) for path in runs]
    say_doubts(views)
    if as_json:
        content = [{"directory": str(path), **run_summary(view)} for path, view in zip(runs, views, strict=True)]
        echo_json(content)
    elif len(views) == 1:
        render_run(console, views[0])
    else:
        render_comparison(console, views)


@app.command()
def inspect(
    run: Annotated[Path, typer.Argument(help="The folder of a run, or a record.")],
    task: Annotated[
        str | None, options.text_option("--task", help="Show this task's test pairs one by one.", panel="Options")
    ] = None,
    stage: Annotated[
        list[int] | None, typer.Option("--stage", help="Only after these stages; repeatable.", show_default=False)
    ] = None,
    pair: Annotated[
        list[str] | None, typer.Option("--pair", help="Only these pairs, by id or number.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(help="Show so many pairs; 0: all.", min=0)] = 5,
    order: Annotated[str, typer.Option(help="moved: those that lost most first; file: as they stand.")] = "moved",
    data_dir: options.DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --task: as one JSON document.")] = False,
) -> None:
    """Show what a mean hides: pairs that changed sides, and pairs and responses through the stages."""
    from lifealign_bench.cli.inspect import inspect_run

    inspect_run(
        results_console(),
        run,
        task=task,
        stages=tuple(stage or ()),
        pairs=tuple(pair or ()),
        limit=limit,
        order=order,
        data_dir=data_dir,
        as_json=as_json,
    )


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, records, or folders above them.")],
    out: Annotated[Path, typer.Option("--out", help="The page to write.")] = Path("report.html"),
    figures: Annotated[
        Path | None,
        typer.Option("--figures", help="Also write every figure as PDF and PNG into this folder.", show_default=False),
    ] = None,
    title: Annotated[str | None, typer.Option("--title", help="Title of the page.", show_default=False)] = None,
    data_dir: options.DataDir = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that no report wrote.")] = False,
    show_it: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = False,
) -> None:
    """Write one HTML page about a run, a comparison of several, or a whole folder of results.

    The page needs no network and nothing beside itself.
    """
    from lifealign_bench.cli.report import write_report
    from lifealign_bench.reporting.page.report import ReportRequest

    wish = ReportRequest(out.expanduser(), figures and figures.expanduser(), title, data_dir, force, show_it)
    write_report(results_console(), runs, wish)


add_results_commands(app)
add_reproduce_command(app)
app.add_typer(data_app, name="data")

cache_app = typer.Typer(help="Show or empty the cache of what base models say.", no_args_is_help=True)
app.add_typer(cache_app, name="cache")


@cache_app.command("info")
def cache_info(as_json: Annotated[bool, typer.Option("--json", help="As one JSON document.")] = False) -> None:
    """Show what the cache holds, where, and its limit."""
    import json

    from lifealign_bench.cli.cache import cache_facts, show_cache

    if as_json:
        typer.echo(redact(json.dumps(cache_facts(), indent=2)))
    else:
        show_cache(results_console())


@cache_app.command("clear")
def cache_clear(
    names: Annotated[list[str] | None, typer.Argument(help="Folders, as cache info names them; nothing: all.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete the cache, or some of its folders; runs compute again what they need."""
    from lifealign_bench.cli.cache import empty_cache

    empty_cache(results_console(), tuple(names or ()), yes)


app.add_typer(new_app, name="new")
app.add_typer(check_app, name="check")
