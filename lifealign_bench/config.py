"""RunConfig: everything that determines a run, frozen, passed whole."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

__all__ = [
    "PRESETS",
    "SECTIONS",
    "AdapterConfig",
    "GenerationConfig",
    "JudgingConfig",
    "RewardModelConfig",
    "RunConfig",
    "Setting",
    "SftConfig",
    "TrainingConfig",
    "TunedRate",
    "opponent_name",
    "option_name",
    "safe_name",
    "setting_at",
    "settings_of",
]


@dataclass(frozen=True)
class Setting:
    """What else there is to know about a setting of a run. Its field carries it; flags, ``--set``, config files, dumps,
    ``show settings``, identity and comparison follow from it.

    Args:
        flag: its option with other spellings of it, e.g. ``--method -m``; empty: there is none, ``--set`` says it.
        panel: where its option stands in the help.
        help: of its option; empty: what the field is described as, and its default.
        metavar: what its option's value is called in the help; empty: by its type.
        envvar: an environment variable that says it too.
        by_set: ``--set`` takes it although it has a flag.
        several: a command may name several values, each of which makes runs of its own.
        zero_is_none: 0 stands for None where a user says it.
        asked: a user says it; else it follows from what is said.
        unit: of its value.
        aka: what other programs call it, for the answer to who says that.
        identity: whether it is part of who a run is; ``changed``: only where it is not the default, so that runs from
            before there was the setting stay who they were.
        compare: of runs that differ in it, ``never``: they are not compared; ``judged``: they are but in what a judge
            or a reward model says; ``rate``: they are, since each method may have its own; ``free``: they are.
        scoring: it says how a model is scored and nothing of how it is trained.
    """

    flag: str = ""
    panel: str = "Settings"
    help: str = ""
    metavar: str = ""
    envvar: str = ""
    by_set: bool = False
    several: bool = False
    zero_is_none: bool = False
    asked: bool = True
    unit: str = ""
    aka: tuple[str, ...] = ()
    identity: bool | Literal["changed"] = True
    compare: Literal["never", "judged", "rate", "free"] = "never"
    scoring: bool = False

    @property
    def option(self) -> str:
        """The option's first name, without ``--no-``: ``--method``; empty where there is none."""
        return self.flag.partition(" ")[0].partition("/")[0]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainingConfig(_Frozen):
    """How a stage's preference phase is trained."""

    learning_rate: Annotated[float, Setting(compare="rate", aka=("lr",))] = Field(
        5e-4, gt=0, description="peak learning rate of AdamW"
    )
    epochs: Annotated[int, Setting(unit="passes", aka=("num_train_epochs", "num_epochs", "n_epochs"))] = Field(
        1, ge=1, description="passes over a stage's pairs"
    )
    batch_size: Annotated[
        int, Setting(unit="pairs", aka=("per_device_train_batch_size", "train_batch_size", "global_batch_size"))
    ] = Field(8, ge=1, description="pairs per optimizer step, over all processes")
    max_length: Annotated[
        int, Setting(unit="tokens", aka=("max_seq_length", "max_seq_len", "cutoff_len", "context_length"))
    ] = Field(512, ge=8, description="cut-off in tokens: prompt and one response")
    beta: float = Field(0.1, gt=0, description="strength of the implicit KL penalty of DPO")
    warmup_ratio: Annotated[float, Setting(unit="share")] = Field(
        0.1, ge=0, lt=1, description="share of the steps with a rising learning rate"
    )
    scheduler: Annotated[
        Literal["cosine", "linear", "constant_with_warmup"], Setting(aka=("lr_scheduler_type", "lr_scheduler"))
    ] = Field("cosine", description="shape after warm-up")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's decoupled weight decay")
    max_grad_norm: Annotated[float, Setting(aka=("grad_clip", "gradient_clipping", "clip_grad_norm"))] = Field(
        1.0, gt=0, description="gradients are clipped to this norm"
    )
    reference: Literal["base", "previous"] = Field(
        "base", description="reference policy: the base model, or the policy that the preference phase starts from"
    )
    checkpoint_steps: Annotated[int, Setting(unit="steps", compare="free", aka=("save_steps",))] = Field(
        20, ge=1, description="optimizer steps between two checkpoints in a stage"
    )


