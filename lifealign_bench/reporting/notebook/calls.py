"""The work of the command line as functions: the same names, results for tables, errors for exit codes."""

from __future__ import annotations

import gc
import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeAlias, TypeVar

from lifealign_bench.config import RunConfig, option_name, setting_at
from lifealign_bench.errors import BenchError, Interrupted, UsageError, as_bench_error
from lifealign_bench.experiments.assignments import setting_fields
from lifealign_bench.experiments.engines import Engine
from lifealign_bench.experiments.engines.words import SweepWords, check_words, make_engine
from lifealign_bench.experiments.request import Words, build_configs
from lifealign_bench.experiments.sharedclock import with_one_clock
from lifealign_bench.experiments.sweep import Sweep, expand_orders, work
from lifealign_bench.models.wheel import fetch_for
from lifealign_bench.reporting.figures.drawn import write_figures
from lifealign_bench.reporting.live import SweepScreen
from lifealign_bench.reporting.notebook.boards import Comparison, Leaderboard
from lifealign_bench.reporting.notebook.display import board_here, progress_here
from lifealign_bench.reporting.notebook.runs import Run, Runs
from lifealign_bench.reporting.page.report import ReportRequest, find_runs, write_page
from lifealign_bench.reporting.tables.files import save_comparisons, write_tables
from lifealign_bench.results.comparison import compare_runs, run_labels, shared_score
from lifealign_bench.results.leaderboard import Apart, make_boards, of_groups
from lifealign_bench.results.runcheck import doubts_of
from lifealign_bench.results.sameness import settings_rows
from lifealign_bench.results.view import RunView
from lifealign_bench.util.process import is_silent, quieten_libraries, stop_on_interrupt
from lifealign_bench.util.progress import Progress
from lifealign_bench.util.registry import unknown_name

P = ParamSpec("P")
T = TypeVar("T")
AnyPath: TypeAlias = str | Path
OneOrMore: TypeAlias = str | int | Path | Iterable[str | int | Path]
SettingValue: TypeAlias = OneOrMore | float | bool | None
RunsOrPlaces: TypeAlias = Run | Runs | AnyPath | Sequence[Run | AnyPath]


# What the fields of Words are called as options, where that is something else.
def _known_errors(function: Callable[P, T]) -> Callable[P, T]:
    """What the user or the machine causes comes as a BenchError, whatever it was."""

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            known = as_bench_error(error)
            if known is None or known is error:
                raise
            raise known from error

    return called


@_known_errors
def run(
    *,
    method: OneOrMore | None = None,
    stream: OneOrMore | None = None,
    model: str | None = None,
    seed: OneOrMore | None = None,
    preset: str | None = None,
    set: Mapping[str, Any] | None = None,
    config: AnyPath | None = None,
    progress: bool = True,
    **settings: SettingValue,
) -> Runs:
    """Train methods through streams and score every task after every stage, in this process.

    A run that was stopped or failed is continued by the same call; a finished one is read and not trained again. Each
    writes to ``<out>/<stream>/<model>/<method>/seed-<n>``.

    Args:
        method: names, or the path of a method's file; several make a run each, as for ``stream`` and ``seed``.
        stream: names, a card's path, or tasks ``t1,t2``.
        model: the base model: a name, a folder, or a model of the hub.
        seed: whole numbers.
        preset: ``small`` or ``paper``.
        set: settings that are no options of their own: ``{"epochs": 2}`` is ``--set epochs=2``.
        config: a YAML file that says all this; what is said beside it wins.
        progress: show how far it is.
        settings: every other option of ``lifealign-bench run`` about the run itself, by its name with underscores, such
            as ``limit``, ``scorer``, ``reward``, ``judge``, ``data_dir``, ``out``, ``device``. None: nothing is said.

    Raises:
        BenchError: something that the user can mend, with what to do. Of several runs the others are done all the same.
        KeyboardInterrupt: it was interrupted. The first interrupt lets it reach its next checkpoint, the second stops
            at once; the same call continues it either way.
    """
    words = _words(
        settings, method=method, stream=stream, model=model, seed=seed, preset=preset, set=set, config=config
    )
    choice = build_configs(words)
    fetch_for([wanted.model for wanted in choice.configs], progress_here(quiet=not progress).notice)
    _quieten_libraries()
    from lifealign_bench.runs.setup import check_configs

    check_configs(choice.configs)
    notices = list(choice.notices)
    done: dict[Path, RunView] = {}
    failed: list[tuple[str, BaseException]] = []
    for wanted in with_one_clock(choice.configs):
        shown = progress_here(quiet=not progress)
        while notices:
            shown.notice(notices.pop(0))
        try:
            done[wanted.run_directory()] = _one(wanted, shown)
        except Exception as error:  # noqa: BLE001 - the other runs go on; it is raised at the end
            failed.append((_title(wanted), error))
    if not is_silent():
        save_comparisons(done, lambda text: None)
    _raise_failures(failed, len(choice.configs))
    return Runs(map(Run, done.values()))


