"""A base model in pieces: every transformer layer is split over the processes of a launch (PyTorch's FSDP2).

The weights of a layer are brought together when it computes and let go afterwards, forward and backward, so that each
process holds its share of the layers and one layer at a time (Zhao et al. 2023, "PyTorch FSDP"). What is small stays
whole on every process: embeddings, the last norm, the vocabulary's head, and above all the adapter, whose gradients are
averaged as in a launch without pieces. Therefore a method's hooks find the same whole matrices as ever.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from transformers.modeling_layers import GradientCheckpointingLayer

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.util.distributed import world_size


def check_sharding(config: RunConfig) -> None:
    """Refuse pieces where there is nobody to hold them, or what cannot be in pieces.

    Raises:
        UsageError: one process alone; weights in four bits; an engine that generates from a whole model.
    """
    if not config.shard:
        return
    if world_size() == 1:
        raise UsageError(
            "--shard splits the base model over the processes of a launch, and this run is one process.",
            "Start it with accelerate launch --multi_gpu --num_processes N -m lifealign_bench run ..., or leave out "
            "--shard; --quantization nf4 and --activation-checkpointing need less memory on one GPU.",
        )
    if config.quantization is not None:
        raise UsageError(
            f"--shard and --quantization {config.quantization} do not go together: four-bit weights are not split.",
            "Leave out one of them.",
        )
    engine = str(getattr(config, "generation_engine", "batches"))
    if engine != "batches":
        raise UsageError(
            f"--shard and --generation {engine} do not go together: that engine needs the whole model in one place.",
            "Leave out --generation, which gives batches, or --shard.",
        )


def split_layers(model: torch.nn.Module, name: str, device: torch.device) -> None:
    """Split every transformer layer of a model on the CPU over all processes; all else goes to ``device`` whole.

    Raises:
        UsageError: the model has no layers that transformers marks as such.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise UsageError(
            f"The model {name!r} has no layers that can be split over several processes.",
            "Leave out --shard, or take a model of a common family (Llama, Qwen, Mistral).",
        )
    mesh = init_device_mesh(device.type, (world_size(),))
    for layer in layers:
        # Layer by layer, so that no GPU ever holds the whole model.
        layer.to(device)
        fully_shard(layer, mesh=mesh, reshard_after_forward=True)
    model.to(device)


def leave_pieces(model: Any) -> None:
    """Have data parallelism look after what is whole alone: the pieces look after themselves."""
    pieces = [name for name, parameter in model.named_parameters() if isinstance(parameter, DTensor)]
    if pieces:
        model._ddp_params_and_buffers_to_ignore = pieces
