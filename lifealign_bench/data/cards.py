"""Task cards and stream cards: what tasks/*.yaml and tasks/streams/*.yaml say, checked.

A task is named by its registered name (the card's file name) or by the path of a user's own card; a stream by its name,
a path, or a comma-separated list of tasks. Listing reads no data and imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StrictInt

from lifealign_bench.data.cardfile import CardModel, card_keys, read_card
from lifealign_bench.data.rewards import load_reward
from lifealign_bench.data.shaping import ResponsePlace, RowShape, Where
from lifealign_bench.data.sources import GitSource, Source, missing
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.util.registry import unknown_name

# In a checkout the cards lie in the top-level folder tasks/; a wheel has them in the package.
_package = Path(__file__).parents[1]
_folder = _package / "tasks" if (_package / "tasks").is_dir() else _package.parent / "tasks"

# Made up: three tasks to try the harness with, and those of the conformance suite.
_fakes = Path(__file__).parent / "fakes"

# No commas, slashes or spaces: names stand in lists of tasks, in paths and in pair ids.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=80)]

AtLeastOne = Annotated[StrictInt, Field(ge=1)]


class ColumnMap(CardModel):
    """Which column of the source holds what; ``check`` is for the task's reward function and may be absent.

    ``cluster`` says which pairs belong together, such as two wordings of one question, by a column, or by a field of a
    column of objects (``check.topic``); without it those with the same prompt do.
    """

    prompt: str = "prompt"
    chosen: str = "chosen"
    rejected: str = "rejected"
    check: str = "check"
    cluster: str | None = None


class TaskCard(CardModel):
    """A preference task: what it is, where its data come from, how they are read."""

    name: Name
    version: AtLeastOne = 1
    title: str
    description: str = ""
    kind: str = Field(default="", max_length=40, description="one or two words, e.g. safety")
    language: str = "en"
    license: str = ""
    source: Source
    where: Where | None = Field(default=None, description="which rows are of this task, by their columns; default: all")
    responses: ResponsePlace | None = Field(
        default=None, description="two responses and a verdict, or a list of answers with scores, instead of columns"
    )
    markup: Literal["html"] | None = Field(default=None, description="html: texts are HTML, of which the text is kept")
    columns: ColumnMap = ColumnMap()
    dialogue: Literal["human-assistant", "none"] = Field(
        default="none", description="prompts hold a transcript 'Human: ... Assistant: ...' that becomes chat turns"
    )
    reward: str | None = Field(
        default=None, description="function that checks a response: a name, or file.py:function beside the card"
    )
    relations: dict[str, str] = Field(default={}, description="other task -> how this one relates to it")
    overlong: Literal["shorten", "drop"] = Field(
        default="shorten", description="a prompt beyond the cut-off loses its oldest turns, or its pair is dropped"
    )
    balance: Literal["length"] | None = Field(
        default=None, description="length: take pairs so that the chosen response is as often longer as shorter"
    )
    longest: AtLeastOne | None = Field(
        default=None, description="most characters of a prompt and of a response; a pair with more is left out"
    )
    separator: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="the rejected text lists several responses, separated by this; one of them is taken"
    )
    stop: tuple[str, ...] = Field(
        default=(), description="texts that end a response, beside the model's end of turn; not part of the response"
    )
    set_phrase: bool = Field(
        default=False, description="the wanted answer is one phrase for every prompt, e.g. a refusal; see tune"
    )
    replaced_by: str | None = Field(default=None, description="the task to use instead of this one")
    citation: str | None = None
    path: Path | None = Field(default=None, exclude=True, description="where the card lies; set by the reader")

    @property
    def home(self) -> Path:
        """The folder that relative data paths start from."""
        return self.path.parent if self.path is not None else Path()

    @property
    def shape(self) -> RowShape:
        """How its rows are turned into such with the columns that it names."""
        columns = self.columns
        names = (columns.prompt, columns.chosen, columns.rejected)
        return RowShape(self.where, self.responses, self.markup == "html", *names)

    @property
    def whole(self) -> bool:
        """Whether it takes all that cleaning leaves of its files, as they are."""
        return self.balance is None and self.longest is None and self.separator is None

    @property
    def word(self) -> str:
        """How the command line names the task: its name, or the path of a user's own card."""
        own = self.path is not None and self.path.parent not in (_folder, _fakes)
        return str(self.path) if own else self.name


class StreamDefaults(CardModel):
    """Settings that suit a stream; the command line overrides them."""

    train_limit: AtLeastOne | None = None
    test_limit: AtLeastOne | None = None
    max_new_tokens: AtLeastOne | None = None
    learning_rate: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    sft: bool | None = None
    sft_learning_rate: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    sft_epochs: AtLeastOne | None = None
    epochs: AtLeastOne | None = None
    batch_size: AtLeastOne | None = None
    max_length: AtLeastOne | None = None
    reward_model: str | None = Field(default=None, min_length=1)


