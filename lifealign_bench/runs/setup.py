"""What a run is made of before its first stage: the method, the data, the encoded pairs, the seeds."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import ValidationError
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from lifealign_bench.config import RunConfig
from lifealign_bench.data.tasks import TaskData
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.method import Method
from lifealign_bench.methods import effective_settings, load_method
from lifealign_bench.models.device import resolve_device
from lifealign_bench.models.encode import EncodedPair, EncodingReport, encode_pairs
from lifealign_bench.models.engines import make_generation_engine
from lifealign_bench.models.quantization import require_quantization
from lifealign_bench.pairs import Split
from lifealign_bench.results.folder import RunFolder
from lifealign_bench.training.budget import check_budget
from lifealign_bench.training.workload import Lengths
from lifealign_bench.util.clock import Clock
from lifealign_bench.util.progress import Progress, far


def make_method(config: RunConfig) -> Method:
    """The method of a run with its settings.

    Raises:
        BenchError: unknown method or setting; the method refuses this run; a budget that cannot be kept.
    """
    cls = load_method(config.method)
    try:
        settings = cls.Config.model_validate(effective_settings(config.method, config.method_settings))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"The setting {place!r} of method {config.method!r}: {first['msg']}.",
            f"Its settings: {', '.join(cls.Config.model_fields) or 'none'}.",
        ) from error
    method = cls(settings)
    method.check(config)
    check_budget(config, method)
    return method


def check_configs(configs: Iterable[RunConfig]) -> None:
    """Refuse runs of which it can be known before the first one starts that they cannot be done.

    Raises:
        BenchError: a method that does not load, a device that is not here, weights in four bits where they cannot be, a
            server without an address.
    """
    for config in configs:
        load_method(config.method)
        make_generation_engine(config)
        device, _ = resolve_device(config.device, config.dtype)
        if config.quantization is not None:
            require_quantization(device)


def resolved(config: RunConfig) -> RunConfig:
    """``config`` with the device and dtype that ``auto`` means on this machine; a run that goes on keeps its own."""
    began = RunFolder(config.run_directory()).began_with()
    dtype = began.get("dtype", "auto") if config.dtype == "auto" else config.dtype
    device, dtype = resolve_device(config.device, dtype)
    return config.model_copy(update={"device": device, "dtype": dtype})


def method_source(method: Method) -> str:
    """SHA-256 (hex) of the file that defines the method."""
    return hashlib.sha256(Path(inspect.getfile(type(method))).read_bytes()).hexdigest()


def check_lengths(model: PretrainedConfig, config: RunConfig, pairs: Sequence[Lengths], added: int) -> None:
    """Refuse what no forward pass can hold; ``added``: tokens that the method puts into every sequence.

    Raises:
        BenchError: a pair longer than the model's context or than the token budget.
    """
    context = getattr(model.get_text_config(), "max_position_embeddings", None)
    longest = max(p.longest for p in pairs)
    if context is not None and longest + added > context:
        more = f" and the method adds {added}" if added else ""
        raise BenchError(
            f"The longest pair has {longest} tokens{more}, the model {config.model!r} a context of {context}.",
            f"Set the cut-off to at most that: --set max_length={context - added}."
            if context > added
            else "Set the method to fewer added tokens.",
        )
    largest = max(p.tokens for p in pairs)
    if largest > config.tokens_a_pass():
        raise UsageError(
            f"token_budget is {config.tokens_a_pass()}, but the longest pair has {largest} tokens.",
            f"Set it to at least that (--set token_budget={largest}), or lower max_length.",
        )


def check_rollouts(model: PretrainedConfig, config: RunConfig, method: Method, prompts: Sequence[int]) -> None:
    """Refuse responses of a method that samples which no context or forward pass can hold.

    Args:
        prompts: tokens of each training prompt.

    Raises:
        UsageError: with the remedy.
    """
    count, most, longest = method.samples(), config.generation.max_new_tokens, max(prompts, default=0)
    context = getattr(model.get_text_config(), "max_position_embeddings", None)
    if not count:
        return
    if context is not None and longest + method.added_tokens() + most > context:
        raise UsageError(
            f"The longest training prompt has {longest + method.added_tokens()} tokens and a sampled response up to "
            f"{most}, the model {config.model!r} a context of {context}.",
            "Shorten the responses (--set max_new_tokens=...) or the prompts (--set max_length=...).",
        )
    if longest + count * most > config.tokens_a_pass():
        raise UsageError(
            f"token_budget is {config.tokens_a_pass()}, but {count} responses of up to {most} tokens to a prompt of "
            f"{longest} have {longest + count * most}.",
            f"Set it to at least that (--set token_budget={longest + count * most}), or ask for fewer or shorter "
            "responses (max_new_tokens).",
        )


def encode_split(
    tokenizer: PreTrainedTokenizerBase, config: RunConfig, task: TaskData, split: Split, progress: Progress
) -> tuple[list[EncodedPair], EncodingReport]:
    """The token ids of a split within the cut-off; says what that did.

    Raises:
        BenchError: no pair is left.
    """
    pairs = task.train if split == "train" else task.test
    told = far(progress, f"Task {task.card.name}, {split}", len(pairs))
    encoded, report = encode_pairs(
        tokenizer, pairs, config.training.max_length, task.card.overlong, Clock.of(config.clock), told
    )
    check_split(task.card.name, split, config.training.max_length, report, progress)
    return encoded, report


def check_split(name: str, split: Split, cut_off: int, report: EncodingReport, progress: Progress) -> None:
    """Say what the cut-off and the chat template did to a split.

    Raises:
        BenchError: no pair is left.
    """
    if report.dropped or report.prompts_shortened or report.responses_cut:
        progress.notice(
            f"Task {name}, {split}, cut-off of {cut_off} tokens: {report.prompts_shortened} prompts "
            f"shortened, {report.responses_cut} pairs with a cut response, {report.dropped} pairs dropped."
        )
    if report.turns_lost:
        progress.notice(
            f"Task {name}, {split}: {report.turns_lost} prompts have a turn (of the system, or an earlier one) that "
            "the model's chat template leaves out."
        )
    if report.unsettled:
        progress.notice(
            f"Task {name}, {split}: the last prompt tokens of {report.unsettled} pairs depend on what their answers "
            "begin with, by the model's chat template and tokenizer."
        )
    if not report.kept:
        raise BenchError(
            f"Task {name} has no {split} pairs within the cut-off of {cut_off} tokens.",
            "Raise max_length (--set max_length=...).",
        )
