"""Whole runs in every way that needs less memory or generates otherwise: whether they end, in the same numbers, and
within the memory that their own dry run foresees."""

from __future__ import annotations

import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.gpucheck.bench import Bench
from benchmarks.gpucheck.foreseen import OFF, gpu_here
from benchmarks.gpucheck.limits import CONTINUED, model_folder, numbers_of
from benchmarks.gpucheck.part import Findings, is_here
from lifealign_bench.config import RunConfig
from lifealign_bench.errors import is_out_of_memory
from lifealign_bench.experiments.estimate import GPUS
from lifealign_bench.experiments.plan import make_plan
from lifealign_bench.experiments.request import Words, build_configs
from lifealign_bench.results.record import Record

WAYS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "--activation-checkpointing": {"activation_checkpointing": True},
    "--generation continuous": {"generation_engine": "continuous"},
    "--quantization nf4": {"quantization": "nf4"},
}


def ways(bench: Bench, findings: Findings) -> None:
    """One stage of long pairs, in float32."""
    from lifealign_bench.runs.run import run

    with tempfile.TemporaryDirectory() as place:
        model = model_folder(bench, Path(place) / "model")
        card = make_task(Path(place), 40 if bench.tiny else 1000)
        plain: Record | None = None
        for way, changes in WAYS.items():
            if "quantization" in changes and not is_here("bitsandbytes"):
                findings.say("bitsandbytes is not here: four bits are left out.")
                continue
            config = asked(bench, model, card, Path(place) / way.replace(" ", "-"), changes)
            plan = make_plan(config, gpu_here(bench) or GPUS["H200"]).here
            records: list[Record] = []
            clock = time.perf_counter()
            try:
                peak = bench.peak(lambda config=config, records=records: records.append(run(config)))  # type: ignore[misc]
            except Exception as error:  # noqa: BLE001 - what one way does not bear, the others do
                bench.free()
                if is_out_of_memory(error):
                    findings.say(f"{way}: it runs out of memory.")
                else:
                    findings.truth(f"{way}: a run ends", False, f"{type(error).__name__}: {error}"[:300])
                continue
            seconds = time.perf_counter() - clock
            taken = None if peak is None else peak + bench.context() / 2**30
            said = plan.memory.peak / 2**30
            findings.row(
                {
                    **{"way": way, "seconds": seconds, "foreseen peak, GiB": said, "measured peak, GiB": taken},
                    "off": said / taken - 1 if taken else None,
                }
            )
            # Continuous batching takes what memory is free, so that there is nothing to foresee.
            if taken and "generation_engine" not in changes:
                findings.check(f"{way}: the foreseen peak of a run is off by a share", abs(said / taken - 1), OFF)
            (record,) = records
            findings.truth(f"{way}: a run ends", record.status == "complete", record.status)
            if plain is None:
                plain = record
            elif "quantization" not in changes:
                pairs = zip(numbers_of(plain), numbers_of(record), strict=True)
                findings.check(f"{way}: losses and scores differ", max(abs(a - b) for a, b in pairs), CONTINUED)
            bench.free()


def asked(bench: Bench, model: str, card: Path, out: Path, changes: dict[str, Any]) -> RunConfig:
    """The run, as the command line would have it."""
    most = 128 if bench.tiny else 2048
    return build_configs(
        Words(
            method=("dpo",),
            stream=(str(card),),
            model=model,
            device="cuda" if bench.on_gpu else "cpu",
            dtype="float32",
            scorers=("preference", "distance"),
            sft=False,
            out=out,
            assignments=("batch_size=2", f"max_length={most}", f"token_budget={2 * most}", "max_new_tokens=8"),
            **changes,
        )
    ).configs[0]


def make_task(folder: Path, letters: int) -> Path:
    """A card of four pairs, of so many letters for prompt and response together: a token each to the tokenizer here."""
    draw = random.Random(0)

    def text() -> str:
        return "".join(draw.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(letters // 2))

    rows = [{"prompt": text(), "chosen": text(), "rejected": text()} for _ in range(4)]
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    card = folder / "long.yaml"
    card.write_text("name: long\ntitle: long\nsource: {type: file, train: train.jsonl, test: test.jsonl}\n")
    return card
