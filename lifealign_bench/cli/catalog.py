"""``lifealign-bench list`` and ``show``: what there is, without importing anything heavy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from lifealign_bench.cli import options
from lifealign_bench.cli.output import results_console
from lifealign_bench.config import PRESETS
from lifealign_bench.data.cardfile import card_keys
from lifealign_bench.data.cards import (
    StreamCard,
    TaskCard,
    check_reward,
    load_stream,
    load_task,
    stream_names,
    task_names,
)
from lifealign_bench.data.rewards import REWARDS
from lifealign_bench.data.sources import missing
from lifealign_bench.data.tasks import available, load_task_data
from lifealign_bench.errors import BenchError
from lifealign_bench.methods import (
    find_variant,
    method_config,
    method_doc,
    method_names,
    method_summary,
    variant_names,
)
from lifealign_bench.pairs import Pair
from lifealign_bench.reporting.tables.grid import Grid, show_grid
from lifealign_bench.reporting.tables.scores import accuracy_grid
from lifealign_bench.reporting.tables.settings import SETTINGS, defaults_grid, settings_grids
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.scoring.abilities.names import BUILTIN, SETS
from lifealign_bench.scoring.judging import JUDGES
from lifealign_bench.scoring.rewardmodel.accuracy import kept_accuracy
from lifealign_bench.scoring.rewardmodel.model import encoder_of
from lifealign_bench.scoring.scorers import SCORERS
from lifealign_bench.util.extensions import Finder
from lifealign_bench.util.registry import unknown_name
from lifealign_bench.util.text import clean, number, plain_value

app = typer.Typer()


@app.command("list")
def list_names(
    what: Annotated[
        str | None,
        typer.Argument(
            help="methods, streams, tasks, scorers, judges, rewards, metrics, abilities or presets, with what each is; "
            "all: all of these; nothing: their names."
        ),
    ] = None,
    data_dir: options.DataDir = None,
) -> None:
    """List what there is."""
    show_lists(results_console(), what, data_dir)


@app.command()
def show(
    name: Annotated[
        str,
        typer.Argument(
            help="A method (or its file), a stream or a task (or their cards), a preset, or settings: all of a run."
        ),
    ],
    data_dir: options.DataDir = None,
) -> None:
    """Show a method, stream, task or preset: what it is, its settings, some of its data; or all settings of a run."""
    show_name(results_console(), name, data_dir)


def show_lists(console: Console, what: str | None, data_dir: Path | None) -> None:
    """Print one list, all, or the names alone.

    Args:
        what: one of :data:`KINDS` in the singular or plural, or ``all``; None: the names of each kind, on one screen.

    Raises:
        UsageError: no such list.
        BenchError: a registered card is broken.
    """
    if what is None:
        show_grid(console, _names(data_dir))
        return
    if what not in (ALL, *KINDS):
        plural = next((kind for kind in KINDS if kind in (f"{what}s", f"{what.removesuffix('y')}ies")), None)
        if plural is None:
            raise unknown_name("list", what, (*KINDS, ALL))
        what = plural
    for kind, grid in KINDS.items():
        if what in (ALL, kind):
            show_grid(console, grid(data_dir))


def _names(data_dir: Path | None) -> Grid:
    """A row a kind with its first names."""
    rows = []
    for kind, make in KINDS.items():
        names = list(dict.fromkeys(str(row[0]) for row in make(data_dir).rows if row[0]))
        shown: list[str] = []
        for name in names:
            if sum(map(len, shown)) + 2 * len(shown) + len(name) > _ROOM:
                break
            shown.append(name)
        more = [f"{len(names) - len(shown)} more"] if len(shown) < len(names) else []
        rows.append((kind, ", ".join([*shown, *more])))
    notes = ("What each is: lifealign-bench list methods (or another kind); more: lifealign-bench show NAME.",)
    return Grid("What there is", ("kind", "names"), tuple(rows), notes, prose=(1,))


def _methods(data_dir: Path | None) -> Grid:
    variants = [(name, found.of) for name in variant_names() if (found := find_variant(name)) is not None]
    rows = []
    for name in method_names():
        rows.append((name, _summary(name)))
        rows += [(variant, f"variant: {_summary(variant)}") for variant, of in variants if of == name]
    notes = (
        "A file of your own: --method path/to/mine.py. --method all is every method without the variants, "
        "--method ablations all variants.",
    )
    return Grid("Methods", ("name", "what it is"), tuple(rows), notes, prose=(1,))


def _summary(name: str) -> str:
    try:
        return method_summary(name)
    except (OSError, SyntaxError, ValueError) as error:
        return f"(its file cannot be read: {error})"


def _streams(data_dir: Path | None) -> Grid:
    rows = []
    for name in stream_names():
        stream = load_stream(name)
        rows.append((name, stream.title, ", ".join(stream.tasks)))
    notes = ("A list of tasks is a stream too: --stream TruthfulQA,safe-rlhf. For tests: --model fake --stream fake.",)
    return Grid("Streams", ("name", "title", "tasks"), tuple(rows), notes, prose=(1, 2))


def _tasks(data_dir: Path | None) -> Grid:
    rows = []
    for name in task_names():
        card = load_task(name)
        at_hand = "yes" if missing(card.source, card.home, data_dir, download=False) is None else "no"
        rows.append((name, card.title, card.kind, card.reward or "", at_hand))
    notes = ("Data: whether it is available here; show NAME says why not, data fetch NAME gets the paper's.",)
    return Grid("Tasks", ("name", "title", "kind", "reward", "data"), tuple(rows), notes, prose=(1, 2))


def _scorers(data_dir: Path | None) -> Grid:
    rows: list[tuple[str, ...]] = []
    for name in SCORERS.names():
        if name not in SCORERS.files():  # nothing of others is imported to list it
            rows.append((name, "", SCORERS.summary(name)))
            continue
        scorer = SCORERS.load(name)
        rows.append((name, "", scorer.summary))
        rows += [("", info.name, info.summary) for info in scorer.scores]
    notes = ("A file of your own: --scorer path/to/mine.py.",)
    return Grid("Scorers and their scores", ("scorer", "score", "what it measures"), tuple(rows), notes, prose=(2,))


def _judges(data_dir: Path | None) -> Grid:
    notes = ("A file of your own: --judge path/to/mine.py, or mine.py:Name where it has several.",)
    return _extensions("Kinds of judges (--judge)", JUDGES, notes)


def _rewards(data_dir: Path | None) -> Grid:
    notes = ("A task's card names one (reward: NAME), or one in a file beside the card (reward: mine.py:NAME).",)
    return _extensions("Rewards of tasks", REWARDS, notes)


def _extensions(title: str, finder: Finder[Any], notes: tuple[str, ...]) -> Grid:
    rows = tuple((name, finder.summary(name)) for name in finder.names())
    return Grid(title, ("name", "what it is"), rows, notes, prose=(1,))


def _metrics(data_dir: Path | None) -> Grid:
    rows = tuple(
        (info.label, name, info.meaning + ("" if info.higher_is_better else " Lower is better."))
        for name, info in METRICS.items()
    )
    notes = ("R[k, j] is the score after stage k on task j; the formulas are in lifealign_bench/results/metrics.py.",)
    return Grid("Metrics of a score matrix", ("label", "name", "meaning"), rows, notes, prose=(2,))


def _presets(data_dir: Path | None) -> Grid:
    rows = tuple(SUMMARIES.items())
    return Grid("Presets", ("name", "what it is"), rows, ("show paper lists its settings.",), prose=(1,))


def _abilities(data_dir: Path | None) -> Grid:
    rows: list[tuple[str, str]] = [(name, "a set: " + ", ".join(members)) for name, members in SETS.items()]
    rows += BUILTIN.items()
    notes = (
        "For --ability; builtin needs no network. It may also name any task of lm-eval, or a YAML task of yours by its "
        "path.",
    )
    return Grid("Tests of general ability", ("name", "what it is"), tuple(rows), notes, prose=(1,))


ALL = "all"

_ROOM = 115  # characters of names in a row: two lines of a terminal of 80 columns

KINDS: dict[str, Callable[[Path | None], Grid]] = {
    "methods": _methods,
    "streams": _streams,
    "tasks": _tasks,
    "scorers": _scorers,
    "judges": _judges,
    "rewards": _rewards,
    "metrics": _metrics,
    "abilities": _abilities,
    "presets": _presets,
}

SUMMARIES = {
    "small": "what a CPU can do: the embedded model, both phases, one epoch, and the defaults that a stream brings",
    "paper": "the published settings: a 7B model, a supervised phase, 3 epochs a phase; needs a GPU",
}

_OURS = ("generation_batch_size",)

EXAMPLES = 3

_LONGEST = 600


def show_name(console: Console, name: str, data_dir: Path | None) -> None:
    """Print what is called ``name``: a method before a stream before a task before a preset.

    Raises:
        UsageError: there is nothing of that name.
        BenchError: its file or card is broken.
    """
    kinds = {
        "method": [*method_names(), *variant_names()],
        "stream": stream_names(fakes=True),
        "task": task_names(fakes=True),
    }
    found = [kind for kind, names in kinds.items() if name in names]
    if len(found) > 1:
        text = f"{name} is a {' and a '.join(found)}; this is the {found[0]}."
        console.print(Text(clean(text), style="yellow"))
    if name.endswith(".py") or "method" in found:
        _show_method(console, name)
    elif "stream" in found or "," in name:
        _show_stream(console, load_stream(name))
    elif "task" in found:
        _show_task(console, load_task(name), data_dir)
    elif name in PRESETS:
        _show_preset(console, name)
    elif name == SETTINGS:
        for grid in settings_grids():
            show_grid(console, grid)
    elif name.endswith((".yaml", ".yml")):
        _show_card(console, name, data_dir)
    else:
        known = {*kinds["method"], *stream_names(), *task_names(), *PRESETS, SETTINGS}
        raise unknown_name("method, stream, task or preset", name, known)


def _show_card(console: Console, path: str, data_dir: Path | None) -> None:
    """A user's card: a task's has a source."""
    if "source" in card_keys(Path(path).expanduser(), "card"):
        _show_task(console, load_task(path), data_dir)
    else:
        _show_stream(console, load_stream(path))


def _show_method(console: Console, name: str) -> None:
    config, doc = method_config(name), method_doc(name)
    _heading(console, f"method {name}")
    variant = find_variant(name)
    fixed = variant.fixed if variant is not None else {}
    if variant is not None:
        _paragraph(console, f"A variant: {variant}. Everything else is {variant.of}:")
    for line in doc.split("\n"):
        console.print(Text(clean(line)))
    console.print()
    rows = tuple(
        (
            key,
            f"{plain_value(fixed[key])} (fixed)"
            if key in fixed
            else plain_value(field.get_default(call_default_factory=True)),
            field.description or "",
        )
        for key, field in config.model_fields.items()
    )
    variants = [other for other in variant_names() if (v := find_variant(other)) is not None and v.of == name]
    if rows:
        free = [row for row in rows if row[0] not in fixed]
        note = tuple(f"Set them with --set, e.g. --set {row[0]}={row[1]}" for row in free[:1])
        show_grid(console, Grid("Settings", ("setting", "default", "meaning"), rows, note, prose=(2,)))
    else:
        console.print(Text("It has no settings of its own.", style="dim"))
    if variants:
        console.print(Text(clean(f"Variants: {', '.join(variants)}"), style="dim"))


def preset_rows(name: str) -> tuple[tuple[str, str, str], ...]:
    """(setting, value, where it is from) of everything that a preset sets."""
    rows = []
    for key, value in PRESETS[name].items():
        settings = value if isinstance(value, dict) else {key: value}
        for setting, content in settings.items():
            text = ",".join(content) if isinstance(content, tuple) else str(content).lower()
            text = content if isinstance(content, str) else text
            rows.append((setting, text, "ours" if setting in _OURS else "published"))
    return tuple(rows)


def _show_preset(console: Console, name: str) -> None:
    _heading(console, f"preset {name}")
    _paragraph(console, SUMMARIES[name])
    rows = preset_rows(name)
    if name != "small":
        notes = (
            "Flags and --set change them. Settings of a method have their published values as defaults where its file "
            "(show METHOD) does not say otherwise. Decoding is greedy; the published tool samples.",
        )
        show_grid(console, Grid("Settings", ("setting", "value", "from"), rows, notes, prose=(1,)))
    else:
        show_grid(console, defaults_grid())


def _show_stream(console: Console, stream: StreamCard) -> None:
    _heading(console, f"stream {stream.name}: {stream.title}")
    _paragraph(console, stream.description)
    cards = stream.task_cards()
    rows = tuple((str(i), card.name, card.title) for i, card in enumerate(cards, start=1))
    show_grid(console, Grid("Tasks in their order", ("stage", "task", "title"), rows, prose=(2,)))
    names = {card.name for card in cards}
    relations = [(card.name, other, text) for card in cards for other, text in card.relations.items() if other in names]
    if relations:
        show_grid(console, Grid("How they relate", ("task", "to", "relation"), tuple(relations), prose=(2,)))
    defaults = stream.defaults.model_dump(exclude_none=True)
    if defaults:
        shown = tuple((key, plain_value(value)) for key, value in defaults.items())
        notes = ("They hold under --preset small; flags and --set change them.",)
        show_grid(console, Grid("Defaults", ("setting", "value"), shown, notes, prose=(1,)))
    if encoder_of(stream.defaults.reward_model) is not None:
        _show_accuracy(console, stream.name)


def _show_accuracy(console: Console, stream: str) -> None:
    said = kept_accuracy(stream)
    if said is not None:
        show_grid(console, accuracy_grid(said))
        return
    text = (
        f"How good its reward model is was not measured on this machine yet; run --stream {stream} measures it first."
    )
    console.print(Text(clean(text), style="dim"))


def _show_task(console: Console, card: TaskCard, data_dir: Path | None) -> None:
    check_reward(card)
    _heading(console, f"task {card.name}: {card.title}")
    _paragraph(console, card.description)
    source: dict[str, Any] = card.source.model_dump(mode="json", exclude_none=True)
    if source.get("type") == "inline":
        source = {"type": "inline (the card holds the rows)"}
    facts = {
        "version": card.version,
        "kind": card.kind,
        "language": card.language,
        "license": card.license,
        "reward function": card.reward or "none",
        "prompts": "transcripts that become chat turns" if card.dialogue != "none" else "as they are",
        "beyond the cut-off": card.overlong,
        "balanced by": card.balance,
        "most characters": card.longest,
        "separator of rejected responses": card.separator,
        "superseded by": card.replaced_by,
        "citation": card.citation,
        "card": card.path,
        **_flat("source", source),
        **_flat("rows", card.model_dump(mode="json", include={"where", "responses", "markup"}, exclude_none=True)),
        **{f"relation to {other}": text for other, text in card.relations.items()},
    }
    rows = tuple((key, plain_value(value)) for key, value in facts.items() if value not in (None, "", {}))
    show_grid(console, Grid("Card", ("what", "value"), rows, prose=(1,)))
    _show_data(console, card, data_dir)


def _show_data(console: Console, card: TaskCard, data_dir: Path | None) -> None:
    reason = available(card, data_dir)
    if reason is not None:
        console.print(Text(clean(f"The data is not available: {reason}"), style="yellow"))
        return
    try:
        data = load_task_data(card, data_dir=data_dir)
    except BenchError as error:
        raise BenchError(f"The data cannot be used: {error.message}", error.remedy) from error
    rows: list[tuple[str, ...]] = []
    for split in ("train", "test"):
        report = data.reports[split]
        rows.append((split, "read", number(report.read, 0)))
        for verb, counts in (("dropped", report.dropped), ("changed", report.changed), ("noted", report.noted)):
            rows += [("", f"{verb}: {what}", number(count, 0)) for what, count in counts.items()]
        rows.append(("", "kept", number(report.kept, 0)))
    show_grid(console, Grid("Cleaning", ("split", "what", "pairs"), tuple(rows), prose=(1,)))
    for pair in data.train[:EXAMPLES]:
        _show_pair(console, pair)


def _show_pair(console: Console, pair: Pair) -> None:
    console.print(Text(clean(pair.id), style="bold"))
    for turn in pair.prompt:
        _speech(console, turn.role, turn.content, "")
    _speech(console, "chosen", pair.chosen, "green")
    _speech(console, "rejected", pair.rejected, "red")
    if pair.check:
        _speech(console, "check", plain_value(dict(pair.check)), "dim")
    console.print()


def _speech(console: Console, who: str, text: str, style: str) -> None:
    short = text if len(text) <= _LONGEST else f"{text[:_LONGEST].rstrip()} ... ({len(text):,} characters)"
    lines = "\n".join(clean(line) for line in short.split("\n"))
    console.print(Padding(Text.assemble((f"{who}: ", "bold"), (lines, style)), (0, 0, 0, 2)))


def _heading(console: Console, text: str) -> None:
    console.print(Text(clean(text).rstrip(": "), style="bold reverse"))
    console.print()


def _paragraph(console: Console, text: str) -> None:
    if text.strip():
        console.print(Text(clean(text.strip())))
        console.print()


def _flat(place: str, values: dict[str, Any]) -> dict[str, Any]:
    """Nested values under their keys: ``source: train: path``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(f"{place}: {key}", value)
        else:
            flat[f"{place}: {key}"] = value
    return flat
