"""What a report costs: seconds and bytes of one run's, and a page of 1,000 records opened and sorted in Chromium.

    python -m benchmarks.report_speed [RUN ...]

Without a RUN a made-up one is taken that is as large as the paper's streams: six tasks of 1,000 test pairs with
responses. The browser's part is left out where there is no Chromium.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

from benchmarks.leaderboard_speed import make
from lifealign_bench.reporting.page.document import render
from lifealign_bench.reporting.page.report import ReportRequest, make_page
from lifealign_bench.results.metrics import summarize
from lifealign_bench.results.record import Record, write_record
from tests.browser import find_chromium, open_browser

RECORD = Path(__file__).resolve().parents[1] / "tests" / "records" / "v1.json"
TASKS = tuple(f"made-up-task-{i}" for i in range(1, 7))
SCORES = {
    "preference_accuracy": True,
    "preference_margin": False,
    "policy_margin": False,
    "reward": True,
    "win_rate": True,
}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("runs", nargs="*", type=Path)
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for run in words.runs or [_large_run(place / "run")]:
            _page([run], place / "run.html", "one run" if words.runs else "one made-up run, 6 x 1,000 pairs")
        count = make(place / "results", streams=20, methods=10, seeds=5)
        page = _page([place / "results"], place / "board.html", f"{count} records")
        if find_chromium() is None:
            print("No Chromium is here: opening and sorting were not timed.")
            return
        _browse(page)


def _page(runs: list[Path], out: Path, name: str) -> Path:
    begun, worked = time.perf_counter(), time.process_time()
    text = render(make_page(runs, ReportRequest(out)))
    out.write_text(text, encoding="utf-8")
    took, cpu = time.perf_counter() - begun, time.process_time() - worked
    print(f"{name}: {took:.1f} s ({cpu:.1f} s of CPU), {out.stat().st_size / 1e6:.2f} MB")
    return out


def _browse(page: Path) -> None:
    binary = find_chromium()
    assert binary is not None
    with open_browser(binary) as browser:
        begun = _browser_cpu()
        tab = browser.open(page)
        timing = "(() => { const t = performance.getEntriesByType('navigation')[0]; return t.loadEventEnd; })()"
        print(f"Chromium: opened in {tab.run(timing):.0f} ms ({_browser_cpu() - begun:.0f} ms of CPU, all processes)")
        # Sorted, laid out and painted: until the second frame after the click.
        frame = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        for column in (0, 5, 6, 12):
            button = f"document.querySelectorAll('#table-records thead button')[{column}]"
            clicked = f"(async () => {{ const t = performance.now(); {button}.click(); await {frame};"
            begun = _browser_cpu()
            taken = tab.run(f"{clicked} return performance.now() - t; }})()")
            cpu = _browser_cpu() - begun
            print(f"Chromium: sorted by {tab.run(f'{button}.textContent')} in {taken:.0f} ms ({cpu:.0f} ms of CPU)")
        if tab.errors():
            raise SystemExit(f"errors in the page: {tab.errors()}")


def _browser_cpu() -> float:
    """Milliseconds that this process's children and theirs have worked: what a busy machine does not change."""
    found = 0.0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            found += times.user + times.system
    return 1000 * found


def _record(values: dict[str, np.ndarray[Any, Any]], tasks: tuple[str, ...], **changes: Any) -> Record:
    """A record with these scores of shape (tasks, stages + 1, pairs)."""
    content = json.loads(RECORD.read_text(encoding="utf-8"))
    scores, metrics = {}, {}
    for name, array in values.items():
        scale = 100 if SCORES[name] else 1
        means = array.mean(axis=2).T * scale
        errors = array.std(axis=2, ddof=1).T * scale / math.sqrt(array.shape[2])
        sizes = [[array.shape[2]] * len(tasks)] * (len(tasks) + 1)
        scores[name] = {"percent": SCORES[name], "value": means.tolist(), "standard_error": errors.tolist(), "n": sizes}
        metrics[name] = {k: None if math.isnan(v) else v for k, v in summarize(means).items()}
    stage = content["stages"][1]
    content |= {
        "config": content["config"] | {"tasks": list(tasks)} | changes,
        "method": content["method"] | {"name": changes.get("method", "dpo")},
        "data": dict.fromkeys(tasks, content["data"]["fake-upper"]),
        "stages": [stage | {"index": i, "tasks": [t] if t else []} for i, t in enumerate(("", *tasks))],
        "scores": scores,
        "metrics": metrics,
    }
    return Record.model_validate(content)


def _large_run(folder: Path, pairs: int = 1000, words: int = 60) -> Path:
    generator = np.random.default_rng(0)
    shape = (len(TASKS), len(TASKS) + 1, pairs)
    margins = generator.normal(0.5, 1, shape)
    values = {
        "preference_accuracy": (margins > 0).astype(float),
        "preference_margin": margins,
        "policy_margin": generator.normal(0, 1, shape),
        "reward": generator.random(shape),
        "win_rate": generator.integers(0, 3, shape) / 2,
    }
    for stage in range(len(TASKS) + 1):
        place = folder / f"stage-{stage}"
        place.mkdir(parents=True)
        frames, lines = [], []
        for j, task in enumerate(TASKS):
            ids = [f"{task}/test/{i}" for i in range(pairs)]
            frames.append(pd.DataFrame({"task": task, "pair_id": ids} | {k: v[j, stage] for k, v in values.items()}))
            for pair in ids:
                said = " ".join(f"word{n}" for n in generator.integers(0, 5000, words))
                lines.append(json.dumps({"task": task, "pair_id": pair, "response": said}))
        pd.concat(frames).to_parquet(place / "scores.parquet", index=False)
        (place / "generations.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_record(folder / "record.json", _record(values, TASKS, stream="made-up", method="dpo"))
    return folder


if __name__ == "__main__":
    main()
