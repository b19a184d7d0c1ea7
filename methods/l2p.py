"""L2P: a frozen model and a pool of prompts; what is asked picks the prompts that go before it.

Wang et al. 2022, "Learning to Prompt for Continual Learning" (CVPR, arXiv 2112.08654). The pool holds M prompts of a
few soft tokens, each with a learnable key. A query, a feature of the input from the frozen model, picks the N prompts
whose keys are nearest by cosine similarity; their tokens are prepended to the input's embeddings. To the task's loss
(here: DPO's, in the supervised phase the chosen response's) comes ``pull * sum over the picked keys of
(1 - cos(query, key))`` (equation 5), a mean over pairs. Nothing else is trained: the LoRA adapter stays as it began, at
zero. Which task a text belongs to is never asked for.

Faithful: M 10, N 5, 5 tokens a prompt, ``pull`` 0.5, learning rate 0.03, no buffer, the pool shared by all tasks.

Not faithful:
- A causal language model in place of a vision transformer, so there is no [CLS] feature. The query is the mean of the
  prompt's input embeddings (``query: embedding``), which costs next to nothing, or (``query: hidden``) the mean of the
  frozen model's last hidden states over the prompt, one more forward pass over it and nearer to the paper. Only the
  prompt's tokens count, so chosen, rejected and generated responses of a prompt get the same prompts.
- Prompts of one chat template have most of their tokens in common, so that most queries pick the same few prompts (on
  ``forms`` too), and the pull brings the keys of these nearer still: the pool acts nearly as one prompt for all. The
  penalty on prompts that are picked often, optional in the paper, is not there.
- The paper averages the outputs at the prompts' positions for its classifier; here the prompts act through attention.
- Prompts start as embeddings of random tokens (Lester et al. 2021, arXiv 2104.08691) and are kept in units of those
  embeddings' spread, so that a learning rate means the same for every model. Optimizer (AdamW), schedule and warm-up
  are the run's. The defaults of ``pool_learning_rate`` and ``pull`` are the paper's, for other models: what is tuned.
- Before the first stage the prompts already change what the model says; row 0 of the scores is the model without them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from pydantic import Field
from torch.nn import functional as F
from transformers import DynamicCache

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.method import Method, MethodConfig, Phase, PlainValue, Tuned, register_method


class L2PConfig(MethodConfig):
    """Settings of ``l2p``, with the paper's values."""

    pool_size: int = Field(10, ge=1, description="prompts in the pool (M)")
    prompt_length: int = Field(5, ge=1, description="soft tokens of a prompt")
    picked: int = Field(5, ge=1, description="prompts put before an input (N)")
    pull: float = Field(0.5, ge=0, description="weight of the pull of the picked keys towards the query")
    query: Literal["embedding", "hidden"] = Field(
        "embedding", description="feature that picks: mean input embedding, or mean last hidden state (a second pass)"
    )
    pool_learning_rate: float = Field(0.03, gt=0, description="peak learning rate of prompts and keys, both phases")


class PromptPool(torch.nn.Module):
    """Prompts (M, L, D) in units of ``scale``, keys (M, D); float32.

    Args:
        embeddings: (M, L, D) token embeddings to start from.
    """

    scale: torch.Tensor

    def __init__(self, embeddings: torch.Tensor) -> None:
        super().__init__()
        start = embeddings.detach().float()
        self.register_buffer("scale", start.std().clamp(min=1e-6))
        self.prompts = torch.nn.Parameter(start / self.scale)
        self.keys = torch.nn.Parameter(torch.empty_like(start[:, 0]).uniform_(-1, 1))

    def pick(self, query: torch.Tensor, count: int) -> torch.Tensor:
        """Indices (count,) of the keys nearest to a query (D,), nearest first."""
        # One query at a time: in a product of many the last bits, and with them a choice, depend on their number.
        return (F.normalize(self.keys.detach(), dim=-1) @ F.normalize(query, dim=-1)).topk(count).indices

    def soft_tokens(self, picks: torch.Tensor) -> torch.Tensor:
        """The prompts (R, N * L, D) of picks (R, N)."""
        return (self.prompts[picks] * self.scale).flatten(1, 2)

    def distances(self, queries: torch.Tensor, picks: torch.Tensor) -> torch.Tensor:
        """``1 - cos`` of queries (R, D) and their picked keys, (R, N)."""
        return 1 - F.cosine_similarity(self.keys[picks], queries[:, None], dim=-1)