class SftConfig(_Frozen):
    """The supervised phase's own settings; all others are those of the preference phase."""

    sft_learning_rate: Annotated[float, Setting(compare="rate", aka=("sft_lr",))] = Field(
        1e-4, gt=0, description="peak learning rate of the supervised phase"
    )
    sft_epochs: Annotated[int, Setting(unit="passes")] = Field(
        1, ge=1, description="passes over a stage's chosen responses in the supervised phase"
    )


class AdapterConfig(_Frozen):
    """The LoRA adapter (Hu et al. 2021) that is trained on from stage to stage."""

    lora_r: Annotated[int, Setting(aka=("lora_rank", "rank"))] = Field(8, ge=1, description="rank")
    lora_alpha: float = Field(16, gt=0, description="scaling numerator: the update is alpha / r * B A")
    target_modules: Annotated[tuple[str, ...], Setting(aka=("lora_target_modules", "lora_target"))] = Field(
        ("q_proj", "v_proj"), min_length=1, description="adapted projections"
    )


class GenerationConfig(_Frozen):
    """How responses are generated for reward and win-rate: always greedily."""

    max_new_tokens: Annotated[int, Setting(unit="tokens")] = Field(64, ge=1, description="longest response in tokens")
    generation_batch_size: Annotated[
        int, Setting(unit="prompts", compare="free", aka=("per_device_eval_batch_size", "eval_batch_size"))
    ] = Field(64, ge=1, description="prompts generated together")


class RewardModelConfig(_Frozen):
    """How a reward model reads, and how ``--reward trained`` makes one; the latter only matters then."""

    reward_max_length: Annotated[int, Setting(unit="tokens")] = Field(
        1024, ge=8, description="cut-off of the reward model in tokens: prompt and response"
    )
    reward_learning_rate: Annotated[float, Setting(aka=("reward_lr",))] = Field(
        2e-4, gt=0, description="trained reward model: peak learning rate"
    )
    reward_epochs: Annotated[int, Setting(unit="passes")] = Field(
        1, ge=1, description="trained reward model: passes over the pooled training pairs"
    )
    reward_batch_size: Annotated[int, Setting(unit="pairs")] = Field(
        8, ge=1, description="trained reward model: pairs per optimizer step"
    )
    reward_lora_r: int = Field(8, ge=1, description="trained reward model: rank of its LoRA adapter")
    reward_dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="type of the reward model; auto: as it is saved, for a trained one the run's"
    )
    reward_device: str = Field("auto", description="where the reward model runs: auto (as the run), cpu or cuda")


class JudgingConfig(_Frozen):
    """How a judge is asked. What does not change an answer is not part of a run's identity."""

    judge_max_tokens: Annotated[int, Setting(unit="tokens")] = Field(
        256, ge=1, description="longest answer of the judge in tokens"
    )
    judge_temperature: float = Field(0.0, ge=0, description="sampling temperature of the judge")
    judge_timeout: Annotated[float, Setting(unit="seconds", identity=False)] = Field(
        60.0, gt=0, description="seconds until a call of the judge is given up and repeated"
    )
    judge_concurrency: Annotated[int, Setting(unit="calls", identity=False)] = Field(
        4, ge=1, description="concurrent calls of the judge"
    )
    judge_retries: Annotated[int, Setting(unit="calls", identity=False)] = Field(
        6, ge=0, description="how often a failed call of the judge is repeated"
    )


SECTIONS: dict[str, type[BaseModel]] = {
    "training": TrainingConfig,
    "supervised": SftConfig,
    "adapter": AdapterConfig,
    "generation": GenerationConfig,
    "reward_models": RewardModelConfig,
    "judging": JudgingConfig,
}


