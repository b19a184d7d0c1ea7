"""transformers' continuous batching over paged keys and values: a response that ends makes room for the next prompt.

The adapter is on or off as it is in the model: the same layers compute. transformers knows of no stop texts, so where
there are any, responses go on to their longest and are cut afterwards.
"""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

import torch
from transformers import GenerationConfig
from transformers.generation.configuration_utils import ContinuousBatchingConfig

from lifealign_bench.errors import BenchError, UsageError, is_out_of_memory
from lifealign_bench.models.engines.engine import Prompting
from lifealign_bench.models.engines.greedy import FLOAT32_GAP, ROUNDED_GAP, read_answers, spread_over
from lifealign_bench.util.distributed import gather_shares, share

_REMEDY = "Leave out --generation continuous: the engine batches takes every model that can be generated from."
_LOGGER = "ContinuousBatchingLogger"
_PAGE = 64  # tokens of a page on a CPU, and how many go through the model together there at most
_TOKENS = 512
_CHECKED = 8  # responses that are read again
_HEAD = 128  # tokens of each


class ContinuousEngine:
    """See the module."""

    label = "continuous"

    def make_ready(self, asking: Prompting) -> None:
        """Refuse what it cannot do.

        Raises:
            BenchError: a method that looks at whole inputs; a model of which transformers cannot keep pages.
        """
        if asking.layout == "whole":
            raise UsageError("The method looks at whole inputs, which continuous batching does not show it.", _REMEDY)
        if not hasattr(asking.model.get_base_model(), "generate_batch"):
            raise BenchError(f"The model {asking.base.name!r} has no continuous batching in transformers.", _REMEDY)

    def respond(self, asking: Prompting) -> list[list[int]]:
        """See :class:`~lifealign_bench.models.engines.engine.GenerationEngine`.

        Raises:
            BenchError: transformers fails, or says something else than the model by itself.
        """
        # Long prompts first, as in batches: what is short at the end fills the gaps.
        order = sorted(range(len(asking.prompts)), key=lambda i: (-len(asking.prompts[i]), i))
        mine = share(order)
        written = gather_shares(self._written(asking, mine))
        responses: list[list[int]] = [[] for _ in order]
        for i, tokens in zip(order, written, strict=True):
            responses[i] = tokens
        _check(asking, responses)
        return responses

    def _written(self, asking: Prompting, places: Sequence[int]) -> list[list[int]]:
        if not places:
            return []
        prompts = [list(asking.prompts[i]) for i in places]
        settings = GenerationConfig(
            do_sample=False,
            max_new_tokens=asking.most,
            eos_token_id=sorted(asking.stop),
            pad_token_id=asking.pad_id,
        )
        with _paged(asking) as model:
            try:
                found = model.generate_batch(
                    inputs=prompts,
                    generation_config=settings,
                    continuous_batching_config=_batching(asking, prompts),
                    warmup=asking.device.type == "cuda",
                )
            except (ValueError, RuntimeError, TypeError, AttributeError, NotImplementedError) as error:
                if is_out_of_memory(error):
                    raise
                raise _failed(asking, str(error).strip() or type(error).__name__) from error
        answers = list(found.values())
        lost = [answer.error for answer in answers if answer.error is not None]
        if lost or len(answers) != len(prompts):
            raise _failed(asking, lost[0] if lost else f"{len(answers)} of {len(prompts)} prompts have an answer")
        for prompt, answer in zip(prompts, answers, strict=True):
            if list(answer.prompt_ids) != prompt:
                raise _failed(asking, "an answer is of another prompt")
        asking.advance(len(prompts))
        return [asking.trimmed(i, answer.generated_tokens) for i, answer in zip(places, answers, strict=True)]


def _failed(asking: Prompting, why: str) -> BenchError:
    first = why.partition("\n")[0].rstrip(".")[:200]
    return BenchError(f"Continuous batching of the model {asking.base.name!r} fails: {first}.", _REMEDY)


def _batching(asking: Prompting, prompts: Sequence[Sequence[int]]) -> ContinuousBatchingConfig:
    """On a GPU transformers fills what memory is free; on a CPU, where that would be most of the machine's, there is
    room for a batch of the longest prompts with their responses."""
    if asking.device.type == "cuda":
        return ContinuousBatchingConfig()
    together = min(asking.batch_size, len(prompts))
    pages = math.ceil((max(map(len, prompts)) + asking.most) / _PAGE) + 1
    return ContinuousBatchingConfig(
        page_size=_PAGE,
        num_blocks=pages * together,
        max_batch_tokens=max(_TOKENS, together),
        max_requests_per_batch=together,
        auto_switch_to_flash=False,
    )


@contextmanager
def _paged(asking: Prompting) -> Iterator[Any]:
    """The model without what wraps its adapter, with an attention that knows pages; silent but for errors."""
    model = asking.model.get_base_model()
    attention = model.config._attn_implementation
    logger = logging.getLogger(_LOGGER)
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # its errors are ours to tell
    model.set_attn_implementation("sdpa")
    try:
        with redirect_stdout(io.StringIO()):  # where it prints one of its failures
            yield model
    finally:
        logger.setLevel(level)
        model.set_attn_implementation(attention)


def _check(asking: Prompting, responses: Sequence[Sequence[int]]) -> None:
    places = spread_over(len(responses), _CHECKED)
    answers = [responses[i][:_HEAD] for i in places]
    gap = FLOAT32_GAP if asking.base.model.dtype == torch.float32 else ROUNDED_GAP
    for reading in read_answers(asking, [asking.prompts[i] for i in places], answers):
        if not reading.is_greedy(gap):
            strange = f"{reading.surprises(gap):.0%}"
            raise _failed(asking, f"{strange} of a response's tokens are not what the model says by itself")
