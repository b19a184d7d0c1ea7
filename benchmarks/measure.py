"""How fast this package is, measured side by side with stock parts on this machine; writes docs/performance.md.

    python benchmarks/measure.py                          everything (about an hour on two idle cores)
    python benchmarks/measure.py --part start,train       some parts; the others stay as they were measured
    python benchmarks/measure.py --page                   only write the page again from docs/performance.json

Compared things are measured in turn in one go; shown are medians with minimum and maximum, and ratios pair by pair.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # benchmarks/ is no installed package
PROGRAM = [sys.executable, "-m", "lifealign_bench"]
FIGURES = ROOT / "docs" / "performance.json"
MINI = ("mini-detailed", "mini-brief", "mini-direct", "mini-facts", "mini-refusal")
STAGE_PAIRS = 16  # two optimizer steps: a stage has more than one
REAL = ("hh-rlhf-helpful-base", "hh-rlhf-harmless-base", "safe-rlhf", "TruthfulQA")


def child(words: list[str], **environment: str) -> tuple[float, float, str]:
    """Seconds, peak resident memory in GB and output of a command in a process of its own."""
    with tempfile.TemporaryFile("w+") as output:
        clock = time.perf_counter()
        process = subprocess.Popen(
            words, cwd=ROOT, env={**os.environ, **environment}, stdout=output, stderr=subprocess.DEVNULL
        )
        watched, peak = psutil.Process(process.pid), 0
        while process.poll() is None:
            try:
                peak = max(peak, watched.memory_info().rss)
            except psutil.NoSuchProcess:
                break
            time.sleep(0.02)
        seconds = time.perf_counter() - clock
        if process.wait() != 0:
            raise SystemExit(f"{' '.join(words)} failed")
        output.seek(0)
        return seconds, peak / 1e9, output.read()


def code_state() -> dict[str, str | bool | None]:
    """The commit, and whether the code (not what this program writes) differs from it."""
    from lifealign_bench.runs.recording import git_state

    words = ["git", "status", "--porcelain", "--", "lifealign_bench", "methods", "tasks", "benchmarks"]
    changed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    return {"commit": git_state()["commit"], "dirty": bool(changed)}


def start(repeats: int) -> dict[str, Any]:
    """Start-up of the command line, and a whole run on the fakes."""
    found: dict[str, Any] = {}
    for word in ("--help", "list"):
        child([*PROGRAM, word])
        found[word] = [child([*PROGRAM, word])[0] for _ in range(repeats)]
    runs = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            words = [*PROGRAM, "run", "--model", "fake", "--stream", "fake", "--out", folder]
            runs.append(child(words, LIFEALIGN_BENCH_CACHE=str(Path(folder) / "cache")))
    found["run --model fake --stream fake"] = [seconds for seconds, _, _ in runs]
    return found


def demo(repeats: int) -> dict[str, Any]:
    """The demo with an empty cache, once."""
    with tempfile.TemporaryDirectory() as folder:
        words = [*PROGRAM, "run", "--method", "lifealign", "--stream", "mini", "--out", folder]
        seconds, memory, _ = child(words, LIFEALIGN_BENCH_CACHE=str(Path(folder) / "cache"))
    return {"seconds": [seconds], "peak_gb": memory}


def open_session(tasks: tuple[str, ...], train: int, test: int, new_tokens: int = 56) -> tuple[Any, str]:
    """A session on some tasks and the attention of its layout; None where the data is not available."""
    import torch

    from lifealign_bench.config import GenerationConfig, RunConfig, TrainingConfig
    from lifealign_bench.data.tasks import load_data
    from lifealign_bench.errors import BenchError
    from lifealign_bench.method import Method, MethodConfig
    from lifealign_bench.models.device import threads_to_use
    from lifealign_bench.runs.session import Session
    from lifealign_bench.runs.setup import resolved
    from lifealign_bench.util.progress import Progress

    torch.set_num_threads(threads_to_use(None))
    config = resolved(
        RunConfig(
            method="dpo",
            stream=",".join(tasks),
            tasks=tasks,
            train_limit=train,
            test_limit=test,
            training=TrainingConfig(batch_size=8),
            generation=GenerationConfig(max_new_tokens=new_tokens),
        )
    )
    try:
        data = load_data(config, Progress())
    except BenchError as error:
        print(error, file=sys.stderr)
        return None, ""
    session = Session.build(config, data, Method(MethodConfig()), Progress())
    return session, str(session.base.model.config._attn_implementation)


def train(repeats: int, tasks: tuple[str, ...] = (*REAL, *MINI)) -> dict[str, Any]:
    """A training stage of every task: ours, a padded loop, and TRL, in turn."""
    from benchmarks.contenders import TRAINING, train_trl

    found: dict[str, Any] = {}
    for task in tasks:
        session, attention = open_session((task,), STAGE_PAIRS, 2)
        if session is None:
            continue
        pairs = session.train[task]
        # The best of TRL's micro-batches for this task; the first try also warms up.
        tries = {batch: train_trl(session, attention, batch) for batch in (4, 2)}
        best = min(tries, key=lambda batch: tries[batch])
        sides: dict[str, Callable[[Any, str], float]] = {**TRAINING, "TRL": partial(train_trl, batch=best)}
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(repeats):
            for name, side in sides.items():
                seconds[name].append(side(session, attention))
        padded = sum(2 * (len(p.prompt) + max(len(p.chosen), len(p.rejected))) for p in pairs)
        found[task] = {
            "seconds": seconds,
            "pairs": len(pairs),
            "tokens": sum(p.tokens for p in pairs),
            "padded_tokens_at_least": padded,
            "trl_batch": best,
        }
        print(task, {name: round(min(s), 2) for name, s in seconds.items()}, file=sys.stderr)
    return found


def memory(repeats: int) -> dict[str, Any]:
    """Peak resident memory of one stage, every contender in a process of its own."""
    found: dict[str, Any] = {}
    for task in ("hh-rlhf-helpful-base", "mini-brief"):
        if open_session((task,), 2, 2)[0] is None:
            continue
        found[task] = {
            side: child([sys.executable, __file__, "--only", f"{side}:{task}"])[1] for side in ("none", "ours", "TRL")
        }
    return found


def only(what: str) -> None:
    """One contender's stage, for :func:`memory`."""
    from benchmarks.contenders import TRAINING

    side, _, task = what.partition(":")
    session, attention = open_session((task,), 8, 2)
    if side != "none":
        TRAINING[side](session, attention)