class TunedRate(_Frozen):
    """Where a method's tuned settings come from: the best of some trials on validation pairs, see ``tuning``.

    Args:
        setting: the setting that holds the learning rate, with its section.
        rates: those that were tried.
        chosen: the rate that was taken.
        settings: everything that was taken, the rate included. Empty in runs of before more than the rate was tuned.
        given: settings of the method, not its defaults, that all of its trials had.
        stream, model, seed, seeds: of the runs that were compared; ``seed`` is the first.
        validation: pairs a task that they were scored on, held out of training.
        score, criterion: what was compared.
        digest: SHA-256 (hex) of the file that holds the whole table.
        rule: how it was chosen, ``tuning.RULE``; 1 in runs of before there was more than one.
        guards: those that kept a better trial from being taken.
        without_guards: the settings of that trial.
        trials: that every method of the table has; 0 where that is not known.
    """

    setting: str
    rates: tuple[float, ...]
    chosen: float
    settings: dict[str, float] = {}
    given: dict[str, JsonValue] = {}
    stream: str
    model: str
    seed: int
    seeds: tuple[int, ...] = ()
    validation: int
    score: str
    criterion: str
    digest: str
    rule: int = 1
    guards: tuple[str, ...] = ()
    without_guards: dict[str, float] = {}
    trials: int = 0

    @property
    def values(self) -> dict[str, float]:
        """Setting to the value that was taken."""
        return self.settings or {self.setting: self.chosen}


_RECOMPUTE = "--activation-checkpointing/--no-activation-checkpointing"


