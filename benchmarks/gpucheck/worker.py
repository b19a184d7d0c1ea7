"""Does parts one after the other in this process and writes what each found; it ends where one breaks, since a GPU is
not what it was after some errors, and is then started again for the rest."""

from __future__ import annotations

import argparse
import json
import os
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpucheck.part import FAILED, LEFT_OUT, OK, WRONG, Findings, Part, is_here

RUNNING = "running"
OPTIONAL = ("trl", "datasets", "lm_eval", "alpaca_eval", "bitsandbytes")
FACTS = "facts"


def write(folder: Path, name: str, content: Mapping[str, Any]) -> None:
    """A part's file, whole at any moment."""
    temporary = folder / f".{name}.json"
    temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    temporary.replace(folder / f"{name}.json")


def do(part: Part, bench: Any, keep: Callable[[Findings], None] = lambda findings: None) -> dict[str, Any]:
    """Do one part; never raises what goes wrong in it.

    Args:
        keep: told what it has found so far, whenever that is more.
    """
    missing = part.missing()
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        return {"status": LEFT_OUT, "reason": f"{', '.join(missing)} {verb} not here.", "seconds": 0.0}
    findings = Findings(keep)
    clock = time.perf_counter()
    status, reason = OK, ""
    try:
        part.load()(bench, findings)
        if not all(check.holds for check in findings.checks):
            status, reason = WRONG, "; ".join(check.what for check in findings.checks if not check.holds)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is kept, and the other parts go on
        status = FAILED
        reason = f"{type(error).__name__}: {error}"[:500]
        findings.say(traceback.format_exc()[-3000:])
    return {"status": status, "reason": reason, "seconds": time.perf_counter() - clock, **findings.as_json()}


def _running(so_far: Findings) -> dict[str, Any]:
    return {"status": RUNNING, **so_far.as_json()}


def work(names: Sequence[str], parts: Mapping[str, Part], bench: Any, folder: Path) -> int:
    """Do parts in turn; the number of those that are done."""
    for number, name in enumerate(names, start=1):
        write(folder, name, {"status": RUNNING})
        # Of a part that is ended because it takes too long, what it has found by then is there.
        found = do(parts[name], bench, lambda so_far, name=name: write(folder, name, _running(so_far)))  # type: ignore[misc]
        write(folder, name, found)
        bench.free()
        if found["status"] == FAILED and bench.on_gpu:
            return number
    return len(names)


def main() -> None:
    """The command that the check starts."""
    words = argparse.ArgumentParser()
    words.add_argument("--tiny", action="store_true")
    words.add_argument("--device", required=True)
    words.add_argument("--folder", type=Path, required=True)
    words.add_argument("parts", nargs="+")
    given = words.parse_args()
    # Before anything opens the GPU: products that are the same twice.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch

    from benchmarks.gpucheck.bench import Bench
    from benchmarks.gpucheck.machine import facts
    from benchmarks.gpucheck.parts import PARTS
    from lifealign_bench.util.process import quieten_libraries

    quieten_libraries()
    device = torch.device(given.device)
    write(given.folder, FACTS, facts(device) | {"absent": [name for name in OPTIONAL if not is_here(name)]})
    work(given.parts, PARTS, Bench(device, given.tiny), given.folder)


if __name__ == "__main__":
    main()
