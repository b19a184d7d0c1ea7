"""``lifealign-bench cache``: what it holds, and emptying it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console

from lifealign_bench.cli.output import echo_json, results_console
from lifealign_bench.models.cache import BOUNDED, LIMIT_VARIABLE, cache_kinds, cache_limit, check_names, clear_cache
from lifealign_bench.reporting.tables.grid import Grid, show_grid
from lifealign_bench.util.files import cache_folder
from lifealign_bench.util.text import DASH, file_size

app = typer.Typer(help="Show or empty the cache of base models' answers.", no_args_is_help=True)

_WHAT = {
    "logprobs": "log-probabilities of base models",
    "generations": "responses of base models",
    "rewards": "rewards of texts by reward models",
    "reward-models": "reward models of --reward trained",
    "reward-heads": "reward models of --reward held-out",
    "abilities": "general ability of base models",
    "models": "models from wheels, converted",
    "data": "data of the paper's tasks",
    "generated": "data of generated tasks",
    "probes": "measured threads and types",
}


@app.command("info")
def cache_info(as_json: Annotated[bool, typer.Option("--json", help="As one JSON document.")] = False) -> None:
    """Show what the cache holds, where, and its limit."""
    if as_json:
        echo_json(cache_facts())
    else:
        show_cache(results_console())


@app.command("clear")
def cache_clear(
    names: Annotated[list[str] | None, typer.Argument(help="Folders, as cache info names them; nothing: all.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete the cache, or some of its folders; runs compute again what they need."""
    empty_cache(results_console(), tuple(names or ()), yes)


def cache_facts() -> dict[str, object]:
    """The cache as plain values."""
    kinds = cache_kinds()
    return {
        "folder": str(cache_folder()),
        "bytes": sum(k.size for k in kinds),
        "limit_bytes": cache_limit(),
        "limited": list(BOUNDED),
        "kinds": [{"name": k.name, "files": k.files, "bytes": k.size} for k in kinds],
    }


def show_cache(console: Console) -> None:
    """Print what the cache holds."""
    rows = [
        (k.name, _WHAT.get(k.name, ""), str(k.files), file_size(k.size), _day(k.oldest), _day(k.newest))
        for k in cache_kinds()
    ]
    total = sum(k.size for k in cache_kinds())
    notes = (
        f"{cache_folder()}: {file_size(total)}. {', '.join(BOUNDED)} together stay under {file_size(cache_limit())} "
        f"({LIMIT_VARIABLE}); what was not used for longest leaves first.",
    )
    columns = ("folder", "what", "files", "size", "least used", "last used")
    show_grid(console, Grid("Cache", columns, tuple(rows), notes, prose=(1,)))


def empty_cache(console: Console, names: tuple[str, ...], sure: bool) -> None:
    """Delete folders of the cache after asking.

    Raises:
        UsageError: no such folder.
    """
    check_names(names)
    if not sure:
        typer.confirm(f"Delete {', '.join(names) or 'all'} of {cache_folder()}?", abort=True)
    console.print(f"{file_size(clear_cache(names))} are free again.", highlight=False)


def _day(moment: float | None) -> str:
    return DASH if moment is None else datetime.fromtimestamp(moment).strftime("%Y-%m-%d %H:%M")