_WAIT = "Finishing this step; interrupt again to stop at once."


def _one(config: RunConfig, progress: Progress) -> RunView:
    from lifealign_bench.runs.run import run as do_run

    try:
        with stop_on_interrupt(lambda: progress.notice(_WAIT)) as stopped:
            record = do_run(config, progress, stopped)
    except Interrupted as error:
        raise KeyboardInterrupt(f"{error.message} The same call continues it.") from error
    finally:
        gc.unfreeze()  # a run spares the collector what there is, and here that is the user's as well
    view = RunView(record, config.run_directory())
    if not is_silent():
        write_tables(view, config.run_directory())
    return view


def _quieten_libraries() -> None:
    """As on the command line, but that this process is not ours alone: its other bars stay."""
    said = "TQDM_DISABLE" in os.environ
    quieten_libraries()
    if not said:
        os.environ.pop("TQDM_DISABLE", None)


@_known_errors
def sweep(
    *,
    method: OneOrMore | None = None,
    stream: OneOrMore | None = None,
    model: str | None = None,
    seed: OneOrMore | None = None,
    preset: str | None = None,
    set: Mapping[str, Any] | None = None,
    config: AnyPath | None = None,
    orders: int | str | None = None,
    order_seed: int = 0,
    jobs: int | None = None,
    engine: str = "local",
    address: str | None = None,
    gpus_per_run: int | None = None,
    memory_per_run: str | None = None,
    retries: int | None = None,
    devices: str | None = None,
    progress: bool = True,
    **settings: SettingValue,
) -> Runs:
    """Do many runs in processes of their own, several at a time, on this machine or on a Ray cluster.

    Finished runs are skipped and broken ones continued, so the same call goes on where one was stopped.

    Args:
        orders: each stream in so many random orders, its own first; ``balanced``: in a balanced set of orders;
            ``latin``: in a Latin square of them; ``registered``: in all registered ones.
        order_seed: fixes the random orders.
        jobs: runs at a time on this machine.
        engine: ``local`` or ``ray``.
        address: of the Ray cluster.
        gpus_per_run: GPUs of a run.
        memory_per_run: main memory of a run, like ``16G``.
        retries: how often a run whose process died is begun again.
        devices: GPUs of this machine, one run each: ``cuda:0,cuda:1``; default: all.
        settings: all others are those of :func:`run`.

    Raises:
        BenchError: see :func:`run`; a run that fails does not stop the others.
        KeyboardInterrupt: it was interrupted, see :func:`run`.
    """
    wanted = SweepWords(
        jobs,
        engine,
        address,
        gpus_per_run,
        memory_per_run,
        retries,
        None if orders is None else str(orders),
        order_seed,
        devices,
    )
    check_words(wanted)
    words = _words(
        settings, method=method, stream=stream, model=model, seed=seed, preset=preset, set=set, config=config
    )
    choice = build_configs(words, lambda streams: expand_orders(streams, wanted.orders, wanted.order_seed))
    fetch_for([wanted.model for wanted in choice.configs], progress_here(quiet=not progress).notice)
    notices = list(choice.notices)
    worker, configs = make_engine(list(choice.configs), wanted, notices.append)
    plan = Sweep.of(configs)
    _go_through(plan, worker, board_here(plan, quiet=not progress), notices)
    finished = [run.config.run_directory() for run in plan.of_state("complete", "finished before")]
    views = {place: RunView.open(place) for place in finished}
    save_comparisons(views, lambda text: None)
    ends = [(run.title, run.ended) for run in plan.of_state("failed")]
    errors = [(title, BenchError(end.message, end.remedy)) for title, end in ends if end is not None]
    _raise_failures(errors, len(plan.runs))
    return Runs(map(Run, views.values()))