class Prompter:
    """Puts prompts before what the decoder of ``model`` is given, and takes their hidden states away from the result.

    With the adapter disabled (the reference, the base model) it does nothing.

    Args:
        model: its decoder must be called by keywords, with ids, a mask (R, T) of padding on the left, and positions.
        pool, config: which prompts.
    """

    def __init__(self, model: PeftModel, pool: PromptPool, config: L2PConfig) -> None:
        base = model.get_base_model()
        self.decoder: torch.nn.Module = base.base_model
        self.embed: torch.nn.Module = base.get_input_embeddings()
        self.pool = pool
        self.config = config
        self.tokens = config.picked * config.prompt_length
        self.pulled: torch.Tensor | None = None  # of the last pass with gradients: mean over its rows
        self._switch = next(m for m in model.modules() if isinstance(m, BaseTunerLayer))
        self._prepended = False
        self.decoder.register_forward_pre_hook(self._before, with_kwargs=True)
        self.decoder.register_forward_hook(self._after)

    @torch.no_grad()
    def query(self, prompt: Sequence[int]) -> torch.Tensor:
        """The feature (D,), float32, of a prompt's token ids. It hears of nothing else, padding included."""
        ids = torch.tensor([prompt], device=self.pool.keys.device)
        if self.config.query == "embedding":
            features: torch.Tensor = self.embed(ids)
        else:  # not through the hooks
            features = self.decoder.forward(input_ids=ids, use_cache=False).last_hidden_state
        return features[0].float().mean(0)

    def _before(self, decoder: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        lengths = kwargs.pop("prompt_lengths", None)
        self._prepended = False
        if self._switch.disable_adapters:
            return args, kwargs
        ids, mask, cache = kwargs["input_ids"], kwargs["attention_mask"], kwargs.get("past_key_values")
        if mask.dim() != 2:
            raise ValueError("l2p needs rows of one sequence each, with a mask of their padding")
        wide = F.pad(mask, (0, self.tokens), value=1)  # padding is on the left, so more ones come to the right
        kwargs["attention_mask"] = wide
        if cache is not None and cache.get_seq_length() > 0:  # the prompts' keys and values are in it
            kwargs["position_ids"] = kwargs["position_ids"] + self.tokens
            return args, kwargs
        if lengths is None:
            raise ValueError("l2p needs prompt_lengths to pick prompts by")
        padding = mask.shape[1] - mask.sum(1, keepdim=True)
        kwargs["input_ids"] = None
        kwargs["inputs_embeds"] = self._prepend(ids, padding, lengths)
        kwargs["position_ids"] = (wide.cumsum(1) - 1).clamp(min=0)
        self._prepended = True
        return args, kwargs

    def _after(self, decoder: Any, args: tuple[Any, ...], output: Any) -> Any:
        if self._prepended:
            output.last_hidden_state = output.last_hidden_state[:, self.tokens :]
        return output

    def _prepend(self, ids: torch.Tensor, padding: torch.Tensor, lengths: tuple[int, ...]) -> torch.Tensor:
        """Embeddings (R, S + T, D) of padding, prompts, tokens: windows count columns, so no padding in between."""
        rows = zip(ids.tolist(), padding[:, 0].tolist(), lengths, strict=True)
        prompts = [tuple(row[start : start + length]) for row, start, length in rows]
        # A pair's two rows have the same prompt: one query for both.
        known = {prompt: self.query(prompt) for prompt in set(prompts)}
        queries = torch.stack([known[prompt] for prompt in prompts])
        picks = torch.stack([self.pool.pick(query, self.config.picked) for query in queries])
        # A pair's rows are alike in number and pull, so that the mean over rows is the mean over pairs.
        pulled = self.pool.distances(queries, picks).sum(1).mean()
        self.pulled = pulled if torch.is_grad_enabled() else None
        tokens = self.embed(ids)
        # Several processes exchange the gradients of what a pass uses, so the keys take part in it, times zero.
        soft = self.pool.soft_tokens(picks) + 0 * self.pool.keys.sum()
        both = torch.cat([soft.to(tokens.dtype), tokens], dim=1)
        column = torch.arange(both.shape[1], device=ids.device)[None]
        moved = torch.where(column < padding + self.tokens, column - padding, column)
        source = torch.where(column < padding, column + self.tokens, moved)
        return both.gather(1, source[:, :, None].expand_as(both))


@register_method("l2p")
class L2P(Method):
    """DPO of a prompt pool; see the module's docstring."""

    Config = L2PConfig
    config: L2PConfig
    packs = False
    tunes: ClassVar[tuple[Tuned, ...]] = (
        Tuned("method.pool_learning_rate"),
        Tuned("method.pull", factors=(0.2, 1, 5), within=625),
    )

    def check(self, config: RunConfig) -> None:
        """Refuse to pick more prompts than there are.

        Raises:
            UsageError: ``picked`` is greater than ``pool_size``.
        """
        if self.config.picked > self.config.pool_size:
            raise UsageError(
                f"The method l2p cannot pick {self.config.picked} prompts from a pool of {self.config.pool_size}.",
                f"Set picked to at most that: --set picked={self.config.pool_size}.",
            )

    def added_tokens(self) -> int:
        """The soft tokens before every sequence."""
        return self.config.picked * self.config.prompt_length

    def learning_rate(self, phase: Phase, chosen: float) -> float:
        """The pool's own: what suits LoRA matrices is far too little for prompts."""
        return self.config.pool_learning_rate

    def trained(self, model: PeftModel) -> list[torch.nn.Parameter]:
        """Prompts and keys."""
        return list(self._prompter.pool.parameters())

    def prepare(self, model: PeftModel, stages: int) -> PeftModel:
        """Add the pool to the model and the hooks that use it.

        Draws from torch's global generator, which the harness seeds before.

        Raises:
            BenchError: prompts cannot be put before this model's inputs.
        """
        table = model.get_base_model().get_input_embeddings().weight
        drawn = torch.randint(len(table), (self.config.pool_size, self.config.prompt_length))
        pool = PromptPool(table[drawn.to(table.device)])
        model.add_module("prompt_pool", pool)
        self._prompter = Prompter(model, pool, self.config)
        if model.device.type != "meta":  # a plan's model has no weights to try it on
            self._try_out(model)
        model.requires_grad_(False)
        pool.requires_grad_(True)
        return model

    def pass_penalty(self, model: PeftModel) -> torch.Tensor | None:
        """``pull * sum (1 - cos)`` over the picked keys of the last pass, a mean over its pairs."""
        pulled, self._prompter.pulled = self._prompter.pulled, None
        return None if pulled is None else self.config.pull * pulled

    def state_dict(self) -> dict[str, torch.Tensor | PlainValue]:
        """The pool."""
        return {name: tensor.clone() for name, tensor in self._prompter.pool.state_dict().items()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor | PlainValue]) -> None:
        """Take the pool back, in place.

        Raises:
            RuntimeError: it has another size.
        """
        self._prompter.pool.load_state_dict({k: v for k, v in state.items() if isinstance(v, torch.Tensor)})

    @torch.no_grad()
    def _try_out(self, model: PeftModel) -> None:
        """Whether a pass, and one that goes on from its cache, give what prompts written before a text give.

        Raises:
            BenchError: they do not; the hooks do not work with this model.
        """
        base, prompter = model.get_base_model(), self._prompter
        ids = torch.arange(3, device=base.device)[None]
        ones = torch.ones_like(ids)
        try:
            cache = DynamicCache(config=base.config)
            first = base(
                input_ids=ids[:, :2],
                attention_mask=ones[:, :2],
                past_key_values=cache,
                use_cache=True,
                prompt_lengths=(2,),
            ).logits
            then = base(
                input_ids=ids[:, 2:],
                attention_mask=ones,
                position_ids=ids[:, 2:],
                past_key_values=cache,
                use_cache=True,
            ).logits
            soft = prompter.pool.soft_tokens(prompter.pool.pick(prompter.query([0, 1]), self.config.picked)[None])
            tokens = prompter.embed(ids)
            with model.disable_adapter():
                wanted = base(inputs_embeds=torch.cat([soft.to(tokens.dtype), tokens], dim=1), use_cache=False).logits
            found = torch.cat([first, then], dim=1).float().log_softmax(-1)
            apart = (found - wanted[:, -3:].float().log_softmax(-1)).abs().mean().item()
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            why = str(error).strip().partition("\n")[0]
            raise BenchError(
                f"The method l2p cannot put prompts before the inputs of {_kind(base)}: {why}", _REMEDY
            ) from error
        if math.isnan(apart) or apart > (1e-3 if base.dtype == torch.float32 else 0.2):
            raise BenchError(f"Prompts before the inputs of {_kind(base)} do not do what they should.", _REMEDY)


_REMEDY = "Take a model of a common family (Llama, Qwen, Mistral), or another method."


def _kind(model: torch.nn.Module) -> str:
    return type(model).__name__