class StreamCard(CardModel):
    """An ordered list of tasks; ``tasks`` holds names, and absolute paths of users' own cards."""

    name: str = Field(min_length=1)
    version: AtLeastOne = 1
    title: str = ""
    description: str = ""
    tasks: tuple[str, ...] = Field(min_length=1)
    defaults: StreamDefaults = StreamDefaults()
    validation: AtLeastOne | None = Field(
        default=None, description="pairs a task that tune holds out of training; default: as many as test pairs"
    )
    path: Path | None = Field(default=None, exclude=True, description="where the card lies; set by the reader")

    def task_cards(self) -> tuple[TaskCard, ...]:
        """The cards of the tasks in their order.

        Raises:
            BenchError: a card is missing or broken.
        """
        return tuple(load_task(task) for task in self.tasks)


def task_names(*, fakes: bool = False) -> list[str]:
    """All registered tasks, sorted; the made-up ones, which are for trying things, only where asked for."""
    return sorted(_card_files(fakes=fakes))


def stream_names(*, fakes: bool = False) -> list[str]:
    """All registered streams, sorted; likewise."""
    return sorted(_card_files("streams", fakes=fakes))


def load_task(name_or_path: str) -> TaskCard:
    """The card of a registered task, or the card at a path that ends in ``.yaml`` or ``.yml``.

    Raises:
        UsageError: no such task; a user's card takes a registered task's name.
        BenchError: the card is broken; names path and line.
    """
    files = _card_files()
    if _is_path(name_or_path):
        card = read_card(Path(name_or_path).expanduser().absolute(), TaskCard, "task card")
        if card.name in files and not _same_file(files.get(card.name), card.path):
            raise UsageError(
                f"The task card {card.path} takes the name of the registered task {card.name!r}.",
                "Give it another name: results under one name must be of one task.",
            )
        return card
    if name_or_path not in files:
        raise unknown_name("task", name_or_path, task_names())
    card = read_card(files[name_or_path], TaskCard, "task card")
    _check_stem(card, "task card")
    return card


def load_stream(name: str) -> StreamCard:
    """A stream by its name, by a path, or made of a comma-separated list of task names and card paths.

    Raises:
        UsageError: no such stream or task.
        BenchError: a card is broken; the stream is empty or names a task twice.
    """
    files = _card_files("streams")
    if name in files:
        stream = _read_stream(files[name])
        _check_stem(stream, "stream card")
    elif _is_path(name) and "," not in name and "source" not in card_keys(Path(name).expanduser(), "stream card"):
        stream = _read_stream(Path(name).expanduser().absolute())
        if stream.name in files and not _same_file(files.get(stream.name), stream.path):
            raise UsageError(
                f"The stream card {stream.path} takes the name of the registered stream {stream.name!r}.",
                "Give it another name.",
            )
    else:
        return _listed_stream(name)
    _check_tasks(stream.tasks, stream)
    return stream


def stream_of_tasks(name: str, tasks: Sequence[str]) -> StreamCard:
    """A stream called ``name`` out of task names and card paths.

    Raises:
        UsageError: no such task, one that is named twice, or the name of a registered stream of other tasks.
    """
    stream = StreamCard(name=name, title=f"{len(tasks)} tasks", tasks=tuple(_absolute(task) for task in tasks))
    names = _check_tasks(stream.tasks, None)
    if name in stream_names(fakes=True) and names != [card.name for card in load_stream(name).task_cards()]:
        raise UsageError(f"The stream {name!r} is registered with other tasks.", "Give it another name.")
    return stream


def available_streams(data_dir: Path | None) -> tuple[list[StreamCard], list[tuple[str, str]]]:
    """Every registered stream whose data is available, and (name, reason with remedy) of those which are not.

    A local data set counts as available when its files exist, one of the hub when it is in the cache: nothing is
    downloaded that was not asked for by name.

    Raises:
        BenchError: a registered card is broken.
    """
    ready: list[StreamCard] = []
    absent: list[tuple[str, str]] = []
    for name in stream_names():
        stream = load_stream(name)
        cards = stream.task_cards()
        reasons = [(card.name, missing(card.source, card.home, data_dir, name, download=False)) for card in cards]
        lacking = [(task, reason) for task, reason in reasons if reason is not None]
        if lacking:
            also = f" Also missing: {', '.join(task for task, _ in lacking[1:])}." if len(lacking) > 1 else ""
            absent.append((name, f"task {lacking[0][0]}: {lacking[0][1]}{also}"))
        else:
            ready.append(stream)
    return ready, absent


