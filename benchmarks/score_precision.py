"""What scoring in bfloat16 costs and misses: seconds, and how far preference margins lie from those in float32.

    python benchmarks/score_precision.py                     dpo on two tasks of mini, the embedded model

One short run in bfloat16; its test pairs are then scored with the vocabulary's logits in bfloat16, with them in float32
(as scores are), and with the whole model in float32, base model and trained model each. Seconds of the first two are
taken in turn.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from lifealign_bench.config import RunConfig
from lifealign_bench.data.tasks import load_data
from lifealign_bench.models.encode import EncodedPair
from lifealign_bench.reporting.tables.grid import Grid, show_grid
from lifealign_bench.results.folder import RunFolder
from lifealign_bench.runs.run import run
from lifealign_bench.runs.session import Session
from lifealign_bench.runs.setup import make_method
from lifealign_bench.training.checkpoint import load_adapter
from lifealign_bench.util.progress import Progress
from lifealign_bench.util.text import number


def gained(session: Session, pairs: list[EncodedPair], *, precise: bool) -> tuple[np.ndarray, float]:
    """Preference margins (P,) in nats, and the seconds that the trained model took."""
    with session.model.disable_adapter():
        base = session.speaker.score(pairs, precise=precise)
    clock = time.perf_counter()
    policy = session.speaker.score(pairs, precise=precise)
    seconds = time.perf_counter() - clock
    own = policy - base
    return (own[:, 0] - own[:, 1]).double().numpy(), seconds


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="mini-detailed,mini-facts", help="trained on one after the other")
    parser.add_argument("--limit", type=int, default=96, help="training pairs of a task")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--repeats", type=int, default=3)
    words = parser.parse_args()
    tasks = tuple(words.tasks.split(","))
    with tempfile.TemporaryDirectory() as folder:
        config = RunConfig(
            method="dpo", stream=words.tasks, tasks=tasks, model=words.model, train_limit=words.limit,
            scorers=("preference",), dtype="bfloat16", device="cpu", out=Path(folder),
        )  # fmt: skip
        run(config)
        method = make_method(config)
        data = load_data(config, Progress())
        session = Session.build(config, data, method, Progress())
        pairs = [pair for own in session.test.values() for pair in own]
        tokens = np.array([len(p.chosen) + len(p.rejected) for p in pairs])
        rows: list[tuple[str, ...]] = []
        seconds: dict[bool, list[float]] = {True: [], False: []}
        found: dict[tuple[int, str], np.ndarray] = {}
        for stage in range(1, len(tasks) + 1):
            load_adapter(session.model, RunFolder(config.run_directory()).stage(stage).adapter)
            for _ in range(words.repeats):
                for precise in (False, True):
                    found[stage, "float32" if precise else "bfloat16"], took = gained(session, pairs, precise=precise)
                    seconds[precise].append(took)
        session.model.float()
        for stage in range(1, len(tasks) + 1):
            load_adapter(session.model, RunFolder(config.run_directory()).stage(stage).adapter)
            found[stage, "all"], _ = gained(session, pairs, precise=True)
            truth = found[stage, "all"]
            for head in ("bfloat16", "float32"):
                off = found[stage, head] - truth
                flipped = 100 * np.mean(np.sign(found[stage, head]) != np.sign(truth))
                scaled = np.sqrt(np.mean(off**2 / tokens))
                rows.append(
                    (str(stage), head, number(np.sqrt(np.mean(off**2)), 3), number(np.abs(off).max(), 3),
                     number(scaled, 4), number(flipped), number(float(np.median(np.abs(truth))), 2))
                )  # fmt: skip
    heads = (
        "after stage",
        "logits in",
        "rms off",
        "most off",
        "rms a root of tokens",
        "sides changed, %",
        "median margin",
    )
    console = Console(width=140)
    show_grid(console, Grid(f"Preference margins of {len(pairs)} test pairs against float32, nats", heads, tuple(rows)))
    ratio = [b / a for a, b in zip(seconds[False], seconds[True], strict=True)]
    console.print(
        f"Seconds of scoring: {np.median(seconds[False]):.2f} with logits in bfloat16, "
        f"{np.median(seconds[True]):.2f} in float32 ({np.median(ratio):.2f} times, {min(ratio):.2f} to "
        f"{max(ratio):.2f}); {torch.get_num_threads()} threads."
    )


if __name__ == "__main__":
    main()
