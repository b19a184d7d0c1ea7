"""What ``--dry-run`` foresees of a run's memory, against the peak of the run itself on this CPU.

    python benchmarks/memory.py [--only WORD] [--out docs/memory.json]

Three shapes with random weights and the embedded tokenizer, each as it is, with activation checkpointing and in four
bits; every run is a process of its own, whose peak is what the operating system says. Ends with 1 where one of them
is more than 15 % off.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from lifealign_bench.experiments.estimate import GPUS
from lifealign_bench.experiments.plan import make_plan
from lifealign_bench.experiments.request import Words, build_configs
from lifealign_bench.models.load import wheel_folder
from lifealign_bench.models.wheel import EMBEDDED
from lifealign_bench.results.record import read_record

BOUND = 0.15
_COMMON = {"vocab_size": 49152, "max_position_embeddings": 4096, "tie_word_embeddings": True}
SHAPES = {
    "wide": (LlamaForCausalLM, LlamaConfig, (512, 2048, 8, 8, 4)),
    "qwen": (Qwen2ForCausalLM, Qwen2Config, (768, 3072, 6, 12, 2)),
    "deep": (LlamaForCausalLM, LlamaConfig, (384, 1024, 20, 6, 6)),
}
WAYS = {"plain": (), "again": ("--activation-checkpointing",), "nf4": ("--quantization", "nf4")}


def make_model(name: str, folder: Path) -> None:
    """A model of a shape with random weights, as a folder."""
    cls, settings, (hidden, intermediate, layers, heads, kv) = SHAPES[name]
    config = settings(
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv,
        **_COMMON,
    )
    tokenizer = AutoTokenizer.from_pretrained(wheel_folder(EMBEDDED))
    torch.manual_seed(0)
    model = cls(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_task(folder: Path) -> Path:
    """A card of four pairs of about 800 tokens each."""
    draw = random.Random(0)
    words = ("river", "stone", "quiet", "garden", "letter", "window", "bridge", "winter", "paper", "candle")

    def text(count: int) -> str:
        return " ".join(draw.choice(words) for _ in range(count))

    rows = [{"prompt": text(180), "chosen": text(300), "rejected": text(300)} for _ in range(4)]
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    card = folder / "long.yaml"
    card.write_text("name: long\ntitle: long\nsource: {type: file, train: train.jsonl, test: test.jsonl}\n")
    return card


def measured(words: Sequence[str], out: Path) -> int:
    """Peak resident bytes of a run in a process of its own."""
    command = [sys.executable, "-m", "lifealign_bench", "run", *words, "--out", str(out), "--quiet"]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return read_record(next(out.rglob("record.json"))).peak_memory_bytes


def foreseen(words: Sequence[str]) -> tuple[int, dict[str, int]]:
    """What the plan says, and its parts."""
    model, card, *more = words
    del more
    config = build_configs(
        Words(
            method=("dpo",),
            stream=(card,),
            model=model,
            limit=2,
            device="cpu",
            dtype="float32",
            scorers=("preference",),
            assignments=("batch_size=2", "max_length=1024", "token_budget=1700"),
            quantization="nf4" if "nf4" in words else None,
            activation_checkpointing="--activation-checkpointing" in words,
        )
    ).configs[0]
    memory = make_plan(config, GPUS["H100"]).here.memory
    return memory.peak, vars(memory)


def main() -> int:
    """Measure, show, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="shapes and ways whose name holds this, like qwen or wide/nf4")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        card = make_task(folder)
        asked_for = [(shape, way) for way in WAYS for shape in SHAPES if asked.only in f"{shape}/{way}"]
        for shape in {shape for shape, _ in asked_for}:
            make_model(shape, folder / shape)
        for shape, way in asked_for:
            words = ["--model", str(folder / shape), "--stream", str(card), "--method", "dpo", *WAYS[way]]
            words += ["--limit", "2", "--device", "cpu", "--dtype", "float32", "--scorer", "preference"]
            words += ["--set", "batch_size=2", "--set", "max_length=1024", "--set", "token_budget=1700"]
            said, parts = foreseen([str(folder / shape), str(card), *WAYS[way]])
            peak = measured(words, folder / f"{shape}-{way}")
            off = said / peak - 1
            found.append({"shape": shape, "way": way, "foreseen": said, "measured": peak, "off": off, **parts})
            print(f"{shape}/{way}: foreseen {said / 2**20:,.0f} MiB, measured {peak / 2**20:,.0f} MiB, {off:+.1%}")
            print("   ", {name: f"{value / 2**20:,.0f}" for name, value in parts.items()}, flush=True)
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=1) + "\n")
    return int(any(abs(entry["off"]) > BOUND for entry in found))


if __name__ == "__main__":
    sys.exit(main())
