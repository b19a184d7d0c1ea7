"""A batch of prompts on its way through a model: one pass over the prompts, then one for every new token."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Literal

import torch
from peft import PeftModel
from transformers import DynamicCache

from lifealign_bench.errors import BenchError
from lifealign_bench.models.attention import SEGMENTS, columns_of_room, make_room, open_columns
from lifealign_bench.models.logprobs import common_prefix
from lifealign_bench.models.window import smallest_window

# How the prompts of a batch stand side by side. ``shared``: what all begin with goes through the model once, padding
# comes between it and the rest; where a window would count that padding, the same as ``padded``. ``padded``: whole
# prompts behind their padding. ``alone``: one prompt a batch.
Arrangement = Literal["shared", "padded", "alone"]


class Steps:
    """The passes of a batch of B prompts; in turn :meth:`logits` and :meth:`go_on`.

    Args:
        model: a causal language model, with an adapter or without.
        prompts: token ids; one prompt for ``alone``.
        arrangement: see :data:`Arrangement`.
        most: passes at most.
        pad_id: a token to fill up with; it is masked.
        device: where the model is.
        whole: for a method that looks at whole inputs: nothing is shared, and the first pass brings ``prompt_lengths``.
    """

    def __init__(
        self,
        model: Any,
        prompts: Sequence[Sequence[int]],
        arrangement: Arrangement,
        *,
        most: int,
        pad_id: int,
        device: torch.device,
        whole: bool = False,
    ) -> None:
        self._model = model
        self._device = device
        self._most = most
        self._may_have_room = not whole and device.type == "cpu"
        parameters = inspect.signature(_inner(model).forward).parameters
        self._cache = DynamicCache(config=model.config)
        # Models without attention give their state another name, have no positions, and take the new tokens' mask.
        self._recurrent = "cache_params" in parameters and "past_key_values" not in parameters
        self._remembered = {"cache_params" if self._recurrent else "past_key_values": self._cache, "use_cache": True}
        # An index and not the number 1, for the reason given in logprobs: a sliced hidden state makes the product with
        # the vocabulary copy the head's weight for every prompt, gigabytes for a batch.
        self._last = torch.tensor([-1], device=device)
        self._step = 0
        self._roomy = False
        self._more: dict[str, Any] = {"prompt_lengths": tuple(len(p) for p in prompts)} if whole else {}
        self._width = max(len(p) for p in prompts)
        shares = arrangement == "shared" and not whole and self._all_is_seen()
        # What all prompts begin with (a system message, as a rule) goes through the model once; padding comes after it.
        prefix = common_prefix(prompts) if shares else 0
        if prefix:
            model(input_ids=torch.tensor([prompts[0][:prefix]], device=device), **self._remembered)
            self._cache.reorder_cache(torch.zeros(len(prompts), dtype=torch.long, device=device))
        padding = [self._width - len(p) for p in prompts]
        self._ids = torch.tensor(
            [[pad_id] * n + list(p[prefix:]) for n, p in zip(padding, prompts, strict=True)], device=device
        )
        self._mask = torch.tensor(
            [[1] * prefix + [0] * n + [1] * (len(p) - prefix) for n, p in zip(padding, prompts, strict=True)],
            device=device,
        )
        self._positions = (self._mask.cumsum(1) - 1).clamp(min=0)[:, prefix:]

    def _all_is_seen(self) -> bool:
        """Whether no window ends within the batch: it counts columns, and so it would count padding in the middle."""
        window = smallest_window(self._model.config)
        return window is None or self._width + self._most <= window

    def logits(self) -> torch.Tensor:
        """The next token's of every row, (B, V).

        Raises:
            BenchError: the model keeps nothing of its prompt.
        """
        positions = {} if self._recurrent else {"position_ids": self._positions}
        logits: torch.Tensor = self._model(
            input_ids=self._ids,
            attention_mask=self._seen(),
            logits_to_keep=self._last,
            **positions,
            **self._remembered,
            **self._more,
        ).logits
        self._more = {}
        if self._step == 0 and not _is_used(self._cache):
            raise BenchError(
                f"{type(_inner(self._model)).__name__} keeps nothing of its prompt in transformers' cache.",
                "Such models cannot be generated from here: leave out the scorers that need responses (--scorer).",
            )
        return logits[:, -1]

    def _seen(self) -> torch.Tensor:
        if self._recurrent:
            return self._mask[:, -self._ids.shape[1] :]
        if not self._roomy:
            return self._mask
        behind = columns_of_room(self._cache) - self._width
        return open_columns(self._mask[:, : self._width], behind, self._step)

    def spread(self, rows: torch.Tensor) -> None:
        """Go on with these rows, (R,), which may be the same several times; after the first :meth:`logits` alone."""
        if torch.equal(rows, torch.arange(len(self._ids), device=rows.device)):
            return
        self._cache.reorder_cache(rows)
        self._mask, self._positions, self._ids = self._mask[rows], self._positions[rows], self._ids[rows]

    def go_on(self, tokens: torch.Tensor, rows: Sequence[int]) -> None:
        """Take the next pass with ``rows`` alone, in increasing order, and with what they say: tokens (B,) of all."""
        if self._step == 0 and self._may_have_room and self._model.config._attn_implementation == SEGMENTS:
            self._roomy = make_room(self._cache, self._most)
        if len(rows) < len(tokens):
            kept = torch.tensor(rows, device=self._device)
            # Unlike batch_select_indices, this is known to recurrent layers as well.
            self._cache.reorder_cache(kept)
            self._mask, self._positions, tokens = self._mask[kept], self._positions[kept], tokens[kept]
        self._ids = tokens[:, None]
        self._mask = torch.cat([self._mask, self._mask.new_ones((len(tokens), 1))], dim=1)
        self._positions = self._positions[:, -1:] + 1
        self._step += 1


def _inner(model: Any) -> Any:
    return model.get_base_model() if isinstance(model, PeftModel) else model


def _is_used(cache: DynamicCache) -> bool:
    """Whether a pass left keys or a state in any layer."""
    return any(
        getattr(layer, "keys", None) is not None or any(getattr(layer, "has_previous_state", {}).values())
        for layer in cache.layers
    )
