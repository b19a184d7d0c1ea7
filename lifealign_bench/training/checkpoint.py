"""What training leaves on disk: adapters, the state of methods, and the checkpoints that it goes on from.

Ours is safetensors only, never pickle.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import TrainerState

from lifealign_bench.errors import BenchError, is_out_of_memory
from lifealign_bench.method import Method, PlainValue
from lifealign_bench.results.folder import read_marker, write_marker
from lifealign_bench.util.files import atomic_path, usual_mode

_PLAIN = "plain_values"


class Checkpoint:
    """A step of a stage's training that it goes on from to the bit: a folder of files and a marker.

    The trainer writes and reads the adapter, the optimizer, the schedule and the generators of random numbers; the rest
    is written and read here. The marker comes last and holds the hashes of all.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.step = int(path.name.rpartition("-")[2])
        self.state = path / "method.safetensors"
        self.marker = path / "complete.json"

    @classmethod
    def at(cls, folder: Path, step: int) -> Checkpoint:
        """Of a step, where transformers' trainer lays it in the ``folder`` of a stage's checkpoints."""
        return cls(folder / f"checkpoint-{step}")

    @classmethod
    def newest(cls, folder: Path, notice: Callable[[str], None]) -> tuple[Checkpoint | None, dict[str, Any]]:
        """The last one whose files are all there and whole, and what was counted by then; damaged ones are named and
        removed."""
        for checkpoint in sorted(map(cls, folder.glob("checkpoint-*")), key=lambda found: found.step, reverse=True):
            # Without its marker it was being written when the process ended: no damage, nothing to tell.
            counted = read_marker(checkpoint.marker, notice)
            if counted is not None:
                return checkpoint, counted
            if checkpoint.marker.is_file():
                notice(f"The checkpoint {checkpoint.path} is damaged; going back to the one before it.")
            shutil.rmtree(checkpoint.path, ignore_errors=True)
        return None, {}

    def keep(self, method: Method) -> None:
        """Add the state of the method to what the trainer has written."""
        save_state(self.state, method.state_dict())

    def finish(self, counted: Mapping[str, Any]) -> None:
        """Declare it whole, with what was ``counted`` by then."""
        files = [file for file in self.path.iterdir() if file.is_file() and file != self.marker]
        write_marker(self.marker, files, counted)

    def restore(self, method: Method) -> None:
        """Give the method back its state.

        Raises:
            BenchError: a file cannot be read.
        """
        with self.reading():
            TrainerState.load_from_json(str(self.path / "trainer_state.json"))
            method.load_state_dict(load_state(self.state))

    @contextmanager
    def reading(self) -> Iterator[None]:
        """What goes wrong in here is the checkpoint's: its files are what was written down and cannot be read all the
        same.

        torch reads them with ``weights_only``: a pickle that would run code is refused.
        """
        try:
            yield
        except Exception as error:
            if isinstance(error, BenchError) or is_out_of_memory(error):
                raise  # told by others
            reason = (str(error).strip() or type(error).__name__).partition("\n")[0].rstrip(".")[:200]
            if type(error).__name__ == "UnpicklingError":
                reason = "its pickle is damaged or holds something else than numbers; none of it was run"
            raise BenchError(
                f"The checkpoint {self.path} cannot be read: {reason}.",
                "Delete it: the run goes on from the checkpoint before it, or from the beginning of the stage.",
            ) from error


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
    # PEFT keeps them as a set, which every process would write in an order of its own.
    config.target_modules = sorted(config.target_modules)
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
