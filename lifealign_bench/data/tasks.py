"""A task's data: read from its source, verified, cleaned, limited."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from lifealign_bench.config import RunConfig
from lifealign_bench.data.cards import TaskCard, check_reward, load_task
from lifealign_bench.data.cleaning import NO_CLUSTER, Cleaner, CleaningReport, clean_rows, report_overlap
from lifealign_bench.data.holdout import answers_of, held_out, plain_answer
from lifealign_bench.data.rows import Row
from lifealign_bench.data.selection import select_pairs
from lifealign_bench.data.sources import GitSource, SourceRows, fetch_command, missing, read_source
from lifealign_bench.errors import BenchError
from lifealign_bench.pairs import Pair, Split, digest_pairs
from lifealign_bench.util.progress import Progress


@dataclass(frozen=True)
class TaskData:
    """The pairs of one task.

    Args:
        card: the task.
        train: training pairs in file order (balanced ones two by two), after cleaning and limit.
        test: test pairs, likewise; with validation, pairs held out of the training file, and none of the test file.
        reports: what cleaning did, per split, to the whole file (before the limit).
        source_hashes: ``git:<blob id>`` or ``sha256:<hex>`` of what was read, per split.
        overlap: cleaned test pairs, before the limit, whose prompt is also a training prompt.
    """

    card: TaskCard
    train: tuple[Pair, ...]
    test: tuple[Pair, ...]
    reports: dict[Split, CleaningReport]
    source_hashes: dict[Split, str]
    overlap: int

    def hashes(self) -> dict[Split, str]:
        """SHA-256 over the pairs that are used, per split."""
        return {"train": digest_pairs(self.train), "test": digest_pairs(self.test)}


def available(card: TaskCard, data_dir: Path | None, *, download: bool = True) -> str | None:
    """``None`` when the task's files are available, else why not and what to do; reads no data.

    Args:
        download: what the hub has counts as available, though it is still to be downloaded.
    """
    return missing(card.source, card.home, data_dir, card.word, download=download)


def require_fetched(cards: Sequence[TaskCard], data_dir: Path | None) -> None:
    """Name all tasks whose files have to be fetched at once, not the first one alone.

    Raises:
        BenchError: files of git sources are not available.
    """
    absent = [card for card in cards if isinstance(card.source, GitSource) and available(card, data_dir) is not None]
    if len(absent) > 1:
        words = fetch_command(*(card.word for card in absent))
        raise BenchError(
            f"The data of {len(absent)} tasks is not available: {', '.join(card.name for card in absent)}.",
            f"Run {words}, or give a copy of the repository's data folder with --data-dir or LIFEALIGN_BENCH_DATA; "
            "lifealign-bench data verify says which files are missing.",
        )


def load_task_data(
    card: TaskCard,
    *,
    data_dir: Path | None,
    train_limit: int | None = None,
    test_limit: int | None = None,
    validation: int | None = None,
    elsewhere: Collection[str] = frozenset(),
) -> TaskData:
    """Read, verify and clean a task; limits take the first so many of the pairs that cleaning kept.

    Args:
        card: the task.
        data_dir: a copy of the paper's ``data/`` tree; see :mod:`lifealign_bench.data.sources`.
        train_limit: use at most so many training pairs.
        test_limit: use at most so many test pairs.
        validation: take so many pairs of the training file for test pairs, see :mod:`lifealign_bench.data.holdout`.
        elsewhere: answers that the run's other tasks train on; matters to validation alone.

    Raises:
        BenchError: a file is missing, damaged or of another hash, lacks a column, or no pair is left; names the place
            and the remedy.
    """
    # Of a large source the rows are let go as soon as the pairs are there.
    train, train_report, train_digest = _split_and_digest(card, "train", data_dir)
    test, test_report, test_digest = _split_and_digest(card, "test", data_dir)
    overlap, test_report = report_overlap(test_report, train, test)
    used_train, used_test = train[:train_limit], test[:test_limit]
    if validation is not None:
        used_train, used_test = held_out(
            card.name, train, validation, train_limit, elsewhere, set_phrase=card.set_phrase
        )
        overlap = 0
    return TaskData(
        card=card,
        train=used_train,
        test=used_test,
        reports={"train": train_report, "test": test_report},
        source_hashes={"train": train_digest, "test": test_digest},
        overlap=overlap,
    )


def _split_and_digest(
    card: TaskCard, split: Split, data_dir: Path | None
) -> tuple[tuple[Pair, ...], CleaningReport, str]:
    pairs, report, source = load_split(card, split, data_dir=data_dir)
    return pairs, report, source.digest


def load_split(
    card: TaskCard, split: Split, *, data_dir: Path | None
) -> tuple[tuple[Pair, ...], CleaningReport, SourceRows]:
    """The cleaned pairs of one split that the card takes, the cleaning report, and what the source held.

    Raises:
        BenchError: see :func:`load_task_data`.
    """
    try:
        source = read_source(card.source, split, card.home, data_dir, card.word)
        cleaned, report = clean_rows(_cleaner(card, source), source.rows, split)
    except BenchError as error:
        raise BenchError(f"Task {card.name}: {error.message}", error.remedy) from error
    pairs, report = select_pairs(card, cleaned, report)
    _refuse_clusters(card, pairs, report, split)
    if not pairs:
        noun = "training" if split == "train" else "test"
        raise BenchError(
            f"Task {card.name} has no {noun} pairs left after cleaning {source.place} ({report.summary()}).",
            f"Mend those rows, or 'columns' and 'dialogue' on its card {card.path or ''}".rstrip() + ".",
        )
    return pairs, report, source


def _refuse_clusters(card: TaskCard, pairs: Sequence[Pair], report: CleaningReport, split: Split) -> None:
    """What is not known to be independent is not taken for it, and pairs that all belong together are one answer, which
    says nothing of how sure a score is."""
    column, place = card.columns.cluster, f" {card.path}" if card.path is not None else ""
    holes = report.dropped.get(NO_CLUSTER, 0)
    if holes:
        row = report.examples[NO_CLUSTER][0]
        raise BenchError(
            f"Task {card.name}: {column!r} has no value in {holes} {split} {'row' if holes == 1 else 'rows'} "
            f"(the first: row {row}).",
            f"Fill it in, or leave 'cluster' out on the card{place}: pairs with the same prompt then belong together.",
        )
    if split == "test" and column is not None and len(pairs) > 1 and len({pair.cluster for pair in pairs}) == 1:
        raise BenchError(
            f"Task {card.name}: {column!r} has one value in all {len(pairs)} test pairs, which makes them one cluster.",
            f"Name a column that tells independent pairs apart, or leave 'cluster' out on the card{place}.",
        )


def _cleaner(card: TaskCard, source: SourceRows) -> Cleaner:
    """Which columns to read; a column that no row has is an error."""
    columns, shape = card.columns, card.shape
    known = {str(name): None for row in source.rows for name in row}
    for name in shape.asked():
        _path(card, name, known, source)
    known |= dict.fromkeys(shape.made())
    chosen, rejected = _column(card, columns.chosen, known, source), _column(card, columns.rejected, known, source)
    asked = columns.prompt
    whole = card.dialogue != "none" or _holds_conversations(source.rows, columns.chosen)
    if asked not in known and "prompt" not in columns.model_fields_set and not whole:
        # Where the responses stand apart, the conversation before them has one of these names.
        asked = next((name for name in _CONVERSATIONS if name in known), asked)
    implicit = asked not in known and "prompt" not in columns.model_fields_set and whole
    check: str | None = columns.check
    if columns.check not in known:
        if "check" in columns.model_fields_set:
            _column(card, columns.check, known, source)
        check = None
    return Cleaner(
        task=card.name,
        prompt=None if implicit else _column(card, asked, known, source),
        chosen=chosen,
        rejected=rejected,
        check=check,
        dialogue=card.dialogue == "human-assistant",
        cluster=() if columns.cluster is None else _path(card, columns.cluster, known, source),
        shape=shape,
    )


_CONVERSATIONS = ("conversations", "conversation", "messages")


def _path(card: TaskCard, name: str, known: dict[str, None], source: SourceRows) -> tuple[str, ...]:
    """A column and the fields in it; a column may have a dot in its name."""
    if name in known:
        return (name,)
    column, *fields = name.split(".")
    return (_column(card, column, known, source), *fields)


def _holds_conversations(rows: Sequence[Row], column: str) -> bool:
    return any(isinstance(row.get(column), list) and len(row[column]) > 1 for row in rows)


def _column(card: TaskCard, name: str, known: dict[str, None], source: SourceRows) -> str:
    if name in known:
        return name
    has = ", ".join(repr(n if len(n) <= 40 else n[:37] + "...") for n in list(known)[:20])
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    header = " The first line of a CSV file must name its columns." if source.format == "csv" else ""
    raise BenchError(
        f"{source.place} lacks the column {name!r} (has: {has}).",
        f"{hint}Set 'columns' on the card {card.path or card.name}.{header}",
    )


def load_data(config: RunConfig, progress: Progress) -> dict[str, TaskData]:
    """The data of all tasks in the stream's order; says what cleaning did.

    Raises:
        BenchError: a card or file is missing or broken.
    """
    data: dict[str, TaskData] = {}
    cards = [load_task(str(config.task_cards.get(name, name))) for name in config.tasks]
    require_fetched(cards, config.data_dir)
    answers = _training_answers(cards, config) if config.validation is not None else {}
    for card in cards:
        check_reward(card)
        if card.replaced_by is not None:
            progress.notice(f"Task {card.name} is superseded by {card.replaced_by}; it is used as asked.")
        elsewhere = set().union(*(found for name, found in answers.items() if name != card.name))
        task = load_task_data(
            card,
            data_dir=config.data_dir,
            train_limit=config.train_limit,
            test_limit=config.test_limit,
            validation=config.validation,
            elsewhere=elsewhere,
        )
        shared = sum(plain_answer(pair.chosen) in elsewhere for pair in task.test) if answers else 0
        if shared:
            text = f"the chosen answers of {shared} validation pairs stand in training pairs of other tasks"
            progress.notice(f"Task {card.name}: {text}.")
        if config.validation is not None and card.set_phrase:
            text = "one phrase is the wanted answer to every prompt, in training and validation pairs alike"
            progress.notice(f"Task {card.name}: {text}.")
        for split in ("train", "test"):
            report = task.reports[split]
            if report.dropped:
                progress.notice(f"Task {card.name}, {split}: {report.summary()}.")
        if task.overlap:
            progress.notice(f"Task {card.name}: {task.overlap} test prompts are also training prompts.")
        data[card.name] = task
    return data


def _training_answers(cards: Sequence[TaskCard], config: RunConfig) -> dict[str, set[str]]:
    """Task to all answers of its training file."""
    return {card.name: answers_of(load_split(card, "train", data_dir=config.data_dir)[0]) for card in cards}
