"""RunConfig: everything that determines a run, frozen, passed whole."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "PRESETS",
    "SECTIONS",
    "SUMMARIES",
    "AdapterConfig",
    "GenerationConfig",
    "JudgingConfig",
    "RewardModelConfig",
    "RunConfig",
    "SftConfig",
    "TrainingConfig",
    "TunedRate",
    "flat_levels",
    "opponent_name",
    "preset_rows",
    "safe_name",
]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainingConfig(_Frozen):
    """How a stage's preference phase is trained."""

    learning_rate: float = Field(5e-4, gt=0, description="peak learning rate of AdamW")
    epochs: int = Field(1, ge=1, description="passes over a stage's pairs")
    batch_size: int = Field(8, ge=1, description="pairs an optimizer step, over all processes")
    max_length: int = Field(512, ge=8, description="cut-off in tokens: prompt and one response")
    beta: float = Field(0.1, gt=0, description="strength of the implicit KL penalty of DPO")
    warmup_ratio: float = Field(0.1, ge=0, lt=1, description="share of the steps with a rising learning rate")
    scheduler: Literal["cosine", "linear", "constant_with_warmup"] = Field("cosine", description="shape after warm-up")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's decoupled weight decay")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    reference: Literal["base", "previous"] = Field(
        "base", description="reference policy: the base model, or the policy that the preference phase starts from"
    )
    checkpoint_steps: int = Field(20, ge=1, description="optimizer steps between two checkpoints in a stage")


class SftConfig(_Frozen):
    """What the supervised phase has of its own; the rest is as in the preference phase."""

    sft_learning_rate: float = Field(1e-4, gt=0, description="peak learning rate of the supervised phase")
    sft_epochs: int = Field(1, ge=1, description="passes over a stage's chosen responses in the supervised phase")


class AdapterConfig(_Frozen):
    """The LoRA adapter (Hu et al. 2021) that is trained on from stage to stage."""

    lora_r: int = Field(8, ge=1, description="rank")
    lora_alpha: float = Field(16, gt=0, description="scaling numerator: the update is alpha / r * B A")
    target_modules: tuple[str, ...] = Field(("q_proj", "v_proj"), min_length=1, description="adapted projections")


class GenerationConfig(_Frozen):
    """How responses are generated for reward and win-rate: always greedily."""

    max_new_tokens: int = Field(64, ge=1, description="longest response in tokens")
    generation_batch_size: int = Field(64, ge=1, description="prompts generated together")


class RewardModelConfig(_Frozen):
    """How a reward model reads, and how ``--reward trained`` makes one; the latter only matters then."""

    reward_max_length: int = Field(1024, ge=8, description="cut-off of the reward model in tokens: prompt and response")
    reward_learning_rate: float = Field(2e-4, gt=0, description="trained reward model: peak learning rate")
    reward_epochs: int = Field(1, ge=1, description="trained reward model: passes over the pooled training pairs")
    reward_batch_size: int = Field(8, ge=1, description="trained reward model: pairs an optimizer step")
    reward_lora_r: int = Field(8, ge=1, description="trained reward model: rank of its LoRA adapter")
    reward_dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="type of the reward model; auto: as it is saved, a trained one's the run's"
    )
    reward_device: str = Field("auto", description="where the reward model is: auto (where the run is), cpu or cuda")


class JudgingConfig(_Frozen):
    """How a judge is asked. What moves no answer (``_PRACTICAL``) is not part of a run's identity."""

    judge_max_tokens: int = Field(256, ge=1, description="longest answer of the judge in tokens")
    judge_temperature: float = Field(0.0, ge=0, description="sampling temperature of the judge")
    judge_timeout: float = Field(60.0, gt=0, description="seconds until a call of the judge is given up and repeated")
    judge_concurrency: int = Field(4, ge=1, description="calls of the judge at a time")
    judge_retries: int = Field(6, ge=0, description="how often a failed call of the judge is repeated")


SECTIONS: dict[str, type[BaseModel]] = {
    "training": TrainingConfig,
    "supervised": SftConfig,
    "adapter": AdapterConfig,
    "generation": GenerationConfig,
    "reward_models": RewardModelConfig,
    "judging": JudgingConfig,
}

# Settings that say where things lie or how patient the program is; they move no number.
_ELSEWHERE = {"out", "data_dir", "task_cards", "threads", "judge_url", "judge_budget", "report_to", "tuned", "clock"}

_PRACTICAL = {"judge_timeout", "judge_concurrency", "judge_retries"}


class TunedRate(_Frozen):
    """Where a method's learning rate comes from: the best of a grid on validation pairs, see ``tuning``.

    Args:
        setting: the setting that holds the rate, with its section.
        rates: the grid.
        chosen: the best of it.
        stream, model, seed: of the runs that were compared.
        validation: pairs a task that they were scored on, held out of training.
        score, criterion: what was compared.
        digest: SHA-256 (hex) of the file that holds the whole table.
    """

    setting: str
    rates: tuple[float, ...]
    chosen: float
    stream: str
    model: str
    seed: int
    validation: int
    score: str
    criterion: str
    digest: str


