"""What the parts work with: random models of true shapes, pairs of given lengths, a clock that waits for the GPU."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    Qwen2Config,
)

from lifealign_bench.config import AdapterConfig
from lifealign_bench.models.accelerator import require_memory
from lifealign_bench.models.encode import EncodedPair
from lifealign_bench.models.fake import fake_model
from lifealign_bench.models.load import LoadedModel, fresh_adapter
from lifealign_bench.pairs import Message, Pair

SMALL, MIDDLE, LARGE, WINDOWED = "SmolLM2-135M", "Qwen2.5-0.5B", "Qwen2.5-7B", "windows and caps"

# The shapes that their makers publish; for the last, none: a few layers as Gemma 2 has them.
_ENDS: dict[str, Any] = {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
_SHAPES: dict[str, Callable[..., PretrainedConfig]] = {
    SMALL: lambda **more: LlamaConfig(
        **{"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30}
        | {"num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True}
        | {"max_position_embeddings": 8192, **_ENDS, **more}
    ),
    MIDDLE: lambda **more: Qwen2Config(
        **{"vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24}
        | {"num_attention_heads": 14, "num_key_value_heads": 2, "tie_word_embeddings": True}
        | {"max_position_embeddings": 32768, **_ENDS, **more}
    ),
    LARGE: lambda **more: Qwen2Config(
        **{"vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28}
        | {"num_attention_heads": 28, "num_key_value_heads": 4, "tie_word_embeddings": False}
        | {"max_position_embeddings": 32768, **_ENDS, **more}
    ),
    WINDOWED: lambda **more: Gemma2Config(
        **{"vocab_size": 4096, "hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 4}
        | {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 64, "sliding_window": 64}
        | {"attn_logit_softcapping": 3.0, "final_logit_softcapping": None, **_ENDS, **more}
    ),
}
# What makes a shape small enough for a processor; heads a power of two or not, as in the true one.
_TINY: dict[str, dict[str, int]] = {
    SMALL: {"hidden_size": 48, "num_attention_heads": 3, "num_key_value_heads": 1},
    MIDDLE: {"hidden_size": 56, "num_attention_heads": 7, "num_key_value_heads": 1},
    LARGE: {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2},
    WINDOWED: {"hidden_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16},
}
_TINY_ALL = {"vocab_size": 300, "intermediate_size": 64, "num_hidden_layers": 2}

# Weights wider than usual: with them what a token sees moves its logits by more than rounding does.
_WIDE = 0.06


@dataclass(frozen=True)
class Lengths:
    """Tokens of a prompt and of its two responses, each between these bounds."""

    prompt: tuple[int, int]
    response: tuple[int, int]

    def tiny(self) -> Lengths:
        """A sixteenth of them."""
        return Lengths(*(tuple(max(2, n // 16) for n in pair) for pair in (self.prompt, self.response)))  # type: ignore[arg-type]


# About those of the paper's helpful and harmless dialogues; a long prompt with short answers.
DIALOGUE = Lengths((60, 400), (30, 250))
LONG_PROMPT = Lengths((900, 1100), (60, 120))


class Bench:
    """One device, full or tiny size.

    Args:
        device: where everything is done.
        tiny: small enough for a test on a processor.
    """

    def __init__(self, device: torch.device, tiny: bool) -> None:
        self.device = device
        self.tiny = tiny
        self.on_gpu = device.type == "cuda"
        self.tokenizer: PreTrainedTokenizerBase = fake_model()[1]

    def base(
        self, name: str, dtype: torch.dtype, *, wide: bool = False, seed: int = 0, packed: bool = False
    ) -> LoadedModel:
        """A model with random weights.

        Args:
            wide: for comparisons: what is seen matters more.
            packed: its linear layers in four bits.

        Raises:
            BenchError: it does not fit the GPU.
        """
        more = {**_TINY_ALL, **_TINY[name]} if self.tiny else {}
        config = _SHAPES[name](**more, **({"initializer_range": _WIDE} if wide else {}))
        with torch.device("meta"):
            count = sum(p.numel() for p in AutoModelForCausalLM.from_config(config, dtype=dtype).parameters())
        require_memory(int(1.1 * count * dtype.itemsize), f"Random weights of {name} take", self.device)
        torch.manual_seed(seed)
        with self.device:
            model = AutoModelForCausalLM.from_config(config, dtype=dtype)
        model.eval().requires_grad_(False)
        model.generation_config.eos_token_id = 1
        if packed:
            in_four_bits(model, self.device)
        return LoadedModel(model, self.tokenizer, name, "random", f"random-{name}-{seed}", count)

    def adapted(self, base: LoadedModel, *, moved: bool = False) -> PeftModel:
        """The model with a fresh adapter.

        Args:
            moved: its B is not zero, as after some training.
        """
        model = fresh_adapter(base, AdapterConfig(), 0).to(self.device)
        if moved:
            torch.manual_seed(1)
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    if "lora_B" in name:
                        parameter.normal_(std=0.5)
        return model

    def pairs(self, count: int, lengths: Lengths, *, seed: int = 0, prefix: int = 8) -> list[EncodedPair]:
        """Pairs of random tokens, of text that the tokenizer makes about these tokens of; prompts begin alike."""
        bounds = lengths.tiny() if self.tiny else lengths
        generator = torch.Generator().manual_seed(seed)

        def letters(low: int, high: int) -> str:
            size = int(torch.randint(low, high + 1, (), generator=generator))
            return "".join(chr(97 + int(n)) for n in torch.randint(0, 26, (size,), generator=generator))

        found = []
        for i in range(count):
            asked = "shared system prompt of all "[:prefix] + letters(*bounds.prompt)
            chosen, rejected = letters(*bounds.response), letters(*bounds.response)
            pair = Pair(f"t/train/{i}", "t", (Message("user", asked),), chosen, rejected)
            prompt = self._ids(f"<u>{asked}<e><a>")
            found.append(EncodedPair(pair, prompt, self._ids(chosen + "<e>"), self._ids(rejected + "<e>")))
        return found

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def wait(self) -> None:
        """Until the GPU has done what it was given."""
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def seconds(self, action: Callable[[], Any], repeats: int = 3) -> list[float]:
        """Of each of so many calls, after one that is not counted."""
        action()
        return [self.once(action) for _ in range(1 if self.tiny else repeats)]

    def once(self, action: Callable[[], Any]) -> float:
        """Seconds of a call."""
        self.wait()
        clock = time.perf_counter()
        action()
        self.wait()
        return time.perf_counter() - clock

    def peak(self, action: Callable[[], Any]) -> float | None:
        """GiB at most that tensors took during a call; None on a processor."""
        if not self.on_gpu:
            action()
            return None
        torch.cuda.reset_peak_memory_stats(self.device)
        action()
        return float(torch.cuda.max_memory_allocated(self.device)) / 2**30

    def held(self) -> int:
        """Bytes of the tensors that are on the GPU now; 0 on a processor."""
        return torch.cuda.memory_allocated(self.device) if self.on_gpu else 0

    def context(self) -> int:
        """Bytes of the GPU that are taken and hold no tensors, by all its processes; 0 on a processor."""
        if not self.on_gpu:
            return 0
        free, total = torch.cuda.mem_get_info(self.device)
        return int(total - free - torch.cuda.memory_reserved(self.device))

    def free(self) -> None:
        """Give back what nothing refers to; a few layers are not worth the second that it takes to look."""
        if not self.tiny:
            gc.collect()
        if self.on_gpu:
            torch.cuda.empty_cache()


def in_four_bits(model: Any, device: torch.device) -> None:
    """Pack the linear layers as ``--quantization nf4`` loads them, the vocabulary's head left out; bitsandbytes."""
    from bitsandbytes import nn

    from lifealign_bench.models.quantization import keep_differentiable

    head = model.get_output_embeddings()
    kind: dict[str, Any] = {"compress_statistics": True, "quant_type": "nf4"}
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if not isinstance(child, torch.nn.Linear) or child is head:
                continue
            sizes = child.in_features, child.out_features
            packed = nn.Linear4bit(
                *sizes, bias=child.bias is not None, compute_dtype=child.weight.dtype, device="meta", **kind
            )
            weight = nn.Params4bit(child.weight.data, requires_grad=False, module=packed, **kind)
            packed.weight, packed.bias = weight.to(device), child.bias
            setattr(parent, name, packed)
    model.is_loaded_in_4bit = True  # what PEFT asks for
    keep_differentiable(model)


def median(seconds: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(seconds)
