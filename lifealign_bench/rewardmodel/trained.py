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
import trl
from filelock import FileLock, Timeout
from peft import PeftModel
from safetensors import SafetensorError

from lifealign_bench.chattemplate import reads_clock
from lifealign_bench.clock import Clock
from lifealign_bench.config import RunConfig
from lifealign_bench.data import TaskData
from lifealign_bench.distributed import world_size
from lifealign_bench.errors import BenchError
from lifealign_bench.files import cache_folder, sha256_file, usual_mode, write_json
from lifealign_bench.grid import duration
from lifealign_bench.models import load_base_model
from lifealign_bench.pairs import Pair, digest_pairs
from lifealign_bench.progress import Progress
from lifealign_bench.rewardmodel import head, reader, training
from lifealign_bench.rewardmodel.classifier import ClassifierRewardModel, computed_on
from lifealign_bench.rewardmodel.given import resolve_reward_device
from lifealign_bench.rewardmodel.head import with_head
from lifealign_bench.rewardmodel.model import TRAINED
from lifealign_bench.rewardmodel.reader import Reader, cut_off_of
from lifealign_bench.rewardmodel.training import PairOfTexts, train_reward_model
from lifealign_bench.state import load_adapter, save_adapter

__all__ = ["FOLDER", "SEED", "trained_reward_model"]

FOLDER = "reward-models"
# Not the run's: runs that differ in their seed are scored by one and the same reward model.
SEED = 20251120
_FACTS = "reward-model.json"
_WEIGHTS = "adapter/adapter_model.safetensors"


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
        load_adapter(model, folder / "adapter")
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
    fingerprint = _digest([key, sha256_file(folder / _WEIGHTS)])
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
        save_adapter(model, temporary / "adapter")
        seconds = time.monotonic() - clock
        facts = {"pairs": len(pairs), "pairs_cut": cut, "seconds": round(seconds, 1), **result}
        said = {"key": dict(key), "sha256": sha256_file(temporary / _WEIGHTS), "facts": facts}
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
        if said["key"] == key and said["sha256"] == sha256_file(folder / _WEIGHTS):
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
    for module in (head, reader, training):
        sha.update(Path(module.__file__ or "").read_bytes())
    return sha.hexdigest()
