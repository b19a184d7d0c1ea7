"""The options that several commands share: their names, types and help, declared once; those of settings by config."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from annotated_types import Ge
from pydantic import BaseModel

from lifealign_bench.config import RunConfig, option_name, setting_at


def text_option(*names: str, help: str, panel: str, metavar: str = "TEXT") -> Any:
    """An option that takes text and shows no default of its own."""
    return typer.Option(*names, help=help, rich_help_panel=panel, metavar=metavar, show_default=False)


def setting_option(name: str) -> Any:
    """The option of a setting of a run, as its field describes it."""
    info, setting = RunConfig.model_fields[name], setting_at(name)
    kind, description = _kind(name), info.description or ""
    choices = get_args(info.annotation) if get_origin(info.annotation) is Literal else ()
    at_least: list[Any] = [limit.ge for limit in info.metadata if isinstance(limit, Ge) and kind is int]
    return typer.Option(
        *setting.flag.split(),
        help=setting.help or f"{description[:1].upper()}{description[1:]}{_default(info.default)}",
        rich_help_panel=setting.panel,
        metavar=setting.metavar or "|".join(choices) or ("TEXT" if kind in (str, list) else None),
        envvar=setting.envvar or None,
        show_default=False,
        min=at_least[0] if at_least and not setting.zero_is_none else None,
    )


def setting_parameter(name: str, help: str | None = None) -> inspect.Parameter:
    """The parameter of a command that takes this setting; ``help`` in the place of its own."""
    kind: Any = _kind(name)
    words: Any = (list[str] if kind is list else kind) | None
    option = setting_option(name)
    option.help = option.help if help is None else help
    annotation: Any = Annotated[words, option]
    return inspect.Parameter(option_name(name), inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _kind(name: str) -> type:
    """What the command line says of a setting: a list of words, a word, a number, a place."""
    kind = RunConfig.model_fields[name].annotation
    plain = [part for part in get_args(kind) if part is not NoneType] if NoneType in get_args(kind) else [kind]
    if setting_at(name).several or get_origin(plain[0]) is tuple:
        return list
    if isinstance(plain[0], type):
        # What has parts is said by the file that holds it.
        return Path if issubclass(plain[0], BaseModel) else plain[0]
    return str


def _default(value: Any) -> str:
    if value is None or value == ():
        return ""
    text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
    return f" (default: {','.join(text) if isinstance(text, tuple) else text})"


DataDir = Annotated[Path | None, setting_option("data_dir")]
JudgeUrl = Annotated[str | None, setting_option("judge_url")]
Generation = Annotated[str | None, setting_option("generation_engine")]
GenerationUrl = Annotated[str | None, setting_option("generation_url")]
Device = Annotated[str | None, setting_option("device")]
Dtype = Annotated[str | None, setting_option("dtype")]
TrustRemoteCode = Annotated[bool | None, setting_option("trust_remote_code")]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="A YAML file with the same settings; options given as well take precedence.",
        rich_help_panel="Settings",
        show_default=False,
    ),
]
Assignments = Annotated[
    list[str] | None,
    text_option(
        "--set", help="A setting of the method or the training; repeatable.", panel="Settings", metavar="KEY=VALUE"
    ),
]
Limit = Annotated[
    int | None, typer.Option(help="Use this many training and test pairs of each task; 0: all.", rich_help_panel="Data")
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Show the plan with memory and time on 1, 2 and 8 GPUs; train nothing.",
        rich_help_panel="Output",
    ),
]
GpuName = Annotated[
    str | None, text_option("--gpu", help="The kind of GPU that --dry-run plans for.", panel="Output", metavar="NAME")
]
DumpConfig = Annotated[
    Path | None,
    typer.Option(
        "--dump-config",
        help="Write the runs in full as a file for --config (-: show it); train nothing.",
        rich_help_panel="Output",
        metavar="FILE",
        show_default=False,
    ),
]
Full = Annotated[bool, typer.Option("--full", help="Show every table, not the summary.", rich_help_panel="Output")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Results and errors only.", rich_help_panel="Output")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Results as one JSON document on stdout.", rich_help_panel="Output")
]

Jobs = Annotated[
    int | None,
    typer.Option(
        help="Runs at a time on this machine (default: 1, with GPUs as many as fit)", rich_help_panel="Sweep", min=1
    ),
]
Devices = Annotated[
    str | None,
    text_option(
        "--devices",
        help="The GPUs to use on this machine, one run each (default: all that are visible)",
        panel="Sweep",
        metavar="cuda:0,cuda:1",
    ),
]
Slurm = Annotated[
    Path | None,
    typer.Option(
        "--slurm",
        help="Write a Slurm job array of the runs into this folder; train nothing.",
        rich_help_panel="Sweep",
        metavar="FOLDER",
        show_default=False,
    ),
]
Orders = Annotated[
    str | None,
    text_option(
        "--orders",
        help="Each stream in this many random orders, its own first; in a balanced set of orders (every task equally "
        "often at every position and behind every other one); in a latin square (once at every position: half as many "
        "where tasks are odd in number); or in all registered ones of the same tasks.",
        panel="Sweep",
        metavar="N|balanced|latin|registered",
    ),
]
OrderSeed = Annotated[int, typer.Option(help="Fixes the random orders.", rich_help_panel="Sweep", min=0)]
EngineName = Annotated[
    str,
    text_option("--engine", help="This machine, or a Ray cluster (default: local)", panel="Sweep", metavar="local|ray"),
]
Address = Annotated[
    str | None,
    text_option(
        "--address",
        help="The Ray cluster: auto, host:port, or local for one on this machine alone (default: auto)",
        panel="Sweep",
    ),
]
GpusPerRun = Annotated[
    int | None,
    typer.Option(help="GPUs of a run (default: 1 where there are any)", rich_help_panel="Sweep", min=0),
]
MemoryPerRun = Annotated[
    str | None, text_option("--memory-per-run", help="Main memory of a run, like 16G.", panel="Sweep", metavar="SIZE")
]
Retries = Annotated[
    int | None,
    typer.Option(
        help="How often a run is restarted when its process or node died (default: 0, on Ray 3)",
        rich_help_panel="Sweep",
        min=0,
    ),
]
