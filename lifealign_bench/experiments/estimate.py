"""Memory and time of a run on GPUs, estimated from published peaks and from the run's tokens; no GPU is touched.

A launch of n processes has n copies of the model; they share the pairs of a step, the scoring passes and the batches of
prompts. What is left out: pairs that a method replays, a method's own work between phases, loading the model, the
products of attention (a few percent at these lengths), and the exchange of the adapter's gradients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lifealign_bench.config import RunConfig
from lifealign_bench.training.workload import Workload
from lifealign_bench.util.progress import TRAIN_WORK
from lifealign_bench.util.registry import unknown_name

__all__ = [
    "COUNTS",
    "DECODING_UTILISATION",
    "GPUS",
    "TRAINING_UTILISATION",
    "Gpu",
    "GpuEstimate",
    "Shape",
    "Times",
    "estimate_gpu",
    "gpu_named",
    "memory_bytes",
]

COUNTS = (1, 2, 8)
# Shares of the published peaks that are reached in practice: of the products in training and scoring, and of the memory
# bandwidth when one token after the other is generated.
TRAINING_UTILISATION = 0.4
DECODING_UTILISATION = 0.3
_LIBRARIES = 600 * 2**20  # the interpreter with torch and transformers, or a CUDA context


@dataclass(frozen=True)
class Gpu:
    """A kind of GPU by its maker's data sheet: dense products a second, bytes a second from memory, bytes of memory."""

    name: str
    bfloat16: float
    float32: float
    bandwidth: float
    memory: float


GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("A100", 312e12, 19.5e12, 2.039e12, 80e9),
        Gpu("H100", 989e12, 67e12, 3.35e12, 80e9),
        Gpu("H200", 989e12, 67e12, 4.8e12, 141e9),
        Gpu("L40S", 362e12, 91.6e12, 0.864e12, 48e9),
        Gpu("RTX 4090", 165e12, 82.6e12, 1.008e12, 24e9),
    )
}


@dataclass(frozen=True)
class Shape:
    """What a model's memory and time depend on.

    Args:
        trainable: parameters of the adapter.
        kv_width: values a token and layer in the cache of keys (as many again of values).
        value_bytes: bytes of a weight.
    """

    parameters: int
    trainable: int
    hidden: int
    intermediate: int
    layers: int
    kv_width: int
    value_bytes: int


@dataclass(frozen=True)
class Times:
    """Seconds of the parts of a run."""

    sft: float
    preference: float
    reference: float
    scoring: float
    generation: float

    @property
    def total(self) -> float:
        """Seconds of the whole run."""
        return self.sft + self.preference + self.reference + self.scoring + self.generation


@dataclass(frozen=True)
class GpuEstimate:
    """A run on ``count`` GPUs; memory is that of each."""

    gpu: Gpu
    count: int
    memory_bytes: int
    times: Times

    @property
    def fits(self) -> bool:
        """Whether a GPU of this kind holds it."""
        return self.memory_bytes <= self.gpu.memory


def gpu_named(name: str) -> Gpu:
    """The kind of GPU that ``name`` stands for, also as drivers write it (``NVIDIA H100 80GB HBM3``).

    Raises:
        UsageError: none that is known.
    """
    given = _letters(name)
    found = [gpu for gpu in GPUS.values() if _letters(gpu.name) in given]
    found = found or [gpu for gpu in GPUS.values() if given and given in _letters(gpu.name)]
    if len(found) != 1:
        raise unknown_name("GPU", name, GPUS)
    return found[0]


def _letters(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def estimate_gpu(config: RunConfig, shape: Shape, work: Workload, gpu: Gpu, count: int) -> GpuEstimate:
    """A run on ``count`` GPUs of a kind."""
    return GpuEstimate(gpu, count, memory_bytes(config, shape, work, count), _times(config, shape, work, gpu, count))


def _times(config: RunConfig, shape: Shape, work: Workload, gpu: Gpu, count: int) -> Times:
    peak = gpu.bfloat16 if shape.value_bytes == 2 else gpu.float32
    # A forward pass multiplies every weight with every token once: two operations.
    a_token = 2 * shape.parameters / (peak * TRAINING_UTILISATION)
    pairs = config.training.batch_size
    step_share = math.ceil(pairs / count) / pairs
    phases = [phase for stage in work.stages for phase in stage.phases]
    trained = {name: sum(p.tokens for p in phases if p.phase == name) for name in ("sft", "preference")}
    prefill = sum(score.prompt_tokens for score in work.scores) * a_token / count
    # Every step of a batch reads all weights.
    a_step = shape.parameters * shape.value_bytes / (gpu.bandwidth * DECODING_UTILISATION)
    batches = [
        math.ceil(prompts / config.generation.generation_batch_size) for s in work.scores for prompts in s.prompts
    ]
    steps = sum(math.ceil(n / count) for n in batches) * config.generation.max_new_tokens
    return Times(
        sft=trained["sft"] * TRAIN_WORK * a_token * step_share,
        preference=trained["preference"] * TRAIN_WORK * a_token * step_share,
        reference=sum(stage.reference_tokens for stage in work.stages) * a_token / count,
        scoring=sum(score.tokens for score in work.scores) * a_token / count,
        generation=prefill + steps * a_step,
    )


def memory_bytes(config: RunConfig, shape: Shape, work: Workload, count: int) -> int:
    """Bytes that one of ``count`` processes needs: weights, the adapter with AdamW's state, and the larger of what a
    training pass and a batch of generation keep."""
    width = shape.value_bytes
    a_step = math.ceil(config.training.batch_size / count) * work.longest.tokens
    tokens = min(config.tokens_a_pass(), a_step)
    # With the embedded model 50 values a token, layer and hidden unit were measured to survive to the backward pass (34
    # bytes in Korthikanti et al. 2022, section 4.1; norms and adapters that work in float32 come on top). Other models
    # have wider inner layers than its 2.7: of the 50, four values of each inner unit are counted as these.
    activations = tokens * shape.layers * (39 * shape.hidden + 4 * shape.intermediate) * width
    # A chunk of logits in the model's type and in float32, see vocabulary.py.
    logits = 2**24 * (width + 2 * 4)
    together = min(config.generation.generation_batch_size, max((n for s in work.scores for n in s.prompts), default=0))
    context = work.longest_prompt + config.generation.max_new_tokens
    remembered = together * context * 2 * shape.layers * shape.kv_width * width
    steady = shape.parameters * width + shape.trainable * 16 + _LIBRARIES
    return int(steady + max(activations + logits, remembered))
