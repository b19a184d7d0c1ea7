"""``--reward MODEL``: a sequence classifier from a folder or the hub."""

from __future__ import annotations

from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging as transformers_logging

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import BenchError, is_out_of_memory
from lifealign_bench.models.device import DTYPES, resolve_device
from lifealign_bench.models.load import fingerprint
from lifealign_bench.scoring.rewardmodel.classifier import ClassifierRewardModel, padding_id
from lifealign_bench.scoring.rewardmodel.model import TRAINED
from lifealign_bench.scoring.rewardmodel.reader import Reader, cut_off_of
from lifealign_bench.util.clock import Clock
from lifealign_bench.util.progress import Progress


def given_reward_model(config: RunConfig, progress: Progress) -> ClassifierRewardModel:
    """Load the reward model that a run names.

    Only safetensors are read, and code of the model runs only with ``trust_remote_code``.

    Raises:
        BenchError: no such model, no network, not a sequence classifier with one label; with the remedy.
    """
    name = config.reward_model or ""
    settings = config.reward_models
    device = resolve_reward_device(config)
    model, tokenizer = _load(name, config, device)
    notices = []
    if tokenizer.chat_template is None:
        notices.append("it has no chat template: plain 'User:' and 'Assistant:' lines are scored")
    text_config = model.config.get_text_config()
    if text_config.pad_token_id is None:
        text_config.pad_token_id = padding_id(model.config, tokenizer)
        notices.append(f"its configuration has no padding token: token {text_config.pad_token_id} is used")
    for notice in notices:
        progress.notice(f"Reward model {name}: {notice}.")
    model.eval().requires_grad_(False).to(device)
    mark = fingerprint(model, tokenizer)
    revision = str(getattr(model.config, "_commit_hash", None) or mark)
    reader = Reader(
        tokenizer, cut_off_of(settings.reward_max_length, model.config, tokenizer), name, Clock.of(config.clock)
    )
    said = {"trained": False, "class": type(model).__name__, "revision": revision, "notices": notices}
    return ClassifierRewardModel(name, model, reader, mark, said, config.token_budget, progress)


def resolve_reward_device(config: RunConfig) -> torch.device:
    """Where the reward model is: where the run is, unless ``reward_device`` says otherwise.

    Raises:
        UsageError: the device does not exist here.
    """
    wanted = config.reward_models.reward_device
    if wanted == "auto":
        return torch.device(config.device)
    return torch.device(resolve_device(wanted, "float32")[0])


def _load(name: str, config: RunConfig, device: torch.device) -> tuple[Any, Any]:
    trust = {"trust_remote_code": config.trust_remote_code}
    wanted = config.reward_models.reward_dtype
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        labels = AutoConfig.from_pretrained(name, **trust).num_labels
        if labels != 1:
            raise _refused(name, f"it has {labels} labels and not one, as a language model or a classifier has")
        tokenizer = AutoTokenizer.from_pretrained(name, **trust)
        model, info = AutoModelForSequenceClassification.from_pretrained(
            name,
            dtype="auto" if wanted == "auto" else DTYPES[wanted],
            use_safetensors=True,
            output_loading_info=True,
            **trust,
        )
    except (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError, SafetensorError) as error:
        if is_out_of_memory(error):
            raise
        first = (str(error).strip() or type(error).__name__).partition("\n")[0]
        raise BenchError(
            f"The reward model {name!r} cannot be loaded: {first}",
            f"Use {TRAINED!r}, the folder of a saved transformers sequence classifier (safetensors), or its name on "
            "the hub (which needs the network, or HF_HOME with a copy).",
        ) from error
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
    if info["missing_keys"]:
        missing = ", ".join(sorted(info["missing_keys"])[:3])
        raise _refused(name, f"its files lack the weights {missing}, which would be random")
    if model.dtype == torch.float16 and device.type == "cpu":
        model.float()  # half precision is made for accelerators
    return model, tokenizer


def _refused(name: str, reason: str) -> BenchError:
    return BenchError(
        f"{name!r} is no reward model: {reason}.",
        "A reward model is a sequence classifier with one label (num_labels 1). For one of the stream's own training "
        f"pairs give --reward {TRAINED}.",
    )