def _go_through(plan: Sweep, worker: Engine, board: SweepScreen, notices: Iterable[str]) -> None:
    for notice in notices:
        board.line(f"note: {notice}")
    with stop_on_interrupt(lambda: board.line(_WAIT)) as stopped:
        if plan.to_do():
            with board:
                work(plan, worker, board.heard, stopped, board.tick)
    if plan.of_state("waiting", "running", "interrupted"):
        raise KeyboardInterrupt("The sweep was stopped. The same call continues it.")


@_known_errors
def read(*paths: AnyPath) -> Runs:
    """The runs that lie at ``paths``: folders of runs, published records, and everything below other folders.

    A record below such a folder that cannot be read is left out with a warning; one that is named has to be one. A run
    that is not what its files give is read with a warning.

    Raises:
        BenchError: there is no run, or a record that was named is broken.
    """
    if not paths:
        raise UsageError("There is nothing to read.", "Name the folder of a run, a record, or a folder above several.")
    views, broken = find_runs([Path(path) for path in paths])
    for apart in broken:
        warnings.warn(f"{apart.place} is left out: {apart.reason}.", stacklevel=3)
    _warn(doubts_of(views))
    return Runs(map(Run, views))


@_known_errors
def leaderboard(
    results: RunsOrPlaces = "results",
    *,
    stream: OneOrMore | None = None,
    model: OneOrMore | None = None,
    score: str | None = None,
    by: str = "last",
    baseline: OneOrMore | None = None,
) -> Leaderboard:
    """Rank methods, for each stream and model; methods whose difference is not significant share a rank.

    Args:
        results: runs, or folders of published records or of runs.
        stream, model: only these.
        score, by: the score that is ranked, and the metric of it that is ranked by. No score said: of each board the
            win rate after both phases with rewards, else the preference accuracy.
        baseline: methods that all others are compared with; none said: the usual ones that a board has.

    Raises:
        BenchError: no records; an unknown stream, model, score or metric; one seed of a method twice.
    """
    broken: list[Apart] = []
    if _are_runs(results):
        views = _views(results)
    else:
        views, broken = find_runs([Path(place) for place in _listed(results)])
    chosen = of_groups(views, *(_texts(words) if words is not None else () for words in (stream, model)))
    return Leaderboard(make_boards(chosen, score, by, None if baseline is None else _texts(baseline)), broken)


@_known_errors
def compare(*runs: RunsOrPlaces, score: str | None = None) -> Comparison:
    """Compare the first run with each of the others, on the same test pairs.

    Args:
        score: that is compared. None: what a board of them is ranked by, where all have it, else preference accuracy.

    Raises:
        BenchError: fewer than two runs, runs that cannot be compared, no such score.
    """
    views = [view for given in runs for view in _views(given)]
    if len(views) < 2:
        raise UsageError("A comparison needs two runs or more.", "Name two runs, or folders of runs, or records.")
    first, *others = run_labels(views, [Run(view).path for view in views])
    score = score or shared_score(views)
    pairs = {label: compare_runs(views[0], view, score) for label, view in zip(others, views[1:], strict=True)}
    return Comparison(pairs, first, settings_rows([view.record for view in views]))


@_known_errors
def report(
    runs: RunsOrPlaces,
    out: AnyPath = "report.html",
    *,
    figures: AnyPath | None = None,
    title: str | None = None,
    data_dir: AnyPath | None = None,
    force: bool = False,
) -> Path:
    """Write one HTML page about a run, a comparison of several, or a whole folder of results.

    Args:
        out: the page; it needs no network and nothing beside itself.
        figures: also write every figure as PDF, PNG and SVG into this folder.
        title: of the page.
        data_dir: where the texts of the paper's tasks are.
        force: overwrite files that no report wrote, and reports of other runs.

    Returns:
        The page.

    Raises:
        BenchError: there is no run, a file of one is broken, or a file is there that is no report of these runs.
    """
    places = [Run(view).path for view in _views(runs)] if _are_runs(runs) else [Path(p) for p in _listed(runs)]
    folder, data = (Path(place).expanduser() if place is not None else None for place in (figures, data_dir))
    wish = ReportRequest(Path(out).expanduser(), folder, title, data, force)
    page = write_page(places, wish)
    _warn(page.doubts)
    if folder is not None:
        write_figures(page.pictures(), folder, force)
    return wish.out


def _warn(doubts: Iterable[str]) -> None:
    for doubt in doubts:
        warnings.warn(f"{doubt}.", stacklevel=4)  # where the function was called that is public


