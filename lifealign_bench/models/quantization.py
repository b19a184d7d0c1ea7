"""A base model whose linear layers are kept in four bits: NF4 with double quantization (Dettmers et al. 2023, QLoRA).

The adapter, the embeddings, the norms and the vocabulary's head stay in the run's types; every product is taken in the
run's type with weights that are unpacked for it.
"""

from __future__ import annotations

import importlib.metadata
from typing import Any

import torch
from packaging.version import Version
from transformers import BitsAndBytesConfig, PreTrainedModel

from lifealign_bench.errors import UsageError
from lifealign_bench.util.extras import require_extra

_LEAST = "0.48"  # the first that works on a CPU without a second build

# Bytes of a weight: four bits, a byte of scale for 64 of them, four bytes of its scale for 256 of these.
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)


def require_quantization(device: str) -> None:
    """Make sure that models can be kept in four bits here.

    Raises:
        UsageError: bitsandbytes is not installed, too old, or was built without what the device needs.
    """
    require_extra("bitsandbytes", "quantization", "--quantization nf4")
    found = importlib.metadata.version("bitsandbytes")
    if Version(found) < Version(_LEAST):
        raise UsageError(
            f"--quantization nf4 needs bitsandbytes {_LEAST} or newer, and {found} is installed.",
            "Upgrade it: pip install --upgrade 'lifealign-bench[quantization]'.",
        )
    from bitsandbytes.cextension import ErrorHandlerMockBNBNativeLibrary, lib

    if torch.device(device).type == "cuda" and isinstance(lib, ErrorHandlerMockBNBNativeLibrary):
        raise UsageError(
            f"bitsandbytes {found} brings nothing for the CUDA of this torch ({torch.version.cuda}): --quantization "
            "nf4 cannot be computed on this GPU.",
            "Install a bitsandbytes and a torch of one CUDA version, take --device cpu, or leave out --quantization.",
        )


def nf4_arguments(dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """What ``from_pretrained`` takes to load the weights in four bits, each right where it will be."""
    quantized = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    place = torch.cuda.current_device() if device.type == "cuda" and device.index is None else device
    return {"quantization_config": quantized, "device_map": {"": place}}


def keep_differentiable(model: torch.nn.Module) -> None:
    """Have no layer arrange its weights anew for inference.

    On processors with bfloat16 instructions bitsandbytes does that in the first pass without gradients, and what is
    computed with such weights afterwards has no gradient: training would go on, and learn nothing.
    """
    for module in model.modules():
        if "support_avx512bf16_for_cpu" in module.__dict__:
            module.__dict__["support_avx512bf16_for_cpu"] = False


def leave_file(model: PreTrainedModel) -> None:
    """Have main memory hold what was not packed, and no longer the file.

    Weights that are kept as they are saved lie in the mapped file, and one of them keeps all of it resident, with the
    weights that were packed.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.dtype != torch.uint8:
            tensor.data = tensor.data.clone()


def count_parameters(model: PreTrainedModel) -> int:
    """Parameters of a model; of weights in four bits, two of which lie in a byte, as many as there were."""
    counted = 0
    for parameter in model.parameters():
        state = getattr(parameter, "quant_state", None)
        counted += parameter.numel() if state is None else torch.Size(state.shape).numel()
    return counted
