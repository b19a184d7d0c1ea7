"""The method loads, and its settings are what the command line and the record can handle."""

from __future__ import annotations

import inspect

from pydantic_core import PydanticUndefined

from lifealign_bench.conformance.bench import Bench
from lifealign_bench.conformance.checks import Check, Outcome, bad, good
from lifealign_bench.method import MethodConfig

__all__ = ["CHECKS"]


def _loads(bench: Bench) -> Outcome:
    cls = bench.cls
    module = inspect.getmodule(cls)
    if not (cls.__doc__ or (module is not None and module.__doc__)):
        return bad(f"{cls.__name__} loads, but neither the file nor the class has a docstring")
    return good(f"{cls.__name__}")


def _settings(bench: Bench) -> Outcome:
    config = bench.cls.Config
    if not issubclass(config, MethodConfig):
        return bad(f"{config.__name__} is not a subclass of lifealign_bench.method.MethodConfig")
    rules = config.model_config
    if not rules.get("frozen") or rules.get("extra") != "forbid":
        return bad(f"{config.__name__} changes the rules of MethodConfig: frozen {rules.get('frozen')}")
    for name, field in config.model_fields.items():
        if field.default is PydanticUndefined and field.default_factory is None:
            return bad(f"{config.__name__}.{name} has no default")
        if not field.description:
            return bad(f"{config.__name__}.{name} has no description")
    return good(", ".join(config.model_fields) or "none")


CHECKS = (
    Check(
        "loads",
        "one class with @register_method and a docstring that says what it is",
        "Mend the file until `lifealign-bench show FILE` shows it.",
        _loads,
    ),
    Check(
        "settings",
        "a frozen Config whose settings all have a default and a description",
        'Declare each as name: type = Field(default, description="...") in a subclass of MethodConfig.',
        _settings,
    ),
)
