"""Tensors and plain values on disk: adapters and the state of methods. Safetensors only, never pickle."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lifealign_bench.method import PlainValue
from lifealign_bench.util.files import atomic_path, usual_mode

__all__ = ["adapter_tensors", "load_adapter", "load_state", "replace_adapter", "save_adapter", "save_state"]

_PLAIN = "plain_values"


def save_state(path: Path, state: Mapping[str, torch.Tensor | PlainValue]) -> None:
    """Write a method's state: tensors as such, plain values as JSON in the file's metadata."""
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in state.items() if isinstance(v, torch.Tensor)}
    plain = {k: v for k, v in state.items() if not isinstance(v, torch.Tensor)}
    with atomic_path(path) as temporary:
        # In the order given: a method may go through what it loads, and a resumed run must go through it alike.
        save_file(tensors, temporary, metadata={_PLAIN: json.dumps(plain, ensure_ascii=False)})


def load_state(path: Path) -> dict[str, torch.Tensor | PlainValue]:
    """What :func:`save_state` wrote, tensors on the CPU."""
    state: dict[str, Any] = {}
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - not a dict
            state[name] = file.get_tensor(name)
        state.update(json.loads((file.metadata() or {}).get(_PLAIN, "{}")))
    return state


def adapter_tensors(model: PeftModel) -> dict[str, torch.Tensor]:
    """The adapter's weights by PEFT's names."""
    return dict(get_peft_model_state_dict(model, adapter_name="default", save_embedding_layers=False))


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Write the adapter as PEFT does (``PeftModel.from_pretrained`` reads it), without asking any hub.

    PEFT's own function writes a model card as well, which takes longer than the rest of a small adapter.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in adapter_tensors(model).items()}
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    usual_mode(folder / "adapter_model.safetensors")
    config = copy.deepcopy(model.peft_config["default"])
    config.inference_mode = True
    config.save_pretrained(str(folder))


def replace_adapter(model: PeftModel, folder: Path) -> None:
    """:func:`save_adapter` into a folder that may hold an older one; at no moment is there half of one."""
    temporary = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    save_adapter(model, temporary)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def load_adapter(model: PeftModel, folder: Path) -> None:
    """Put a saved adapter's weights into ``model``, in place and to the bit.

    Raises:
        ValueError: the file's weights are not those of this model's adapter.
    """
    weights = load_file(folder / "adapter_model.safetensors")
    present = adapter_tensors(model)
    if weights.keys() != present.keys():
        raise ValueError(f"{folder} holds other weights than this model's adapter has")
    set_peft_model_state_dict(model, weights, adapter_name="default")
