"""``run --dry-run``: the plans of the runs, and the commands that start them on one GPU or several."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

from rich.text import Text

from lifealign_bench.errors import BenchError
from lifealign_bench.estimate import COUNTS, GPUS, Gpu, gpu_named
from lifealign_bench.grid import clean
from lifealign_bench.run_command import Output, announce, check, command_line, print_json, quieten_libraries
from lifealign_bench.settings import Choice

__all__ = ["launch_line", "show_plans"]

_DEFAULT = "H100"


def show_plans(choice: Choice, output: Output, gpu: str | None) -> int:
    """What would be done, and nothing done.

    Args:
        gpu: the kind of GPU to plan for; None: the one that is here, else an H100.

    Raises:
        BenchError: what would stop the first run that cannot start.
    """
    kind = gpu_named(gpu) if gpu is not None else None
    announce(choice, output)
    quieten_libraries()
    check(choice.configs)
    from lifealign_bench.plan import make_plan
    from lifealign_bench.tables import plan_summary, render_plan

    kind = kind or _present()
    launches = {count: launch_line(count, sys.argv[1:]) for count in COUNTS}
    plans = []

    def tell(text: str) -> None:
        if not output.quiet:
            output.messages.print(Text(clean(text), style="dim"), soft_wrap=True)

    for config in choice.configs:
        plan = make_plan(config, kind, tell)
        plans.append(plan_summary(plan, launches))
        if not output.as_json:
            render_plan(output.results, plan)
    if output.as_json:
        print_json(output, plans)
        return 0
    output.results.print(Text("Start it", style="bold"))
    for count, line in launches.items():
        output.results.print(Text(f"on {count} GPU{'s' if count > 1 else ''}:", style="dim"))
        output.results.print(Text(f"  {clean(line)}"), soft_wrap=True)
    return 0


def launch_line(count: int, arguments: Sequence[str]) -> str:
    """The command that starts the runs of ``arguments``, which ask for a dry run, on ``count`` GPUs."""
    kept = _without_planning(arguments)
    if count == 1:
        return command_line(kept)
    many = ["accelerate", "launch", "--multi_gpu", "--num_processes", str(count), "--mixed_precision", "no"]
    return shlex.join([*many, "-m", "lifealign_bench", *kept])


def _without_planning(arguments: Sequence[str]) -> list[str]:
    kept: list[str] = []
    skip = False
    for word in arguments:
        if skip:
            skip = False
        elif word == "--gpu":
            skip = True
        elif word not in ("--dry-run", "--json") and not word.startswith("--gpu="):
            kept.append(word)
    return kept


def _present() -> Gpu:
    """The kind of GPU that is here; where it is none of the known ones, or none is here, an H100."""
    import torch

    if torch.cuda.is_available():
        try:
            return gpu_named(torch.cuda.get_device_name())
        except BenchError:
            return GPUS[_DEFAULT]
    return GPUS[_DEFAULT]
