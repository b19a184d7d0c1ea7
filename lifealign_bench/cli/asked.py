"""The block of options that says what is run: every setting that has a flag, the same in all commands that take it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from lifealign_bench.cli import options
from lifealign_bench.cli.options import setting_parameter
from lifealign_bench.config import RunConfig, setting_at
from lifealign_bench.errors import UsageError
from lifealign_bench.experiments.assignments import meant_setting
from lifealign_bench.experiments.request import Words

# In the order of the help.
_PANELS = ("What", "Settings", "Data", "Scores", "Machine")
# What is said beside the settings themselves.
_BESIDE = {"config": options.ConfigFile, "assignment": options.Assignments, "limit": options.Limit}


def takes_settings(
    *,
    beside: Collection[str] = tuple(_BESIDE),
    without: Collection[str] = (),
    help: Mapping[str, str] | None = None,
    **defaults: Path,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command's function gets options for settings, and what they say as its argument ``words``.

    Args:
        beside: the options that it gets beside those of settings.
        without: settings that it does not take.
        help: of settings that mean something else here.
        defaults: values of settings that it takes where nothing is said.
    """
    names = [name for name in RunConfig.model_fields if setting_at(name).flag and name not in without]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_BESIDE[name])
        for name in beside
    ]
    for name in names:
        parameter = setting_parameter(name, (help or {}).get(name))
        added.append(parameter.replace(default=defaults.get(name)))

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(function, eval_str=True).parameters
        kept = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for name, p in own.items() if name != "words"]
        ours = {parameter.name for parameter in added}

        @wraps(function)
        def command(**said: Any) -> None:
            rest = {name: value for name, value in said.items() if name not in ours}
            function(words=Words.of({name: said.get(name) for name in ours}), **rest)

        parameters = sorted([*added, *kept], key=_panel)
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return command

    return decorate


def _panel(parameter: inspect.Parameter) -> int:
    """Where an option's panel stands among those of settings; what is no setting's comes after them."""
    (option, *_) = parameter.annotation.__metadata__
    panel = getattr(option, "rich_help_panel", None)
    return _PANELS.index(panel) if panel in _PANELS else len(_PANELS)


class RunCommand(TyperCommand):
    """A command that takes settings: an option that there is not, but a setting, is answered with how to say it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line.

        Raises:
            UsageError: names ``--set``, or the flag of what other programs call otherwise.
        """
        known: Mapping[str, Any] = {name: p for p in self.params for name in (*p.opts, *p.secondary_opts)}
        for word in args[: args.index("--")] if "--" in args else args:
            option, _, value = word.partition("=")
            if not option.startswith("--") or option in (*known, "--help"):
                continue
            meant = meant_setting(option)
            if meant.partition(" ")[0] in known:
                if meant.endswith("="):
                    after = args[args.index(word) + 1 : args.index(word) + 2]
                    meant += value or (after[0] if after and not after[0].startswith("-") else "VALUE")
                raise UsageError(f"There is no option {option}; that setting is given otherwise.", f"Write {meant}.")
        return super().parse_args(ctx, args)
