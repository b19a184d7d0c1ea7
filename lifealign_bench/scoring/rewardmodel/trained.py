"""``--reward trained``: a reward model of the stream's own training pairs, made once and kept in the cache.

It does not depend on the run's method and seed, nor on the order of the stream's tasks, so that all runs that are
compared with each other share it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import accelerate
import torch
import trl
from filelock import FileLock, Timeout
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModelForSequenceClassification

from lifealign_bench.config import RunConfig
from lifealign_bench.data.tasks import TaskData
from lifealign_bench.errors import BenchError
from lifealign_bench.models.chattemplate import reads_clock
from lifealign_bench.models.load import LoadedModel as BaseModel
from lifealign_bench.models.load import load_base_model
from lifealign_bench.pairs import Pair, digest_pairs
from lifealign_bench.results.folder import StageFolder
from lifealign_bench.scoring.rewardmodel import reader, training
from lifealign_bench.scoring.rewardmodel.classifier import ClassifierRewardModel, computed_on, padding_id
from lifealign_bench.scoring.rewardmodel.given import resolve_reward_device
from lifealign_bench.scoring.rewardmodel.model import TRAINED
from lifealign_bench.scoring.rewardmodel.reader import Reader, cut_off_of
from lifealign_bench.scoring.rewardmodel.training import PairOfTexts, train_reward_model
from lifealign_bench.training.checkpoint import load_adapter, save_adapter
from lifealign_bench.util.clock import Clock
from lifealign_bench.util.distributed import world_size
from lifealign_bench.util.files import cache_folder, sha256_file, usual_mode, write_json
from lifealign_bench.util.progress import Progress
from lifealign_bench.util.text import duration

FOLDER = "reward-models"

# Not the run's: runs that differ in their seed are scored by one and the same reward model.
SEED = 20251120

_FACTS = "reward-model.json"


def trained_reward_model(config: RunConfig, data: Mapping[str, TaskData], progress: Progress) -> ClassifierRewardModel:
    """The reward model of the training pairs of all tasks, from the cache or trained now.

    Raises:
        BenchError: the base model cannot be loaded or made a classifier; training fails; several processes of one run
            would have to train it together.
    """
    settings = config.reward_models
    device = resolve_reward_device(config)
    dtype = config.dtype if settings.reward_dtype == "auto" else settings.reward_dtype
    base = load_base_model(config.model_copy(update={"device": str(device), "dtype": dtype}))
    model = with_head(base, config, SEED)
    cut_off = cut_off_of(settings.reward_max_length, base.model.config, base.tokenizer)
    reads = Reader(base.tokenizer, cut_off, TRAINED, Clock.of(config.clock))
    recipe = _recipe(config, base.fingerprint, data, cut_off)
    libraries = {"trl": trl.__version__, "accelerate": accelerate.__version__}
    key = {**recipe, **computed_on(device), **libraries, "code": _code()}
    if reads_clock(base.tokenizer):
        key["clock"] = Clock.of(config.clock).text()
    folder = cache_folder() / FOLDER / _digest(key)
    facts = _whole(folder, key, progress.notice)
    if facts is None:
        if world_size() > 1:
            raise BenchError(
                "The reward model of this run is not there yet, and one process alone has to train it.",
                "Begin the run once in a single process (without accelerate launch or torchrun) until its first stage "
                "has begun; the reward model is kept then.",
            )
        pairs = [pair for name in recipe["pairs"] for pair in data[name].train]
        with _alone(folder, progress.notice):
            # Another process may have made it while this one waited.
            facts = _whole(folder, key, lambda text: None) or _make(folder, key, model, reads, pairs, config, progress)
    try:
        load_adapter(model, StageFolder(folder).adapter)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise BenchError(
            f"The trained reward model {folder} cannot be loaded: {error}.", "Delete that folder; it is made again."
        ) from error
    model.eval().requires_grad_(False)
    said = {
        "trained": True,
        "class": type(model.get_base_model()).__name__,
        "base_model": base.name,
        "base_fingerprint": recipe["base"],
        "tasks": list(recipe["pairs"]),
        "seed": SEED,
        "recipe": _digest(recipe),
        "shared": "by all methods, seeds and orders of these tasks",
        "settings": recipe["settings"],
        **facts,
    }
    fingerprint = _digest([key, sha256_file(StageFolder(folder).weights)])
    return ClassifierRewardModel(TRAINED, model, reads, fingerprint, said, config.token_budget, progress)


def _recipe(config: RunConfig, base: str, data: Mapping[str, TaskData], cut_off: int) -> dict[str, Any]:
    """What it is made of; the tasks by name, so that their order in the stream is of no consequence."""
    return {
        "base": base,
        "pairs": {name: digest_pairs(data[name].train) for name in sorted(data)},
        "settings": config.reward_models.model_dump(mode="json", exclude={"reward_device", "reward_dtype"}),
        "targets": sorted(config.adapter.target_modules),
        "cut_off": cut_off,
        "seed": SEED,
    }


def _make(
    folder: Path,
    key: Mapping[str, Any],
    model: PeftModel,
    reads: Reader,
    pairs: Sequence[Pair],
    config: RunConfig,
    progress: Progress,
) -> dict[str, Any]:
    """Train and keep it; what the record says of it."""
    progress.notice(f"A reward model is trained on the {len(pairs)} training pairs of {len(key['pairs'])} tasks.")
    clock = time.monotonic()
    texts = [[reads.read((p.prompt, text)) for text in (p.chosen, p.rejected)] for p in pairs]
    cut = sum(chosen.cut or rejected.cut for chosen, rejected in texts)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".training-"))
    try:
        result = train_reward_model(
            model,
            reads.tokenizer,
            [PairOfTexts(chosen.ids, rejected.ids) for chosen, rejected in texts],
            config.reward_models,
            SEED,
            config.tokens_a_pass(),
            temporary / "trainer",
            progress,
        )
        shutil.rmtree(temporary / "trainer", ignore_errors=True)
        save_adapter(model, StageFolder(temporary).adapter)
        seconds = time.monotonic() - clock
        facts = {"pairs": len(pairs), "pairs_cut": cut, "seconds": round(seconds, 1), **result}
        said = {"key": dict(key), "sha256": sha256_file(StageFolder(temporary).weights), "facts": facts}
        write_json(temporary / _FACTS, said)
        usual_mode(temporary)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    progress.notice(f"The reward model is trained: {result['steps']} steps in {duration(seconds)}.")
    return facts


def _whole(folder: Path, key: Mapping[str, Any], notice: Callable[[str], None]) -> dict[str, Any] | None:
    """What is said of the reward model in ``folder``; None where there is none or a damaged one, which is told."""
    if not folder.is_dir():
        return None
    try:
        said = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        if said["key"] == key and said["sha256"] == sha256_file(StageFolder(folder).weights):
            return dict(said["facts"])
        reason = "its files are not what was written"
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
    notice(f"The trained reward model {folder} is damaged ({reason}); it is trained again.")
    return None


@contextlib.contextmanager
def _alone(folder: Path, notice: Callable[[str], None]) -> Iterator[None]:
    """One process at a time trains it; the others wait and say so."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{folder}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        notice("Another process trains this reward model; waiting for it.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _code() -> str:
    """SHA-256 (hex) of the modules that make it."""
    sha = hashlib.sha256()
    for file in (__file__, reader.__file__, training.__file__):
        sha.update(Path(file).read_bytes())
    return sha.hexdigest()


