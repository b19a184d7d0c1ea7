"""Presets: named starting points for a run's settings; everything said beside them wins."""

from __future__ import annotations

from typing import Any

__all__ = ["PRESETS", "SUMMARIES", "preset_rows"]

# "small" is what config.py has as defaults. "paper" holds the published settings of LifeAlign (Li et al. 2026); replay,
# focal loss and consolidation have theirs as the methods' defaults. Ours, since nothing is published of them, are the
# type of the weights, the longest response and how many are generated together.
PRESETS: dict[str, dict[str, Any]] = {
    "small": {},
    "paper": {
        "model": "Qwen/Qwen2.5-7B-Instruct",
        "sft": True,
        "dtype": "bfloat16",
        "supervised": {"sft_learning_rate": 1e-4, "sft_epochs": 3},
        "training": {
            "learning_rate": 5e-6,
            "epochs": 3,
            "batch_size": 16,
            "max_length": 2048,
            "beta": 0.1,
            "warmup_ratio": 0.1,
            "scheduler": "cosine",
        },
        "adapter": {"lora_r": 8, "lora_alpha": 16.0, "target_modules": ("q_proj", "v_proj")},
        "generation": {"max_new_tokens": 512, "generation_batch_size": 32},
    },
}

SUMMARIES = {
    "small": "what a CPU can do: the embedded model, one epoch, and the defaults that a stream brings",
    "paper": "the published settings: a 7B model, a supervised phase, 3 epochs a phase; needs a GPU",
}

_OURS = ("dtype", "max_new_tokens", "generation_batch_size")


def preset_rows(name: str) -> tuple[tuple[str, str, str], ...]:
    """(setting, value, where it is from) of everything that a preset sets."""
    rows = []
    for key, value in PRESETS[name].items():
        settings = value if isinstance(value, dict) else {key: value}
        for setting, content in settings.items():
            text = ",".join(content) if isinstance(content, tuple) else str(content).lower()
            text = content if isinstance(content, str) else text
            rows.append((setting, text, "ours" if setting in _OURS else "published"))
    return tuple(rows)
