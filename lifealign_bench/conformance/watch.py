"""Looks on while a method's hooks are called: random numbers drawn, traces left on the model, state that is kept."""

from __future__ import annotations

import copy
import inspect
import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from peft import PeftModel

from lifealign_bench.method import Method, Phase, PlainValue, Stage

__all__ = ["HOOKS", "State", "Watch", "traces"]

# What is asked before a run, and what is looked at by itself; everything else that Method declares is a hook.
_OTHERS = ("check", "plan", "phases", "state_dict", "load_state_dict")
HOOKS = tuple(
    n for n, f in vars(Method).items() if inspect.isfunction(f) and not n.startswith("_") and n not in _OTHERS
)
State = Mapping[str, torch.Tensor | PlainValue]


class Watch:
    """Put around a method's hooks by :meth:`attach`, before the run.

    After the run:

    - ``draws``: hooks that moved a global generator, as ``hook (generator)``, in the order of their first time.
    - ``not_plain``: values of the state that are neither tensors nor plain, in words.
    - ``left``: what a phase left on the model or the process, one phrase each.
    - ``states``: the method's state after every phase, by stage and phase.
    """

    def __init__(self) -> None:
        self.draws: dict[str, None] = {}
        self.not_plain: dict[str, None] = {}
        self.left: list[str] = []
        self.states: dict[tuple[int, Phase], State] = {}
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
            result = hook(*arguments)
            for generator, state in _generators().items():
                # There is no stage yet whose generator prepare could use; the harness seeds torch right before it.
                if state != before[generator] and not (name == "prepare" and generator == "torch"):
                    self.draws[f"{name} ({generator})"] = None
            if name == "after_stage":
                self._phase_ended(arguments[0], arguments[1], method)
            return result

        return call

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


def _copied(state: State) -> State:
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
