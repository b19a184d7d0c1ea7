"""Fill the tables of docs/paper-table.md: hours and memory of the paper's table, as the dry run tells them.

python benchmarks/paper_page.py
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import typer

from lifealign_bench.cli import app
from lifealign_bench.config import RunConfig
from lifealign_bench.experiments.estimate import GPUS, find_facts, plan_model
from lifealign_bench.experiments.hours import known_lengths, plan_hours
from lifealign_bench.experiments.memory import MemoryNeed, memory_needed
from lifealign_bench.experiments.request import Words, build_configs
from lifealign_bench.experiments.sweep import expand_orders
from lifealign_bench.reporting.tables.grid import Grid, to_markdown
from lifealign_bench.reporting.tables.plan import hours_grid
from lifealign_bench.runs.setup import make_method
from lifealign_bench.training.workload import Lengths, Workload, workload_of
from lifealign_bench.util.text import number

PAGE = Path(__file__).parents[1] / "docs" / "paper-table.md"
GPU = GPUS["H200"]
# As long as the cut-off lets a pair be, of which half is prompt.
LONGEST = Lengths(1024, 1024, 1024)
WAYS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "--activation-checkpointing": {"activation_checkpointing": True},
    "--quantization nf4": {"quantization": "nf4"},
    "both": {"activation_checkpointing": True, "quantization": "nf4"},
}


def page_configs(text: str) -> tuple[RunConfig, ...]:
    """The runs of the page's dry run."""
    line = next(line for line in text.splitlines() if line.startswith("lifealign-bench sweep") and "--dry-run" in line)
    words = shlex.split(line)[2:]
    group = typer.main.get_command(app)
    command = group.get_command(typer.Context(group), "sweep")  # type: ignore[attr-defined]
    said = command.make_context("sweep", words, resilient_parsing=True).params
    # rouge_jieba needs an extra and asks for the responses that bleu_char asks for.
    scorers = tuple(name for one in said["scorer"] for name in one.split(",") if name != "rouge_jieba")
    wanted = Words.of(said | {"scorer": scorers})
    return build_configs(wanted, lambda streams: expand_orders(streams, said["orders"], 0)).configs


def tables(text: str) -> dict[str, str]:
    """Marker to the table that stands there."""
    configs = page_configs(text)
    return {"hours": _body(hours_grid(plan_hours(configs, GPU))), "memory": memory_table(configs[0])}


def memory_table(config: RunConfig) -> str:
    """Memory of a run on one GPU, in the ways to need less of it."""
    rows = []
    for name, changes in WAYS.items():
        memory = memory_on_gpu(config.model_copy(update={**changes, "device": "cpu"}))
        steady = (memory.libraries, memory.weights, memory.adapter)
        parts = (*steady, memory.training, memory.scoring, memory.generation, memory.peak)
        rows.append((name, *(number(part / 2**30) for part in parts)))
    heads = ("GiB on one GPU", "context", "weights", "adapter", "training", "scoring", "generation", "peak")
    return _body(Grid("Memory", heads, tuple(rows), ()))


def memory_on_gpu(config: RunConfig) -> MemoryNeed:
    """Of a run of the paper's tasks whose longest pair is as long as the cut-off lets it be."""
    method = make_method(config)
    shape, trace, _ = plan_model(find_facts(config), config, method, len(config.tasks))
    test = {task: known_lengths(task, "test", None) for task in config.tasks}
    train = {task: [LONGEST] for task in config.tasks}
    work: Workload = workload_of(config, method, train, test, list(config.tasks))
    return memory_needed(config, shape.sizes(config), work, trace.kept(config, work, 1, "cuda"), 1, "cuda")


def _body(grid: Grid) -> str:
    """The table without its heading and notes."""
    return "\n".join(line for line in to_markdown(grid).splitlines() if line.startswith("|"))


def filled(text: str) -> str:
    """The page with its tables made anew."""
    for name, table in tables(text).items():
        marked = rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)"
        text = re.sub(marked, lambda found, table=table: f"{found[1]}{table}\n{found[2]}", text, flags=re.DOTALL)  # type: ignore[misc]
    return text


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
