"""At the limits: out of memory halves, a run that was stopped ends as one that was not, several runs share a GPU."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpucheck.bench import DIALOGUE, SMALL, Bench
from benchmarks.gpucheck.laying import set_up
from benchmarks.gpucheck.part import Findings, is_here
from benchmarks.gpucheck.stages import renew, speaker_of, trained_here
from lifealign_bench.config import GenerationConfig, RunConfig, TrainingConfig
from lifealign_bench.models import logprobs
from lifealign_bench.models.logprobs import Rows, lay_out, pair_log_probs, score_pairs
from lifealign_bench.results.record import Record, read_record

ROOT = Path(__file__).resolve().parents[2]
# Nats, percent or loss that a continued run may be off by, where kernels are not asked to be deterministic.
CONTINUED = 0.05


@contextlib.contextmanager
def short_of_memory(bench: Bench, most: int, room: float) -> Iterator[None]:
    """Within, passes of more than about ``most`` pairs run out of memory.

    Args:
        room: GiB beside what is allocated; on a processor passes are counted instead.
    """
    if bench.on_gpu:
        bench.free()
        total = torch.cuda.get_device_properties(bench.device).total_memory
        share = (torch.cuda.memory_allocated(bench.device) + room * 2**30) / total
        torch.cuda.set_per_process_memory_fraction(min(1.0, share))
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
            bench.free()
        return
    original = logprobs.lay_out

    def limited(pairs: Sequence[Any], pad_id: int, layout: Any) -> Rows:
        if len(pairs) > most:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return original(pairs, pad_id, layout)

    places: list[Any] = [logprobs]
    if "lifealign_bench.training.trainer" in sys.modules:
        places.append(sys.modules["lifealign_bench.training.trainer"])
    for place in places:
        place.lay_out = limited
    try:
        yield
    finally:
        for place in places:
            place.lay_out = original


def memory(bench: Bench, findings: Findings) -> None:
    """Scoring and training go on in halves, say so, and give the same."""
    base = bench.base(SMALL, torch.float32, wide=True)
    model = bench.adapted(base, moved=True)
    set_up(base.model, "mask")
    pairs = bench.pairs(8 if bench.tiny else 64, DIALOGUE, seed=6)
    budget = 10**5 if bench.tiny else 32768

    def score(notice: Any = lambda text: None) -> torch.Tensor:
        given = {"pad_id": 0, "layout": "mask", "device": bench.device, "notice": notice}
        return score_pairs(model, pairs, token_budget=budget, **given)

    whole = score()
    peak = bench.peak(score) or 0.0
    used = torch.cuda.memory_allocated(bench.device) / 2**30 if bench.on_gpu else 0.0
    told: list[str] = []
    with short_of_memory(bench, 3, 0.6 * (peak - used)):
        halved = score(told.append)
    findings.truth("scoring that runs out of memory is taken in halves and says so", bool(told), f"{len(told)} times")
    findings.check("scores in halves, nats from those in one", float((halved - whole).abs().max()), 0.01)
    if not is_here("trl"):
        findings.say("TRL is not here: training that runs out of memory is left out.")
        return
    speaker = speaker_of(bench, base, renew(bench, base, model), "mask", budget)
    needed = bench.peak(lambda: _backward(bench, speaker.model, pairs)) or 0.0
    told.clear()
    with short_of_memory(bench, 3, 0.6 * (needed - used)):
        trained_here(bench, speaker, pairs, told.append)
    findings.truth("training that runs out of memory halves its passes and says so", bool(told), f"{len(told)} times")


def _backward(bench: Bench, model: torch.nn.Module, pairs: Sequence[Any]) -> None:
    torch.autograd.backward(pair_log_probs(model, lay_out(pairs[:16], 0, "mask").to(bench.device)).sum())
    model.zero_grad()


def short_run(bench: Bench, model: str, out: Path, **more: Any) -> RunConfig:
    """A run of two small stages on the check's device, in float32."""
    return RunConfig(
        **{
            **{"method": "replay", "stream": "fake", "tasks": ("fake-upper", "fake-lower"), "model": model},
            **{"device": "cuda" if bench.on_gpu else "cpu", "dtype": "float32", "out": out},
            **{"train_limit": 8, "test_limit": 4, "scorers": ("preference", "reward")},
            "training": TrainingConfig(learning_rate=1e-3, batch_size=4, checkpoint_steps=1),
            "generation": GenerationConfig(max_new_tokens=4),
            **more,
        }
    )