def score(repeats: int) -> dict[str, Any]:
    """Scoring a stage on all tasks of a stream: log-probabilities and generation, by us and by stock parts."""
    from benchmarks.contenders import SCORING

    found: dict[str, Any] = {}
    for name, tasks, test in (("mini, 5 tasks", MINI, 4), ("real data, 4 tasks", REAL, 2)):
        session, attention = open_session(tasks, 2, test)
        if session is None:
            continue
        seconds: dict[str, list[tuple[float, float]]] = {side: [] for side in SCORING}
        for _ in range(repeats):
            for side, score_stage in SCORING.items():
                seconds[side].append(score_stage(session, attention))
        prompts = [p.prompt for task in tasks for p in session.test[task]]
        generated = sum(len(ids) for ids in session.speaker.respond(prompts, [()] * len(prompts)))
        found[name] = {"seconds": seconds, "pairs": test * len(tasks), "generated_tokens": generated}
        print(name, seconds, file=sys.stderr)
    return found


WHOLE = {"mini": MINI[:4], "real data": REAL}


def whole(repeats: int, names: tuple[str, ...] = tuple(WHOLE)) -> dict[str, Any]:
    """Four-stage runs, small: ours with an empty cache, and the same made of stock parts."""
    found = {}
    for name in names:
        measured = _whole(WHOLE[name], repeats)
        if measured is not None:
            found[name] = measured
    return found