class RunConfig(_Frozen):
    """One (method, stream, model, seed) with all its settings.

    ``device`` and ``dtype`` may be ``auto`` until :func:`lifealign_bench.models.device.resolve_device` has run.
    What says where things lie, who else is told or how patient the program is moves no number and is not part of
    :meth:`identity`; nor is ``clock``: its tokens are. A run that goes on keeps its threads and its clock.
    """

    method: Annotated[
        str,
        Setting(
            "--method -m",
            "What",
            "Methods: names, a file, all, or ablations: the variants, which all leaves out (default: lifealign)",
            several=True,
            compare="free",
        ),
    ] = Field(description="what is trained: a method's name or its file")
    method_settings: Annotated[dict[str, Any], Setting(compare="free")] = Field(
        {}, description="the method's own settings that are not its defaults, see show METHOD"
    )
    stream: Annotated[
        str,
        Setting(
            "--stream -s", "What", "A stream, a card, tasks t1,t2, or all; repeatable (default: forms)", several=True
        ),
    ] = Field(description="the tasks to train on, one after another")
    tasks: Annotated[tuple[str, ...], Setting(asked=False)] = Field(min_length=1)
    model: Annotated[
        str,
        Setting(
            "--model",
            "What",
            "smollm2-135m, gemma3-270m, fake, a folder, or a model of the hub.",
            aka=("model_name_or_path", "model_name", "base_model"),
        ),
    ] = Field("smollm2-135m", description="the base model: a name, a folder, or a model of the hub")
    model_label: Annotated[
        str | None,
        Setting("--model-name", "What", identity="changed", compare="free"),
    ] = Field(None, min_length=1, description="what a model's folder is called in tables; none: its name and a digest")
    seed: Annotated[
        int,
        Setting(
            "--seed",
            "What",
            "Seeds, one run each: 0,1,2 or repeated (default: 0)",
            metavar="N",
            several=True,
            compare="free",
        ),
    ] = Field(0, ge=0, description="seed of everything that is drawn at random")
    preset: Annotated[
        Literal["small", "paper"],
        Setting(
            "--preset",
            help="small, or paper: the published settings (a 7B model, 3 epochs) (default: small)",
            metavar="TEXT",
            compare="free",
        ),
    ] = Field("small", description="defaults of all settings that are not given otherwise")
    train_limit: Annotated[
        int | None,
        Setting(
            "--train-limit",
            "Data",
            "The same for training pairs.",
            by_set=True,
            zero_is_none=True,
            unit="pairs",
            aka=("max_train_samples",),
            compare="free",  # the digests of the pairs say more
        ),
    ] = Field(None, ge=1, description="use only this many training pairs of each task, the first ones")
    test_limit: Annotated[
        int | None,
        Setting(
            "--test-limit",
            "Data",
            "The same for test pairs.",
            by_set=True,
            zero_is_none=True,
            unit="pairs",
            aka=("max_eval_samples",),
            compare="free",
        ),
    ] = Field(None, ge=1, description="use only this many test pairs of each task, the first ones")
    validation: Annotated[int | None, Setting("--validation", "Data", unit="pairs", identity="changed")] = Field(
        None,
        ge=1,
        description="score so many pairs held out of each task's training file, not the test pairs: to choose settings",
    )
    evaluate: Annotated[
        Literal["all", "seen", "ends", "last"], Setting("--evaluate", "Scores", by_set=True, compare="free")
    ] = Field(
        "all",
        description="score all tasks after every stage, those seen, all at both ends (before the first stage and after "
        "the last), or all after the last stage alone",
    )
    scorers: Annotated[tuple[str, ...], Setting("--scorer", "Scores", compare="free", scoring=True)] = Field(
        ("preference", "reward"), min_length=1, description="scorers: names, or all that have what they need"
    )
    reward_model: Annotated[
        str | None, Setting("--reward", "Scores", metavar="MODEL|trained|held-out|none", compare="judged", scoring=True)
    ] = Field(
        None,
        description="a reward model scores responses: a name, a folder, trained or held-out (made here), or none",
    )
    judge: Annotated[
        str | None,
        Setting(
            "--judge",
            "Scores",
            "The judge of the scorers judge and win: server:MODEL (OpenAI-compatible, see --judge-url), local:MODEL; "
            "for win also reward (the model of --reward) or check (the task's function)",
            metavar="JUDGE",
            envvar="LIFEALIGN_BENCH_JUDGE",
            compare="judged",
            scoring=True,
        ),
    ] = Field(None, description="judge: server:MODEL, local:MODEL, reward or check")
    judge_url: Annotated[
        str | None,
        Setting(
            "--judge-url", "Scores", metavar="URL", envvar="LIFEALIGN_BENCH_JUDGE_URL", identity=False, scoring=True
        ),
    ] = Field(
        None,
        description="base URL of the judge's server, like http://127.0.0.1:8000/v1; its key: OPENAI_API_KEY",
    )
    judge_budget: Annotated[
        int | None, Setting("--judge-budget", "Scores", unit="calls", identity=False, scoring=True)
    ] = Field(
        None,
        ge=0,
        description="stop cleanly after this many calls of the judge; answers that it has given are kept and cost none",
    )
    opponents: Annotated[tuple[str, ...], Setting("--opponent", "Scores", compare="judged", scoring=True)] = Field(
        ("base",), min_length=1, description="the scorer win judges against base, previous, chosen, or a run's folder"
    )
    abilities: Annotated[tuple[str, ...], Setting("--ability", "Scores", compare="free", scoring=True)] = Field(
        (),
        description="test general ability: builtin, a set, tasks of lm-eval like arc_easy,hellaswag, or a YAML task",
    )
    ability_stages: Annotated[
        Literal["ends", "all"], Setting("--ability-stages", "Scores", compare="free", scoring=True)
    ] = Field("ends", description="test general ability at stage 0 and the last stage, or after every stage")
    distance_stages: Annotated[
        Literal["ends", "all"],
        Setting("--distance-stages", "Scores", identity="changed", compare="free", scoring=True),
    ] = Field("all", description="the scorer distance measures KL after the last stage alone, or after every stage")
    token_budget: Annotated[int | None, Setting(unit="tokens", compare="free")] = Field(
        None, ge=8, description="most tokens in a forward pass, prompts counted once; none: twice max_length"
    )
    budget: Annotated[Literal["tokens", "steps", "pairs"] | None, Setting("--budget", identity="changed")] = Field(
        None,
        description="equal methods: a stage has as many tokens, steps or pairs as plain training of its pairs",
    )
    budget_factor: Annotated[float, Setting("--budget-factor", identity="changed")] = Field(
        1.0, gt=0, le=1000, description="times the budget; 1.4 gives plain training what replay of 40 % takes"
    )
    sft: Annotated[
        bool, Setting("--sft/--no-sft", help="A supervised phase before each preference one (default: as streams say)")
    ] = Field(False, description="a supervised phase on the chosen responses before each preference phase")
    training: TrainingConfig = TrainingConfig()
    supervised: SftConfig = SftConfig()
    adapter: AdapterConfig = AdapterConfig()
    generation: GenerationConfig = GenerationConfig()
    reward_models: Annotated[RewardModelConfig, Setting(compare="judged", scoring=True)] = RewardModelConfig()
    judging: Annotated[JudgingConfig, Setting(compare="judged", scoring=True)] = JudgingConfig()
    device: Annotated[str, Setting("--device", "Machine", by_set=True, compare="free")] = Field(
        "auto", description="where the model runs: auto, cpu or cuda"
    )
    dtype: Annotated[Literal["auto", "float32", "bfloat16"], Setting("--dtype", "Machine", by_set=True)] = Field(
        "auto", description="type of the weights; auto: bfloat16 where that is fast, else float32"
    )
    quantization: Annotated[Literal["nf4"] | None, Setting("--quantization", "Machine", identity="changed")] = Field(
        None, description="keep the base model's linear layers in four bits (NF4); none: in the type of the weights"
    )
    activation_checkpointing: Annotated[
        bool, Setting(_RECOMPUTE, "Machine", identity=False, compare="free", aka=("gradient_checkpointing",))
    ] = Field(False, description="compute layers again in backward passes: less memory, a third more time")
    shard: Annotated[bool, Setting("--shard/--no-shard", "Machine", identity=False, compare="free")] = Field(
        False, description="split the base model's layers over the processes of a launch (FSDP2)"
    )
    threads: Annotated[int | None, Setting("--threads", "Machine", identity=False)] = Field(
        None, ge=1, description="threads on a CPU; none: the fastest number, which is measured"
    )
    generation_engine: Annotated[
        Literal["batches", "continuous", "server"],
        Setting("--generation", "Machine", identity="changed", compare="free"),
    ] = Field(
        "batches",
        description="what generates the responses that are scored: batches, transformers' continuous batching, or a "
        "server that holds LoRA adapters (vLLM, SGLang; see --generation-url)",
    )
    generation_url: Annotated[
        str | None,
        Setting("--generation-url", "Machine", metavar="URL", envvar="LIFEALIGN_BENCH_SERVER_URL", identity=False),
    ] = Field(
        None,
        description="base URL of --generation server, like http://127.0.0.1:8000/v1; its key is "
        "LIFEALIGN_BENCH_SERVER_KEY's",
    )
    report_to: Annotated[tuple[str, ...], Setting("--report-to", "Output", metavar="TRACKERS", identity=False)] = Field(
        (), description="pass training curves and scores on to tensorboard, wandb, trackio or mlflow, as they come"
    )
    out: Annotated[Path, Setting("--out", "Machine", identity=False, aka=("output_dir",))] = Field(
        Path("runs"), description="folder for results"
    )
    data_dir: Annotated[
        Path | None,
        Setting(
            "--data-dir", "Data", "A copy of the paper's data folder (also: LIFEALIGN_BENCH_DATA).", identity=False
        ),
    ] = Field(None, description="a copy of the paper's data folder")
    task_cards: Annotated[dict[str, Path], Setting(asked=False, identity=False)] = Field(
        {}, description="where users' own task cards lie, by the task's name"
    )
    trust_remote_code: Annotated[
        bool, Setting("--trust-remote-code/--no-trust-remote-code", "Machine", compare="free")
    ] = Field(False, description="let a model of the hub, or a YAML task of general ability, run its own code")
    tuned: Annotated[
        TunedRate | None,
        Setting(
            "--tuned",
            help="Take each method's rate and strength from this table, made by lifealign-bench tune.",
            asked=False,
            identity=False,
        ),
    ] = Field(None, description="how the learning rate and the method's strength were chosen")

    clock: Annotated[str | None, Setting(asked=False, identity=False)] = Field(
        None, description="what a chat template takes for now; none: the start of the run"
    )

    def identity(self) -> dict[str, Any]:
        """The settings that can change a number, as plain JSON values."""
        content = self.model_dump(mode="json")
        for name, owner, setting in settings_of(type(self)):
            section, _, key = name.rpartition(".")
            home, mine = (content[section], getattr(self, section)) if section else (content, self)
            default = setting.identity == "changed" and getattr(mine, key) == owner.model_fields[key].default
            if not setting.identity or default:
                del home[key]
        # Another run is who it is, wherever its folder lies.
        content["opponents"] = [opponent_name(word) for word in self.opponents]
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
        names = (self.stream, self.model_label or self.model, self.method_name)
        return self.out.joinpath(*map(safe_name, names), f"seed-{self.seed}")

    @property
    def method_name(self) -> str:
        """The method's name, also where it is a file."""
        return Path(self.method).stem if self.method.endswith(".py") else self.method

    @property
    def title(self) -> str:
        """The run in a few words."""
        return f"{self.method_name} on {self.stream}, {self.model}, seed {self.seed}"