_HEAD = "score"  # what transformers' decoders call it


def with_head(base: BaseModel, config: RunConfig, seed: int) -> PeftModel:
    """The base model's layers under a fresh head and a fresh adapter called ``default``; no weight is copied.

    The head is random normal by ``seed`` and float32 whatever the dtype of the layers, and so is the adapter: their
    updates are smaller than what bfloat16 can tell apart.

    Raises:
        BenchError: transformers has no sequence classifier of this architecture, or not one that is built like this.
    """
    one_label = {"id2label": {0: "reward"}, "label2id": {"reward": 0}}
    settings = type(base.model.config).from_dict({**base.model.config.to_dict(), **one_label})
    pad = padding_id(settings, base.tokenizer)
    settings.get_text_config().pad_token_id = pad
    base.tokenizer.pad_token = base.tokenizer.convert_ids_to_tokens(pad)
    try:
        with torch.device("meta"):
            classifier: Any = AutoModelForSequenceClassification.from_config(
                settings, trust_remote_code=config.trust_remote_code
            )
    except ValueError as error:
        raise _unsuitable(base, "transformers has no sequence classifier of its architecture") from error
    layers = classifier.base_model_prefix
    if layers != base.model.base_model_prefix or {name for name, _ in classifier.named_children()} != {layers, _HEAD}:
        raise _unsuitable(base, f"{type(classifier).__name__} is built in another way")
    device = base.model.device
    deviation = float(getattr(settings.get_text_config(), "initializer_range", 0.02))
    setattr(classifier, layers, base.model.base_model)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = nn.Linear(settings.get_text_config().hidden_size, 1, bias=False)
        nn.init.normal_(head.weight, 0.0, deviation)
        head.register_forward_pre_hook(_as_float)
        setattr(classifier, _HEAD, head.to(device))
        model = get_peft_model(
            classifier,
            LoraConfig(
                r=config.reward_models.reward_lora_r,
                lora_alpha=2 * config.reward_models.reward_lora_r,
                target_modules=list(config.adapter.target_modules),
                lora_dropout=0.0,
                task_type="SEQ_CLS",  # trains the head too
            ),
        )
    model.eval()
    return model


def _as_float(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return (inputs[0].float(), *inputs[1:])


def _unsuitable(base: BaseModel, reason: str) -> BenchError:
    return BenchError(
        f"No reward model can be made of the model {base.name!r}: {reason}.",
        "Give --reward the folder or the name of a reward model.",
    )