class RunConfig(_Frozen):
    """One (method, stream, model, seed) with all its settings.

    ``device`` and ``dtype`` may be ``auto`` until :func:`lifealign_bench.models.device.resolve_device` has run.
    ``out``, ``data_dir`` and ``task_cards`` say where things lie, ``threads`` moves the last bits, ``judge_url`` and
    ``judge_budget`` say where a judge is and how often it may be asked, ``report_to`` who else is told, ``tuned`` where
    the learning rate comes from; they are not part of :meth:`identity`. Nor is ``clock``, which matters through the
    tokens alone, and these are compared. A run that goes on keeps the threads and the clock that it began with.
    """

    method: str
    method_settings: dict[str, Any] = {}
    stream: str
    tasks: tuple[str, ...] = Field(min_length=1)
    model: str = "smollm2-135m"
    seed: int = Field(0, ge=0)
    preset: Literal["small", "paper"] = "small"
    train_limit: int | None = Field(None, ge=1, description="use only the first so many training pairs of a task")
    test_limit: int | None = Field(None, ge=1, description="use only the first so many test pairs of a task")
    validation: int | None = Field(
        None, ge=1, description="score so many pairs held out of each task's training file, not the test pairs"
    )
    evaluate: Literal["all", "seen", "last"] = Field(
        "all", description="score all tasks after every stage, only seen ones, or all after the last stage alone"
    )
    scorers: tuple[str, ...] = Field(("preference", "reward"), min_length=1)
    reward_model: str | None = Field(None, description="reward model: trained, or a name or folder")
    judge: str | None = Field(None, description="judge: server:MODEL, local:MODEL, reward or check")
    judge_url: str | None = Field(None, description="base URL of an OpenAI-compatible server")
    judge_budget: int | None = Field(None, ge=0, description="calls of the judge at most; none: no limit")
    opponents: tuple[str, ...] = Field(
        ("base",),
        min_length=1,
        description="judged against: base, previous, chosen or a run's folder",
    )
    abilities: tuple[str, ...] = Field((), description="tests of general ability: builtin, a set, or tasks of lm-eval")
    ability_stages: Literal["ends", "all"] = Field("ends", description="test them at stage 0 and the last, or all")
    token_budget: int | None = Field(
        None, ge=8, description="tokens a forward pass at most, prompts counted once; none: twice max_length"
    )
    sft: bool = Field(False, description="a supervised phase on the chosen responses before each preference phase")
    training: TrainingConfig = TrainingConfig()
    supervised: SftConfig = SftConfig()
    adapter: AdapterConfig = AdapterConfig()
    generation: GenerationConfig = GenerationConfig()
    reward_models: RewardModelConfig = RewardModelConfig()
    judging: JudgingConfig = JudgingConfig()
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    threads: int | None = Field(None, ge=1, description="threads of a run on a CPU; none: measured")
    report_to: tuple[str, ...] = Field((), description="trackers: tensorboard, wandb, trackio, mlflow")
    out: Path = Path("runs")
    data_dir: Path | None = None
    task_cards: dict[str, Path] = Field({}, description="where users' own task cards lie, by the task's name")
    trust_remote_code: bool = False
    tuned: TunedRate | None = Field(None, description="how the learning rate was chosen")
    clock: str | None = Field(None, description="what a chat template takes for now; none: the start of the run")

    def identity(self) -> dict[str, Any]:
        """The settings that can change a number, as plain JSON values."""
        content = self.model_dump(mode="json", exclude=_ELSEWHERE)
        # Another run is who it is, wherever its folder lies.
        content["opponents"] = [opponent_name(word) for word in self.opponents]
        if self.validation is None:  # a run that scores the test pairs is who it was before there was a choice
            del content["validation"]
        content["judging"] = {k: v for k, v in content["judging"].items() if k not in _PRACTICAL}
        return content

    def tokens_a_pass(self) -> int:
        """Tokens a forward pass at most; by default what holds any pair within the cut-off."""
        return self.token_budget or 2 * self.training.max_length

    def hash(self) -> str:
        """The first 16 hex digits of the SHA-256 of :meth:`identity`."""
        text = json.dumps(self.identity(), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def run_directory(self) -> Path:
        """``<out>/<stream>/<model>/<method>/seed-<n>``, with names made safe for a file system."""
        names = (self.stream, self.model, self.method_name)
        return self.out.joinpath(*map(safe_name, names), f"seed-{self.seed}")

    @property
    def method_name(self) -> str:
        """The method's name, also where it is a file."""
        return Path(self.method).stem if self.method.endswith(".py") else self.method

    @property
    def title(self) -> str:
        """The run in a few words."""
        return f"{self.method_name} on {self.stream}, {self.model}, seed {self.seed}"


def flat_levels(values: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Nested settings as one level of names: ``training.epochs``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flat_levels(value, f"{place}{key}.")
        else:
            flat[place + key] = value
    return flat


def opponent_name(word: str) -> str:
    """``base``, ``previous``, ``chosen``; of a run's folder ``<method>-seed-<n>``, or the name it has."""
    if word in ("base", "previous", "chosen"):
        return word
    whole = Path(word).expanduser().absolute()
    parts = (whole.parent.name, whole.name) if re.fullmatch(r"seed-\d+", whole.name) else (whole.name,)
    return (re.sub(r"[^A-Za-z0-9.+-]+", "-", "-".join(parts)).strip(".-") or "run")[:60]


def safe_name(name: str) -> str:
    """``name`` as one path component: other characters become ``-``, a long one ends in its hash."""
    text = "".join(c if c.isalnum() or c in "._-+," else "-" for c in name).strip(".-") or "unnamed"
    if len(text) <= 80:
        return text
    return f"{text[:60]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


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