def check_reward(card: TaskCard) -> None:
    """Refuse a card whose reward function does not exist or cannot be used.

    Raises:
        UsageError: says why; names the functions there are.
    """
    if card.reward is None:
        return
    try:
        load_reward(card.reward, card.home)
    except BenchError as error:
        raise UsageError(f"The card of task {card.name!r} ({card.path}): {error.message}", error.remedy) from error


def _card_files(kind: str = "", *, fakes: bool = True) -> dict[str, Path]:
    """Name to card; ``kind``: the folder of that name in each folder of cards."""
    folders = (_fakes, _folder) if fakes else (_folder,)
    return {path.stem: path for folder in folders for path in sorted((folder / kind).glob("*.yaml"))}


def _is_path(text: str) -> bool:
    return text.endswith((".yaml", ".yml"))


def _same_file(registered: Path | None, path: Path | None) -> bool:
    return registered is not None and path is not None and registered.resolve() == path.resolve()


def _check_stem(card: TaskCard | StreamCard, noun: str) -> None:
    """Listing goes by file names, so a registered card is called as its file."""
    if card.path is not None and card.name != card.path.stem:
        raise BenchError(
            f"The {noun} {card.path} is called {card.name!r} inside.", f"Set its name to {card.path.stem!r}."
        )


def _read_stream(path: Path) -> StreamCard:
    stream = read_card(path, StreamCard, "stream card")
    if "," in stream.name or "/" in stream.name:
        raise BenchError(f"The stream card {path} has the name {stream.name!r}.", "Take out commas and slashes.")
    tasks = [
        str((path.parent / Path(task).expanduser()).absolute()) if _is_path(task) else task for task in stream.tasks
    ]
    return stream.model_copy(update={"tasks": tuple(tasks)})


def _listed_stream(text: str) -> StreamCard:
    """A stream out of a list on the command line; its name is the tasks' names."""
    items = [item.strip() for item in text.split(",")]
    if not all(items):
        raise UsageError(f"The list of tasks {text!r} has an empty item.", "Separate names by single commas.")
    if len(items) == 1 and not _is_path(text) and text not in task_names(fakes=True):
        raise unknown_name("stream or task", text, {*stream_names(), *task_names()})
    tasks = tuple(_absolute(item) for item in items)
    names = _check_tasks(tasks, None)
    return StreamCard(name=",".join(names), title=f"{len(names)} tasks", tasks=tasks)


def _absolute(task: str) -> str:
    return str(Path(task).expanduser().absolute()) if _is_path(task) else task


def _check_tasks(tasks: Sequence[str], stream: StreamCard | None) -> list[str]:
    """The names of a stream's tasks; each must exist and be there once."""
    where = f"The stream card {stream.path or stream.name}: " if stream is not None else ""
    names: list[str] = []
    for task in tasks:
        try:
            name = load_task(task).name
        except UsageError as error:
            raise UsageError(f"{where}{error.message}", error.remedy) from error
        if name in names:
            raise UsageError(f"{where or 'The stream '}names the task {name!r} twice.", "Name every task once.")
        names.append(name)
    return names


def registered_tasks() -> list[TaskCard]:
    """All registered tasks."""
    return [load_task(name) for name in task_names()]


def git_tasks() -> list[TaskCard]:
    """The registered tasks that are files of a git repository, whole: those of the paper."""
    return [card for card in registered_tasks() if isinstance(card.source, GitSource) and card.whole]


def select_tasks(words: Sequence[str]) -> list[TaskCard]:
    """The tasks that are named, each once, in the order of their first naming.

    Args:
        words: tasks, streams, paths of cards, lists of tasks with commas, or ``all``.

    Raises:
        UsageError: no such task or stream; two cards of one name.
        BenchError: a card is broken.
    """
    found: dict[str, TaskCard] = {}
    for word in words:
        for card in registered_tasks() if word == "all" else _tasks_of(word):
            if found.setdefault(card.name, card).path != card.path:
                raise UsageError(
                    f"Two task cards are called {card.name!r}: {found[card.name].path} and {card.path}.",
                    "Rename one of them.",
                )
    return list(found.values())


def _tasks_of(word: str) -> tuple[TaskCard, ...]:
    known = {*stream_names(fakes=True), *task_names(fakes=True)}
    if "," not in word and not word.endswith((".yaml", ".yml")) and word not in known:
        raise unknown_name("task or stream", word, {*stream_names(), *task_names()})
    if word.endswith((".yaml", ".yml")):
        word = str(Path(word).expanduser())
    return load_stream(word).task_cards()
