"""Looks on while a method's hooks are called: random numbers drawn, traces left on the model, state that is kept."""

from __future__ import annotations

import copy
import gc
import inspect
import random
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from peft import PeftModel
from transformers import GenerationMixin, PreTrainedModel

from lifealign_bench.method import Method, Phase, PlainValue, Stage
from lifealign_bench.runs.session import Session

# What is asked before a run, and what is looked at by itself; everything else that Method declares is a hook.
_OTHERS = ("check", "plan", "phases", "samples", "asks", "state_dict", "load_state_dict")

HOOKS = tuple(
    n for n, f in vars(Method).items() if inspect.isfunction(f) and not n.startswith("_") and n not in _OTHERS
)

MethodState = Mapping[str, torch.Tensor | PlainValue]


class MethodWatch:
    """Put around a method's hooks by :meth:`attach`, before the run.

    After the run:

    - ``draws``: hooks that moved a global generator, as ``hook (generator)``, in the order of their first time.
    - ``not_plain``: values of the state that are neither tensors nor plain, in words.
    - ``left``: what a phase left on the model or the process, one phrase each.
    - ``sampled``: hooks that had the model say something otherwise than by ``stage.sample``, and how.
    - ``states``: the method's state after every phase, by stage and phase.
    """

    def __init__(self) -> None:
        self.draws: dict[str, None] = {}
        self.not_plain: dict[str, None] = {}
        self.left: list[str] = []
        self.sampled: dict[str, None] = {}
        self._may_sample = False
        self.states: dict[tuple[int, Phase], MethodState] = {}
        self._before: dict[str, str] = {}
        self._trained: dict[str, str] = {}

    def attach(self, method: Method) -> None:
        """Wrap the hooks of this one instance."""
        for name in HOOKS:
            setattr(method, name, self._watched(name, getattr(method, name), method))
        state_dict = method.state_dict

        def looked_at() -> dict[str, torch.Tensor | PlainValue]:
            state = state_dict()
            for name, value in state.items():
                if not isinstance(name, str):
                    self.not_plain[f"state_dict() has the key {name!r}"] = None
                elif not _is_plain(value):
                    self.not_plain[f"state_dict()[{name!r}] is of type {type(value).__name__}"] = None
            return state

        # By name, as the hooks: mypy forbids the assignment to a method.
        setattr(method, "state_dict", looked_at)  # noqa: B010

    def _watched(self, name: str, hook: Callable[..., Any], method: Method) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if name == "before_stage":
                self._before = traces(arguments[1])
            if name == "on_gradients" and not self._trained:
                self._trained = _trained(arguments[0])  # as it is in training, whatever was in between
            before = _generators()
            with self._listening(name):
                result = hook(*(self._told(a) if isinstance(a, Stage) else a for a in arguments))
            for generator, state in _generators().items():
                # There is no stage yet whose generator prepare could use; the harness seeds torch right before it.
                if state != before[generator] and not (name == "prepare" and generator == "torch"):
                    self.draws[f"{name} ({generator})"] = None
            if name == "after_stage":
                self._phase_ended(arguments[0], arguments[1], method)
            return result

        return call

    def _told(self, stage: Stage) -> Stage:
        """The stage, whose sampling is known to be its own."""

        def sample(*arguments: Any) -> Any:
            self._may_sample = True
            try:
                return stage.sample(*arguments)
            finally:
                self._may_sample = False

        return replace(stage, sample=sample)

    @contextmanager
    def _listening(self, hook: str) -> Iterator[None]:
        """See who has the model say something: by transformers' own generation, or pass by pass with a cache."""

        def heard(how: str, call: Callable[..., Any], by: Callable[[Mapping[str, Any]], bool]) -> Callable[..., Any]:
            def instead(model: Any, *arguments: Any, **named: Any) -> Any:
                # There is no stage yet when a method prepares the model, and tries what it made of it.
                if hook != "prepare" and not self._may_sample and by(named):
                    self.sampled[f"{hook} ({how})"] = None
                return call(model, *arguments, **named)

            return instead

        def cached(named: Mapping[str, Any]) -> bool:
            return named.get("past_key_values") is not None or bool(named.get("use_cache"))

        generate = heard("model.generate", GenerationMixin.generate, lambda named: True)
        forward = heard("passes with a cache", PreTrainedModel.__call__, cached)
        with patch.object(GenerationMixin, "generate", generate), patch.object(PreTrainedModel, "__call__", forward):
            yield

    def _phase_ended(self, stage: Stage, model: PeftModel, method: Method) -> None:
        place = f"stage {stage.index}, {stage.phase} phase"
        before, after = self._before | self._trained, traces(model) | _trained(model)
        self._trained = {}
        for what in sorted(before.keys() | after.keys()):
            if before.get(what) != after.get(what):
                was, now = before.get(what, "not there"), after.get(what, "gone")
                self.left.append(f"{place}: {what} was {was} and is {now}")
        training = [name or "the model" for name, module in model.named_modules() if module.training]
        if training:
            self.left.append(f"{place}: {training[0]} is in training mode")
        self.states[stage.index, stage.phase] = _copied(method.state_dict())


