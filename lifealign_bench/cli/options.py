"""The options that several commands share: their names, types and help, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = [
    "Abilities",
    "AbilityStages",
    "Address",
    "AsJson",
    "Assignments",
    "ConfigFile",
    "DataDir",
    "Device",
    "DryRun",
    "Dtype",
    "DumpConfig",
    "EngineName",
    "Evaluate",
    "GpuName",
    "GpusPerRun",
    "Jobs",
    "Judge",
    "JudgeBudget",
    "JudgeUrl",
    "Limit",
    "MemoryPerRun",
    "Methods",
    "Model",
    "Opponents",
    "OrderSeed",
    "Orders",
    "Out",
    "Preset",
    "Quiet",
    "ReportTo",
    "Retries",
    "Reward",
    "Scorers",
    "Seeds",
    "Sft",
    "Streams",
    "TestLimit",
    "Threads",
    "TrainLimit",
    "TrustRemoteCode",
    "Tuned",
    "Validation",
    "text_option",
]


def text_option(*names: str, help: str, panel: str, metavar: str = "TEXT") -> Any:
    """An option that takes text and shows no default of its own."""
    return typer.Option(*names, help=help, rich_help_panel=panel, metavar=metavar, show_default=False)


Methods = Annotated[
    list[str] | None,
    text_option(
        "--method",
        "-m",
        help="Methods: names, a file, all, or ablations: the variants, which all leaves out (default: lifealign)",
        panel="What",
    ),
]
Streams = Annotated[
    list[str] | None,
    text_option(
        "--stream",
        "-s",
        help="A stream, a card's path, tasks t1,t2, or all; repeatable (default: mini)",
        panel="What",
    ),
]
Model = Annotated[
    str | None, text_option("--model", help="smollm2-135m, fake, a folder, or a model of the hub.", panel="What")
]
Seeds = Annotated[
    list[str] | None,
    text_option("--seed", help="Seeds, one run each: 0,1,2 or repeated (default: 0)", panel="What", metavar="N"),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="A YAML file that says what these options say; options given beside it win.",
        rich_help_panel="Settings",
        show_default=False,
    ),
]
Preset = Annotated[
    str | None,
    text_option(
        "--preset",
        help="small, or paper: the published settings (a 7B model, 3 epochs) (default: small)",
        panel="Settings",
    ),
]
Assignments = Annotated[
    list[str] | None,
    text_option(
        "--set", help="A setting of the method or the training; repeatable.", panel="Settings", metavar="KEY=VALUE"
    ),
]
Limit = Annotated[
    int | None, typer.Option(help="Use so many train and test pairs of each task; 0: all.", rich_help_panel="Data")
]
TrainLimit = Annotated[int | None, typer.Option(help="The same for training pairs.", rich_help_panel="Data")]
TestLimit = Annotated[int | None, typer.Option(help="The same for test pairs.", rich_help_panel="Data")]
Validation = Annotated[
    int | None,
    typer.Option(
        help="Score so many pairs held out of each task's training file, not its test pairs: to choose settings.",
        rich_help_panel="Data",
        min=1,
        show_default=False,
    ),
]
Tuned = Annotated[
    Path | None,
    typer.Option(
        help="Take each method's learning rate from this table, made by lifealign-bench tune.",
        rich_help_panel="Settings",
        show_default=False,
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(help="A copy of the paper's data folder (also: LIFEALIGN_BENCH_DATA).", rich_help_panel="Data"),
]
Scorers = Annotated[
    list[str] | None,
    text_option(
        "--scorer", help="Scorers: names, or all that have what they need (default: preference,reward)", panel="Scores"
    ),
]
Reward = Annotated[
    str | None,
    text_option(
        "--reward",
        help="Score responses by a reward model: a name, a folder, or trained: one made of the stream's training pairs",
        panel="Scores",
        metavar="MODEL|trained",
    ),
]
Judge = Annotated[
    str | None,
    typer.Option(
        "--judge",
        help="The judge of the scorers judge and win: server:MODEL (OpenAI-compatible, see --judge-url), local:MODEL; "
        "for win also reward (the model of --reward) or check (the task's function)",
        rich_help_panel="Scores",
        metavar="JUDGE",
        envvar="LIFEALIGN_BENCH_JUDGE",
        show_default=False,
    ),
]
JudgeUrl = Annotated[
    str | None,
    typer.Option(
        "--judge-url",
        help="Base URL of the judge's server, like http://127.0.0.1:8000/v1; its key is read from OPENAI_API_KEY",
        rich_help_panel="Scores",
        metavar="URL",
        envvar="LIFEALIGN_BENCH_JUDGE_URL",
        show_default=False,
    ),
]
JudgeBudget = Annotated[
    int | None,
    typer.Option(
        "--judge-budget",
        help="Stop cleanly after so many calls of the judge; answers it gave already are kept and cost none",
        rich_help_panel="Scores",
        min=0,
        show_default=False,
    ),
]
Opponents = Annotated[
    list[str] | None,
    text_option(
        "--opponent",
        help="The scorer win judges against base, previous, chosen, or a run's folder; repeatable (default: base)",
        panel="Scores",
    ),
]
Abilities = Annotated[
    list[str] | None,
    text_option(
        "--ability",
        help="Test general ability: builtin, a named set, tasks of lm-eval like arc_easy,hellaswag, or a YAML task",
        panel="Scores",
    ),
]
AbilityStages = Annotated[
    str | None,
    text_option(
        "--ability-stages",
        help="Test it at stage 0 and the last stage, or after every stage (default: ends)",
        panel="Scores",
        metavar="ends|all",
    ),
]
Evaluate = Annotated[
    str | None,
    text_option(
        "--evaluate",
        help="Score all tasks after every stage, those seen, or all after the last stage alone (default: all)",
        panel="Scores",
        metavar="all|seen|last",
    ),
]
Sft = Annotated[
    bool | None,
    typer.Option(
        "--sft/--no-sft",
        help="A supervised phase on the chosen responses before each preference phase (default: no; preset paper: yes)",
        rich_help_panel="Settings",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(help="Folder for results (default: runs)", rich_help_panel="Machine", show_default=False),
]
Device = Annotated[str | None, text_option("--device", help="auto, cpu or cuda (default: auto)", panel="Machine")]
Dtype = Annotated[
    str | None,
    text_option(
        "--dtype", help="Type of the weights (default: auto)", panel="Machine", metavar="auto|float32|bfloat16"
    ),
]
Threads = Annotated[
    int | None, typer.Option(help="Threads on a CPU (default: measured)", rich_help_panel="Machine", min=1)
]
TrustRemoteCode = Annotated[
    bool | None,
    typer.Option(
        "--trust-remote-code/--no-trust-remote-code",
        help="Let a model of the hub, or a YAML task of --ability, run its own code (default: no)",
        rich_help_panel="Machine",
        show_default=False,
    ),
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
Orders = Annotated[
    str | None,
    text_option(
        "--orders",
        help="Each stream in so many random orders, its own first; or in all registered ones of the same tasks.",
        panel="Sweep",
        metavar="N|registered",
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
ReportTo = Annotated[
    list[str] | None,
    text_option(
        "--report-to",
        help="Pass training curves and scores on to tensorboard, wandb, trackio or mlflow, as they come",
        panel="Output",
        metavar="TRACKERS",
    ),
]
Retries = Annotated[
    int | None,
    typer.Option(
        help="How often a run whose process or node died is begun again (default: 0, on Ray 3)",
        rich_help_panel="Sweep",
        min=0,
    ),
]