@cache
def settings_of(model: type[BaseModel]) -> tuple[tuple[str, type[BaseModel], Setting], ...]:
    """Every setting of ``RunConfig``, in their order: its place (``training.epochs``), its model, and what it carries.

    Args:
        model: RunConfig, or what a test makes of it.
    """
    return tuple(_settings(model))


def _settings(model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel], Setting]]:
    for name in model.model_fields:
        own = _carried(model, name)
        if name not in SECTIONS:
            yield name, model, own
            continue
        for key, section, setting in settings_of(SECTIONS[name]):  # what holds for a section holds for all in it
            compare = own.compare if own.compare != "never" else setting.compare
            yield f"{name}.{key}", section, replace(setting, compare=compare, scoring=own.scoring)


def setting_at(place: str) -> Setting:
    """What is known of the setting at a place (``training.epochs``), of a section, or of a method's setting.

    A setting of an older version has nothing special about it.
    """
    found = {name: setting for name, _, setting in settings_of(RunConfig)}
    head = place.partition(".")[0]
    return found.get(place) or (_carried(RunConfig, head) if head in RunConfig.model_fields else Setting())


def option_name(name: str) -> str:
    """The parameter of a setting's option: ``reward`` for ``reward_model``; empty where it has none."""
    return setting_at(name).option.removeprefix("--").replace("-", "_")