def _is_plain(value: object) -> bool:
    if isinstance(value, torch.Tensor | str | int | float | bool):
        return True
    if not isinstance(value, list):
        return False
    return any(all(isinstance(item, kind) for item in value) for kind in (str, int, float))


def _copied(state: MethodState) -> MethodState:
    """As it is now, whatever the method does with its tensors and lists later."""
    return {k: v.detach().clone() if isinstance(v, torch.Tensor) else copy.deepcopy(v) for k, v in state.items()}


def _generators() -> dict[str, Any]:
    """The states of the global generators, comparable."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "random": random.getstate(),
        "numpy": (kind, np.asarray(keys).tobytes(), *rest),
    }


def _trained(model: PeftModel) -> dict[str, str]:
    """Which parameters are trained, by name."""
    return {name: "trained" if p.requires_grad else "frozen" for name, p in model.named_parameters()}


def traces(model: PeftModel) -> dict[str, str]:
    """Everything that a stage can leave behind on a model or in torch, by name: nothing of it is a weight."""
    found = {
        "torch's gradient mode": str(torch.is_grad_enabled()),
        "torch's default type": str(torch.get_default_dtype()),
        "torch's number of threads": str(torch.get_num_threads()),
    }
    for name, module in model.named_modules():
        place = name or "the model"
        if "forward" in vars(module):
            found[f"the forward of {place}"] = "patched"
        hooks = (
            *module._forward_hooks.values(),
            *module._forward_pre_hooks.values(),
            *module._backward_hooks.values(),
            *module._backward_pre_hooks.values(),
        )
        if hooks:
            found[f"the hooks on {place}"] = f"{len(hooks)}"
    for name, parameter in model.named_parameters():
        found[f"the parameter {name}"] = f"{tuple(parameter.shape)} of {parameter.dtype}"
        if parameter.grad is not None:
            found[f"the gradient of {name}"] = "there"
        hooks = (*(parameter._backward_hooks or {}), *(parameter._post_accumulate_grad_hooks or {}))
        if hooks:
            found[f"the gradient hooks on {name}"] = f"{len(hooks)}"
    return found


@dataclass(frozen=True)
class Memory:
    """In bytes, after a stage.

    Args:
        tensors: number of tensors alive beside the harness's own.
        tensor_bytes: what they occupy.
        state_tensors, state_tensor_bytes: of the method's ``state_dict``.
        other_bytes: what the method's attributes hold beside tensors: lists, texts, arrays.
        state_other_bytes: the plain values of its ``state_dict``.
    """

    tensors: int
    tensor_bytes: int
    state_tensors: int
    state_tensor_bytes: int
    other_bytes: int
    state_other_bytes: int


def memory_of(session: Session) -> Memory:
    """What is alive now. Deterministic: objects are counted, not pages of the process."""
    gc.collect()
    harness = {_place(t) for t in _harness(session)}
    alive = [t for t in _alive() if _place(t) not in harness]
    state = session.method.state_dict()
    kept = [v for v in state.values() if isinstance(v, torch.Tensor)]
    plain = {k: v for k, v in state.items() if not isinstance(v, torch.Tensor)}
    return Memory(
        tensors=len(alive),
        tensor_bytes=_bytes(alive),
        state_tensors=len(kept),
        state_tensor_bytes=_bytes(kept),
        other_bytes=size_of(vars(session.method)),
        state_other_bytes=size_of(plain),
    )


def _harness(session: Session) -> Iterable[torch.Tensor]:
    """Tensors that the harness keeps from stage to stage: weights, and what the base model said."""
    yield from session.model.parameters()
    yield from session.model.buffers()
    yield from session._reference.values()
    yield from (value for value in session.speaker.said.values() if isinstance(value, torch.Tensor))


def _alive() -> list[torch.Tensor]:
    # By type() and not isinstance: libraries' lazy objects import things when they are asked for their class.
    found: list[Any] = [o for o in gc.get_objects() if issubclass(type(o), torch.Tensor)]
    return [t for t in found if t.device.type != "meta" and t.layout == torch.strided]


def _place(tensor: torch.Tensor) -> int:
    """Where a tensor's memory begins; views of one memory have the same place."""
    return tensor.untyped_storage().data_ptr()


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    """Memory of ``tensors``, each once; of a view the whole that it keeps alive."""
    return sum({_place(t): t.untyped_storage().nbytes() for t in tensors}.values())


def size_of(thing: Any) -> int:
    """Bytes of ``thing`` with all that its containers hold, each once.

    Objects of other classes count nothing: pairs and stages belong to the harness, tensors are counted elsewhere.
    """
    seen: set[int] = set()
    total = 0
    todo = deque([thing])
    while todo:
        item = todo.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, str | bytes | int | float):
            total += sys.getsizeof(item)
        elif isinstance(item, np.ndarray):
            total += item.nbytes
        elif isinstance(item, Mapping):
            total += sys.getsizeof(item)
            todo.extend(item.keys())
            todo.extend(item.values())
        elif isinstance(item, list | tuple | set | frozenset | deque):
            total += sys.getsizeof(item)
            todo.extend(item)
    return total