def _words(settings: Mapping[str, SettingValue], **main: Any) -> Words:
    """What was asked for, as the command line would have it.

    Raises:
        UsageError: an unknown name, a value of another kind.
    """
    kinds = _kinds()
    unknown = [name for name in settings if name not in kinds]
    if unknown:
        raise _unknown_setting(unknown[0], [*kinds])
    said = {name: value for name, value in {**main, **settings}.items() if value is not None and name != "set"}
    options = {name: _as_said(name, value, kinds[name]) for name, value in said.items()}
    return Words.of({**options, "assignment": [f"{key}={_text(value)}" for key, value in (main["set"] or {}).items()]})


def _kinds() -> dict[str, str]:
    """Every option of a run, and the type of what it takes, as it is annotated."""
    found = {"config": "Path", "limit": "int", "set": "Mapping"}
    for name, field in RunConfig.model_fields.items():
        setting = setting_at(name)
        if setting.flag:
            kind = "Path" if name == "tuned" else str(field.annotation)
            found[option_name(name)] = "tuple" if setting.several else kind
    return found


def _unknown_setting(name: str, known: Sequence[str]) -> UsageError:
    if name in setting_fields():
        return UsageError(f"{name!r} is a setting and no option of its own.", f'Give set={{"{name}": ...}}.')
    return unknown_name("option of a run", name, known)


def _as_said(name: str, value: Any, kind: str) -> Any:
    """The value of an option of a ``kind`` (as ``Words`` annotates it) as the command line would have it."""
    for item in _items(value):
        if isinstance(item, type):
            raise UsageError(
                f"{item.__name__} is a class, and {name} takes names and files: what a run is made with has to be in a "
                "file, whose source is part of the run's record.",
                f"Write it to a file (in a notebook: %%writefile my_{name}.py) and give {name}='my_{name}.py'.",
            )
        if not isinstance(item, str | int | float | Path) and not hasattr(item, "__index__"):  # numpy's integers have
            raise UsageError(f"{name} is {item!r}.", "Give a name or a number, or a list of them.")
    if kind.startswith("tuple"):
        return _texts(value)
    if "Path" in kind and isinstance(value, str | Path):
        return Path(value).expanduser()
    wanted: type = next((kind_ for name_, kind_ in _KINDS.items() if name_ in kind), str)
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise UsageError(f"{name} is {value!r}.", f"Give {_NOUNS[wanted]}.")
    return value


_KINDS: dict[str, type] = {"bool": bool, "int": int}
_NOUNS = {bool: "True or False", int: "a whole number", str: "a text"}


def _items(value: Any) -> list[Any]:
    """Several values as a list, and one as a list of it."""
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str | type) else [value]


def _texts(value: Any) -> list[str]:
    return [str(item) for item in _items(value)]


def _text(value: Any) -> str:
    """The value of a setting as ``--set`` takes it."""
    if isinstance(value, str | Path):
        return str(value)
    return "none" if value is None else json.dumps(list(value) if isinstance(value, tuple) else value)


def _title(config: RunConfig) -> str:
    return f"{Path(config.method).stem} on {config.stream}, {config.model}, seed {config.seed}"


def _raise_failures(failed: Sequence[tuple[str, BaseException]], count: int) -> None:
    """Raise what went wrong, if anything did: the error itself of one run, of several all of them in one."""
    if not failed:
        return
    first = failed[0][1]
    if count == 1:
        raise first
    known = [(title, as_bench_error(error)) for title, error in failed]
    reasons = [
        f"{title}: {error if error is not None else f'{type(raised).__name__}: {raised}'}"
        for (title, error), (_, raised) in zip(known, failed, strict=True)
    ]
    raise BenchError(
        f"{len(failed)} of {count} runs failed. {' '.join(reasons)}",
        "The others are complete; the same call does these again, and lb.read reads what is there.",
    ) from first


def _listed(given: Any) -> list[Any]:
    return [given] if isinstance(given, str | Path | Run) else list(given)


def _are_runs(given: RunsOrPlaces) -> bool:
    """Whether runs were given and not where they lie."""
    listed = _listed(given)
    return bool(listed) and all(isinstance(item, Run) for item in listed)


def _views(given: RunsOrPlaces) -> list[RunView]:
    """The runs themselves, whatever names them."""
    views: list[RunView] = []
    for item in _listed(given):
        views += [item._view] if isinstance(item, Run) else find_runs([Path(item)])[0]
    return views