def _carried(model: type[BaseModel], name: str) -> Setting:
    return next((item for item in model.model_fields[name].metadata if isinstance(item, Setting)), Setting())


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


# "small": config.py's defaults with both phases. "paper": the published settings of LifeAlign (Li et al. 2026), as its
# scripts have them (real-ljs/LifeAlign at e7e5581); replay, focal loss and consolidation have theirs as the methods'
# defaults. The scripts of the methods, and of the supervised phase, make steps of 32 pairs on two GPUs, those of joint
# and single training of 16 on one. Here all have 32: methods are compared at one batch size, and the bounds with them.
# How many are generated together is ours (there 4) and moves no number. There responses are sampled; here none is.
PRESETS: dict[str, dict[str, Any]] = {
    "small": {"sft": True},
    "paper": {
        "model": "Qwen/Qwen2.5-7B-Instruct",
        "sft": True,
        "dtype": "bfloat16",
        "supervised": {"sft_learning_rate": 1e-4, "sft_epochs": 3},
        "training": {
            "learning_rate": 5e-6,
            "epochs": 3,
            "batch_size": 32,
            "max_length": 2048,
            "beta": 0.1,
            "warmup_ratio": 0.1,
            "scheduler": "cosine",
        },
        "adapter": {"lora_r": 8, "lora_alpha": 16.0, "target_modules": ("q_proj", "v_proj")},
        "generation": {"max_new_tokens": 1024, "generation_batch_size": 32},
    },
}