def _whole(tasks: tuple[str, ...], repeats: int) -> dict[str, Any] | None:
    from benchmarks.contenders import SCORING, TRAINING

    train_pairs, test_pairs, new_tokens = 8, 4, 32
    stock, ours = [], []
    parts: dict[str, list[float]] = {}
    sessions = [open_session((task,), train_pairs, test_pairs, new_tokens) for task in tasks]
    if any(session is None for session, _ in sessions):
        return None
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            words = [*PROGRAM, "run", "--method", "dpo", "--stream", ",".join(tasks), "--out", folder]
            words += ["--train-limit", str(train_pairs), "--test-limit", str(test_pairs)]
            words += ["--set", f"max_new_tokens={new_tokens}", "--scorer", "preference,overlap", "--json"]
            child(words, LIFEALIGN_BENCH_CACHE=str(Path(folder) / "cache"))
            file = next(Path(folder).rglob("record.json"))
            record = json.loads(file.read_text(encoding="utf-8"))
            # Only the stages' own work: what loading the model and the libraries takes is not compared.
            ours.append(sum(sum(stage["seconds"].values()) for stage in record["stages"]))
            for stage in record["stages"]:
                for part, seconds in stage["seconds"].items():
                    parts.setdefault(part, [0.0] * len(ours)).extend([0.0] * (len(ours) - len(parts[part])))
                    parts[part][-1] += seconds
        clock = 0.0
        for stage in range(len(tasks) + 1):
            if stage:
                session, attention = sessions[stage - 1]
                clock += TRAINING["TRL"](session, attention)
            clock += sum(sum(SCORING["plain"](session, attention)) for session, attention in sessions)
        stock.append(clock)
        print("whole run", tasks[0], ours[-1], stock[-1], file=sys.stderr)
    return {
        "seconds": {"ours": ours, "stock": stock},
        "parts": parts,
        "train_pairs": train_pairs,
        "test_pairs": test_pairs,
    }


def flops(repeats: int) -> dict[str, Any]:
    """Achieved FLOP/s of the training forward and backward pass against matrix products of the same shapes."""
    from benchmarks.flops import measure_pass

    found = {}
    for task in ("hh-rlhf-helpful-base", "mini-brief"):
        session, _ = open_session((task,), 8, 2)
        if session is not None:
            found[task] = measure_pass(session, task, repeats)
            print(task, found[task], file=sys.stderr)
    return found


def growth(repeats: int, axes: tuple[str, ...] = ()) -> dict[str, Any]:
    """Seconds and peak memory of one forward and backward pass as the work grows, each point in its own process."""
    from benchmarks.growth import POINTS

    found: dict[str, Any] = {}
    for axis in axes or POINTS:
        found[axis] = []
        for value in POINTS[axis]:
            words = [sys.executable, str(ROOT / "benchmarks" / "growth.py"), axis, str(value)]
            _, peak, text = child(words)
            point = json.loads(text.strip().splitlines()[-1])
            found[axis].append({"value": value, "peak_gb": peak, **point})
            print(axis, found[axis][-1], file=sys.stderr)
    return found


def methods(repeats: int, names: tuple[str, ...] = ()) -> dict[str, Any]:
    """What every method costs beside plain DPO."""
    from benchmarks.method_costs import measure_methods
    from lifealign_bench.methods import method_names

    return stamped(measure_methods(min(repeats, 3), names or tuple(method_names())))


def groups(repeats: int, names: tuple[str, ...] = ()) -> dict[str, Any]:
    """Sampling and training groups of responses, by us and by TRL, on one thread."""
    from benchmarks.grpo_speed import CASES, measure_groups

    return measure_groups(repeats, names or tuple(CASES))


PARTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "start": start,
    "demo": demo,
    "train": train,
    "memory": memory,
    "score": score,
    "whole": whole,
    "flops": flops,
    "growth": growth,
    "methods": methods,
    "groups": groups,
}


def stamped(found: dict[str, Any]) -> dict[str, Any]:
    """Rows that may be measured one by one, each with when and of which code it is."""
    when, commit = datetime.now(UTC).date().isoformat(), str(code_state()["commit"])[:12]
    return {name: {**row, "measured": f"{when}, {commit}"} for name, row in found.items()}


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", default=",".join(PARTS), help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--task", help="of train, whole, growth, groups, methods: these alone, the others stay")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--page", action="store_true", help="measure nothing, write the page again")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.only:
        only(words.only)
        return
    from benchmarks.performance_page import write_page
    from lifealign_bench.runs.recording import hardware, versions
    from lifealign_bench.util.files import write_json

    figures = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.is_file() else {}
    for part in [] if words.page else words.part.split(","):
        some = {"train": train, "whole": whole, "growth": growth, "groups": groups, "methods": methods}
        if words.task and part in some:
            measured = some[part](words.repeats, tuple(words.task.split(",")))
        else:
            measured = PARTS[part](words.repeats)
        before = figures.get(part, {}).get("found", {}) if words.task else {}
        found = before | (stamped(measured) if part in ("train", "whole") else measured)
        figures[part] = {
            "found": found,
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "git": code_state(),
            "versions": versions(),
            "hardware": hardware("cpu", "", ""),
        }
        write_json(FIGURES, figures)
    write_page(figures, ROOT / "docs")


if __name__ == "__main__":
    main()
