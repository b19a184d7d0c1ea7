"""What the commands cost that do little: processor seconds, in which starting is most of it.

    python benchmarks/start_costs.py                            this checkout
    python benchmarks/start_costs.py --against ../before        and another one, command by command in turn
    python benchmarks/start_costs.py --only check --repeat 3 --json costs.json

Processor seconds (user and system, with all processes that a command starts and waits for) say the same on a busy
machine as on an idle one, nearly. Each command runs in a folder of its own; the least of the repeats counts.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECORDS = "results/mini/smollm2-135m"
FAKE = ("--model", "fake", "--stream", "fake", "--device", "cpu", "--dtype", "float32", "--quiet")
RUN = ("run", "--method", "dpo", *FAKE, "--out", "done")
DONE = "done/fake/fake/dpo/seed-0"
COMPARED = ("reproduce", DONE, "--out", "again", "--device", "cpu", "--quiet")


@dataclass(frozen=True)
class Command:
    """One that is measured.

    Args:
        words: of the command line; what begins with ``results/`` is of this checkout.
        most: processor seconds that it may take.
        before: commands that are done first and not measured.
    """

    name: str
    words: tuple[str, ...]
    most: float
    before: tuple[tuple[str, ...], ...] = ()


COMMANDS = (
    Command("--help", ("--help",), 0.6),
    Command("list", ("list",), 0.6),
    Command("show small", ("show", "small"), 3.0),
    Command("data verify mini", ("data", "verify", "mini"), 3.0),
    Command("data stats mini", ("data", "stats", "mini", "--quiet"), 3.0),
    Command("leaderboard", ("leaderboard", "results/"), 3.0),
    Command("compare two", ("compare", f"{RECORDS}/dpo/seed-0.json", f"{RECORDS}/replay/seed-0.json"), 3.0),
    Command("reproduce, compared", COMPARED, 3.0, (RUN, COMPARED)),
    Command("run, fake", ("run", "--method", "dpo", *FAKE), 14.0),
    Command("check method", ("check", "method", "dpo"), 16.0),
    Command("sweep, 12 fake", ("sweep", "--method", "dpo,replay,ewc,gem", "--seed", "0,1,2", *FAKE), 45.0),
)


def processor_seconds(words: Sequence[str], checkout: Path, folder: Path) -> float:
    """What ``lifealign-bench WORDS`` of a checkout takes, started in ``folder``.

    Raises:
        SystemExit: it fails.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "lifealign_bench", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise SystemExit(f"{checkout}: lifealign-bench {' '.join(words)} failed:\n{done.stderr}")
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def measured(command: Command, checkout: Path) -> float:
    """One measurement of a command, in an empty folder."""
    words = [str(ROOT / word) if word.startswith("results/") else word for word in command.words]
    with tempfile.TemporaryDirectory(prefix="start-costs-") as folder:
        for earlier in command.before:
            processor_seconds(earlier, checkout, Path(folder))
        return processor_seconds(words, checkout, Path(folder))


def costs(commands: Sequence[Command], checkouts: Sequence[Path], repeat: int) -> Iterator[tuple[Command, list[float]]]:
    """The commands, each with its least processor seconds in every checkout."""
    for command in commands:
        rounds = [[measured(command, checkout) for checkout in checkouts] for _ in range(repeat)]
        yield command, [min(column) for column in zip(*rounds, strict=True)]


def main() -> None:
    """Print the table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="another checkout, measured alternately")
    parser.add_argument("--only", default="", help="only commands whose name holds this")
    parser.add_argument("--repeat", type=int, default=1, help="times each command is measured (default: 1)")
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a command takes more than it may")
    options = parser.parse_args()
    checkouts = [path.resolve() for path in (ROOT, options.against) if path is not None]
    chosen = [command for command in COMMANDS if options.only in command.name]
    print(f"{'processor seconds':<22}{'here':>9}{'may be':>9}{'before' if options.against else '':>9}")
    found = {}
    for command, seconds in costs(chosen, checkouts, options.repeat):
        here, *before = seconds
        mark = "  more" if here > command.most else ""
        print(f"{command.name:<22}{here:>9.2f}{command.most:>9.1f}{''.join(f'{s:>9.2f}' for s in before)}{mark}")
        found[command.name] = {"here": here, "may_be": command.most, **({"before": before[0]} if before else {})}
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if options.check and any(cost["here"] > cost["may_be"] for cost in found.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