def model_folder(bench: Bench, folder: Path) -> str:
    """What ``--model`` is given: the fake model on a processor, else random weights of a true shape on disk."""
    if bench.tiny:
        return "fake"
    base = bench.base(SMALL, torch.float32)
    base.model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    return str(folder)


def numbers_of(record: Record) -> list[float]:
    """All losses and scores of a record."""
    losses = [stage.final_loss for stage in record.stages if stage.final_loss is not None]
    scores = [record.scores[name].array().ravel() for name in sorted(record.scores)]
    return [*losses, *(float(value) for row in scores for value in row if value == value)]


def resume(bench: Bench, findings: Findings) -> None:
    """A run that is stopped after every second question, and continued, against one that is not."""
    with tempfile.TemporaryDirectory() as place:
        model = model_folder(bench, Path(place) / "model")
        for exact in (False, True):
            torch.use_deterministic_algorithms(exact)
            try:
                apart, stops = _continued(bench, model, Path(place) / str(exact))
            finally:
                torch.use_deterministic_algorithms(False)
            kind = "with deterministic kernels" if exact else "as it is"
            findings.truth(f"{kind}: it was stopped and went on", stops > 1, f"{stops} times")
            findings.check(f"{kind}: losses and scores differ", apart, 0.0 if exact else CONTINUED)


def _continued(bench: Bench, model: str, place: Path) -> tuple[float, int]:
    from lifealign_bench.errors import Interrupted
    from lifealign_bench.runs.run import run

    whole = run(short_run(bench, model, place / "whole"))
    stops = 0
    while True:
        left = [3]

        def stop(left: list[int] = left) -> bool:
            left[0] -= 1
            return left[0] < 0

        try:
            broken = run(short_run(bench, model, place / "broken"), stopped=stop)
            break
        except Interrupted:
            stops += 1
    pairs = zip(numbers_of(whole), numbers_of(broken), strict=True)
    return max((abs(a - b) for a, b in pairs), default=float("nan")), stops


def several(bench: Bench, findings: Findings) -> None:
    """Runs in processes of their own, one after the other and at a time: the same numbers, and what is gained."""
    count = 2 if bench.tiny else 3
    with tempfile.TemporaryDirectory() as place:
        model = model_folder(bench, Path(place) / "model")
        alone = _seconds(bench, model, Path(place) / "alone", 1)
        together = _seconds(bench, model, Path(place) / "together", count)
        found = [_record(Path(place) / kind, 0) for kind in ("alone", "together")]
    findings.row(
        {
            **{"runs at a time": count, "seconds of one": alone, "seconds of all": together},
            "times the runs an hour": count * alone / together,
        }
    )
    findings.check(
        "a run beside others ends elsewhere",
        max(abs(a - b) for a, b in zip(*map(numbers_of, found), strict=True)),
        0.0 if not bench.on_gpu else CONTINUED,
    )


def _seconds(bench: Bench, model: str, out: Path, count: int) -> float:
    """Of ``count`` processes that begin together, each with a seed of its own."""
    words = ["run", "--method", "dpo", "--stream", "fake", "--model", model, "--dtype", "float32", "--limit", "8"]
    words += ["--device", "cuda" if bench.on_gpu else "cpu", "--scorer", "preference"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LIFEALIGN_BENCH_CACHE": str(out / "cache")}
    clock = time.perf_counter()
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "lifealign_bench", *words, "--seed", str(seed), "--out", str(out / str(seed))],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for seed in range(count)
    ]
    for process in started:
        _, said = process.communicate()
        if process.returncode:
            raise RuntimeError(said.decode(errors="replace").strip()[-300:])
    return time.perf_counter() - clock


def _record(out: Path, seed: int) -> Record:
    (file,) = (out / str(seed)).rglob("record.json")
    return read_record(file)
