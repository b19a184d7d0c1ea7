"""docs/performance.md and its plots, out of docs/performance.json."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpucheck.page import section
from lifealign_bench.util.files import write_text

__all__ = ["write_page"]

# Ratios to reach: ours against TRL, and against a padded loop with logits on completion tokens only.
TARGETS = {
    "hh-rlhf-helpful-base": (4.0, 2.0),
    "hh-rlhf-harmless-base": (4.0, 2.0),
    "safe-rlhf": (2.5, 1.3),
    "TruthfulQA": (2.0, 1.3),
}
MINI_TARGET = (1.5, 1.0)
Figures = Mapping[str, Any]


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median with minimum and maximum."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def ratios(slow: Sequence[float], fast: Sequence[float]) -> list[float]:
    """Pair by pair, as they were measured in turn."""
    return [a / b for a, b in zip(slow, fast, strict=True)]


def reached(found: float, wanted: float) -> str:
    """A target and whether it holds."""
    return f"{wanted:g}, {'reached' if found >= wanted else '**missed**'}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with the first column left and the rest right."""
    lines = ["| " + " | ".join(heads) + " |", "| --- |" + " ---: |" * (len(heads) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def training(found: Figures) -> str:
    """The training stage of every task."""
    rows = []
    for task, f in found.items():
        seconds = f["seconds"]
        trl, padded = ratios(seconds["TRL"], seconds["ours"]), ratios(seconds["padded"], seconds["ours"])
        to_trl, to_padded = TARGETS.get(task, MINI_TARGET)
        rows.append(
            (
                f"{task}, {f['pairs']} pairs",
                *(spread(seconds[name]) for name in ("ours", "padded", "TRL")),
                spread(trl),
                reached(statistics.median(trl), to_trl),
                spread(padded),
                reached(statistics.median(padded), to_padded),
                f.get("measured", "?"),
            )
        )
    heads = (
        "task",
        "ours, s",
        "padded loop, s",
        "TRL, s",
        "TRL / ours",
        "target",
        "padded / ours",
        "target",
        "measured",
    )
    tokens = ", ".join(f"{task} {f['tokens']:,} against {f['padded_tokens_at_least']:,}" for task, f in found.items())
    batches = ", ".join(f"{task} {f['trl_batch']}" for task, f in found.items())
    return (
        f"{table(heads, rows)}\n\nTokens computed, packed against padded within a pair: {tokens}. Pairs a pass of TRL, "
        f"the better of 2 and 4: {batches}."
    )


def scoring(found: Figures) -> str:
    """Scoring a stage."""
    rows = []
    for task, f in found.items():
        ours, plain = f["seconds"]["ours"], f["seconds"]["plain"]
        parts = [ratios([p[i] for p in plain], [o[i] for o in ours]) for i in (0, 1)]
        total = ratios([sum(p) for p in plain], [sum(o) for o in ours])
        rows.append(
            (
                f"{task}, {f['pairs']} pairs",
                spread([o[0] for o in ours]),
                spread([p[0] for p in plain]),
                spread(parts[0]),
                spread([o[1] for o in ours]),
                spread([p[1] for p in plain]),
                " and ".join(_speed(f.get("generated_tokens"), [s[1] for s in side]) for side in (ours, plain)),
                spread(parts[1]),
                spread(total),
                reached(statistics.median(total), 2.5),
            )
        )
    heads = (
        "task",
        "log-probabilities, ours, s",
        "plain, s",
        "ratio",
        "generation, ours, s",
        "plain, s",
        "tokens/s, ours and plain",
        "ratio",
        "ratio of both",
        "target",
    )
    return table(heads, rows)


def _speed(tokens: int | None, seconds: Sequence[float]) -> str:
    return "?" if tokens is None else f"{tokens / statistics.median(seconds):.0f}"


def whole_run(found: Figures) -> str:
    """Four-stage runs, and what ours consist of."""
    rows, shares = [], []
    for name, f in found.items():
        ours, stock = f["seconds"]["ours"], f["seconds"]["stock"]
        both = ratios(stock, ours)
        rows.append(
            (
                f"4 stages of {name}, {f['train_pairs']} training and {f['test_pairs']} test pairs a task",
                spread(ours, 1),
                spread(stock, 1),
                spread(both),
                reached(statistics.median(both), 3.0),
                f.get("measured", "?"),
            )
        )
        whole = sum(map(statistics.median, f["parts"].values()))
        parts = ", ".join(
            f"{part} {100 * statistics.median(seconds) / whole:.0f} %"
            for part, seconds in sorted(f["parts"].items(), key=lambda p: -statistics.median(p[1]))
            if statistics.median(seconds) > 0.01 * whole
        )
        shares.append(f"{name}: {parts}")
    return (
        f"{table(('run', 'ours, s', 'stock parts, s', 'stock / ours', 'target', 'measured'), rows)}\n\n"
        f"Where our seconds go: {'; '.join(shares)}."
    )


def peak_memory(found: Figures) -> str:
    """Peak memory of a stage."""
    rows = [(task, *(f"{f[side]:.2f}" for side in ("none", "ours", "TRL"))) for task, f in found.items()]
    return table(("task", "model loaded, GB", "our stage, GB", "TRL's stage, GB"), rows)


def operations(found: Figures) -> str:
    """FLOP/s of the training pass."""
    rows = []
    for task, f in found.items():
        seconds = statistics.median(f["forward_seconds"])
        rows.append(
            (
                f"{task}, {f['tokens']:,} tokens",
                spread(f["forward_seconds"]),
                spread(f["backward_seconds"]),
                f"{f['forward_flops'] / seconds / 1e9:.0f}",
                f"{f['peak_mlp'] / 1e9:.0f} and {f['peak_head'] / 1e9:.0f}",
                f"{100 * f['share_of_peak']:.0f} %",
                reached(f["share_of_peak"], 0.6),
                f"{100 * f['share_attention']:.0f} % and {100 * f['share_head']:.0f} %",
            )
        )
    heads = (
        "pass",
        "forward, s",
        "backward, s",
        "GFLOP/s, forward",
        "products: MLP and head, GFLOP/s",
        "of that peak",
        "target",
        "attention and head of the work",
    )
    return table(heads, rows)


def growth_fits(found: Figures) -> str:
    """Straight lines through the growth points, seconds against tokens (or against the axis)."""
    rows = []
    for axis, points in found.items():
        x = np.array([p["tokens"] if axis in ("pairs", "tasks") else p["value"] for p in points], dtype=float)
        y = np.array([p["seconds"] for p in points])
        slope, constant = np.polyfit(x, y, 1)
        rest = y - (slope * x + constant)
        fit = 1 - float((rest**2).sum() / ((y - y.mean()) ** 2).sum())
        unit = "token" if axis in ("pairs", "tasks") else {"rank": "rank", "vocabulary": "entry"}.get(axis, "token")
        rows.append(
            (
                axis,
                ", ".join(str(p["value"]) for p in points),
                ", ".join(f"{p['seconds']:.2f}" for p in points),
                ", ".join(f"{p['peak_gb']:.2f}" for p in points),
                f"{constant:.2f} s + {1e3 * slope:.3f} ms a {unit}",
                f"{fit:.3f}",
            )
        )
    return table(("axis", "values", "seconds", "peak, GB", "line", "R²"), rows)


def plot_growth(found: Figures, path: Path) -> None:
    """Seconds and memory against every axis."""
    import vl_convert

    drawn = {"seconds": ("seconds", "#1f5fa8", [1, 0]), "peak_gb": ("peak memory, GB", "#b04a1d", [5, 3])}
    panels = []
    for axis, points in found.items():
        title = {"tasks": "tasks (scored after each of as many stages)"}.get(axis, axis)
        x = {"field": "value", "type": "quantitative", "title": title, "axis": {"tickCount": 4}}
        layers = [
            {
                "mark": {"type": "line", "point": {"color": colour}, "color": colour, "strokeDash": dash},
                "encoding": {
                    "x": x,
                    "y": {"field": field, "type": "quantitative", "title": head, "axis": {"titleColor": colour}},
                },
            }
            for field, (head, colour, dash) in drawn.items()
        ]
        panels.append({"data": {"values": points}, "layer": layers, "resolve": {"scale": {"y": "independent"}}})
    spec = {"concat": panels, "columns": 3, "config": {"font": "Liberation Sans", "background": "white"}}
    path.write_text(vl_convert.vegalite_to_svg(spec) + "\n", encoding="utf-8")


def method_costs(found: Figures) -> str:
    """Seconds a step of every method, against plain DPO's in the same round."""
    rows = [
        (
            name,
            f["on"],
            spread(f["step"]),
            spread(f["against"]),
            spread(f["hooks"]),
            f"{f['state'] / 1e6:.2f}",
            f["measured"],
        )
        for name, f in sorted(found.items())
    ]
    heads = (
        *("method", "tasks of", "seconds per step", "relative to dpo", "seconds per stage in hooks"),
        *("MB kept after a stage", "measured"),
    )
    return table(heads, rows)


def groups(found: Figures) -> str:
    """A step of GRPO, whole and its two halves, and what memory it needs."""
    rows = []
    for name, f in found.items():
        ours, theirs = f["seconds"]["ours"], f["seconds"]["TRL"]
        whole = ratios([t[0] for t in theirs], [o[0] for o in ours])
        sampling = ratios([t[1] for t in theirs], [o[1] for o in ours])
        training = ratios([t[0] - t[1] for t in theirs], [o[0] - o[1] for o in ours])
        tokens = f"{min(f['prompts'])}-{max(f['prompts'])} and {f['response']}"
        peaks = f"{f['loaded_gb']:.2f} / {f['peak_gb']['ours']:.2f} / {f['peak_gb']['TRL']:.2f}"
        rows.append(
            (
                name,
                tokens,
                spread([o[0] for o in ours], 1),
                spread([t[0] for t in theirs], 1),
                spread(whole),
                reached(statistics.median(whole), 3.0),
                spread(sampling),
                spread(training),
                peaks,
            )
        )
    heads = (
        "prompts",
        "tokens of a prompt and of a response",
        "ours, s",
        "TRL, s",
        "TRL / ours",
        "target",
        "sampling",
        "training",
        "peak, GB: model loaded / ours / TRL",
    )
    return table(heads, rows)


def _where(part: Figures) -> str:
    hardware, git = part["hardware"], part["git"]
    commit = (git["commit"] or "no commit")[:12] + (" with changes" if git["dirty"] else "")
    versions = ", ".join(f"{name} {part['versions'][name]}" for name in ("torch", "transformers", "trl", "peft"))
    return (
        f"*{part['when'][:10]}, commit {commit}, {hardware['cores']} cores ({hardware['processor']}), "
        f"{hardware['memory_bytes'] / 2**30:.0f} GiB, {versions}.*"
    )


SECTIONS: tuple[tuple[str, str, Any, str], ...] = (
    (
        "train",
        "A training stage",
        training,
        "One stage of DPO (batch 8, LoRA r 8 on q and v, SmolLM2-135M, bfloat16, reference computed beforehand) by "
        "this package, by a padded loop that also takes logits on completion tokens only (two rows a pair, four "
        "pairs a pass), and by TRL's DPOTrainer (no activation checkpointing, no autocast).",
    ),
    (
        "memory",
        "Memory of a training stage",
        peak_memory,
        "Peak resident memory of a process that loads the model and trains one stage of 8 pairs.",
    ),
    (
        "groups",
        "Groups of sampled responses",
        groups,
        "One step of GRPO on SmolLM2-135M (4 prompts, 8 responses to each, LoRA r 8 on q and v, bfloat16, no "
        "divergence) by `grpo` and by TRL's GRPOTrainer (no activation checkpointing or autocast, a group a pass). One "
        "thread; processor seconds, since other programs ran beside. All responses are as long as they may be; prompts "
        "of `mini-detailed-long` are made long by other texts.",
    ),
    (
        "score",
        "Scoring a stage",
        scoring,
        "Ours: one packed pass by the policy (what the base model says is on disk since stage 0) and our generation. "
        "Plain: policy and base, two padded rows a pair, logits of all tokens; transformers' batched `generate`.",
    ),
    ("whole", "A whole run", whole_run, "Ours with an empty cache; stock parts: TRL's stages and the plain scoring."),
    (
        "flops",
        "Against the processor's peak",
        operations,
        "The forward pass of a training step (the head's gradient is made in it) and what plain products of the "
        "same shapes reach here.",
    ),
    (
        "growth",
        "Growth",
        growth_fits,
        "Forward and backward of synthetic pairs (8 pairs, prompt 96, completions 48, rank 8, one of them varied); "
        "`tasks`: scoring N tasks after each of N stages; `vocabulary`: a two-layer model.",
    ),
    (
        "methods",
        "What a method costs",
        method_costs,
        "The second stage of two tasks, 8 pairs each, 4 pairs a step; replayed pairs make more steps, not longer ones. "
        "What is sampled counts. On `mini` with two threads; on `forms` (short pairs, responses of 24 tokens at most) "
        "on one, in its seconds. Kept: the method's own state on disk, beside the adapter.",
    ),
)


def write_page(figures: Figures, folder: Path) -> None:
    """Write performance.md and, where growth was measured, performance-growth.svg into ``folder``."""
    parts = [
        "# Performance",
        "Made by `make bench` (`python benchmarks/measure.py`) from `docs/performance.json`. Compared things were "
        "measured in turn in one go. Shown are medians with minimum and maximum; ratios are pair by pair.",
    ]
    if "start" in figures:
        found = dict(figures["start"]["found"])
        if "demo" in figures:
            peak = figures["demo"]["found"]["peak_gb"]
            found[f"the demo, empty cache (peak {peak:.2f} GB)"] = figures["demo"]["found"]["seconds"]
        rows = [(what, spread(seconds), str(len(seconds))) for what, seconds in found.items()]
        parts += ["## Start-up", _where(figures["start"]), table(("command", "seconds", "runs"), rows)]
    for part, title, render, text in SECTIONS:
        if part in figures:
            parts += [f"## {title}", text, _where(figures[part]), render(figures[part]["found"])]
    if "growth" in figures:
        plot_growth(figures["growth"]["found"], folder / "performance-growth.svg")
        parts.append("![Seconds and memory as the work grows](performance-growth.svg)")
    checked = folder / "gpu-check.json"
    parts.append(section(json.loads(checked.read_text(encoding="utf-8")) if checked.is_file() else None))
    notes = folder / "performance-notes.md"
    if notes.is_file():
        parts.append(notes.read_text(encoding="utf-8").strip())
    write_text(folder / "performance.md", "\n\n".join(parts) + "\n")
