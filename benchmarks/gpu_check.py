"""Whether this package is right and fast on the GPU that is here: eight minutes at most, no network, nothing to fetch.

    python benchmarks/gpu_check.py                             all parts on the GPU, into gpu-check/
    python benchmarks/gpu_check.py --part layouts,train-7b     some of them
    python benchmarks/gpu_check.py --missing                   those that the last call did not bring to an end
    python benchmarks/gpu_check.py --size tiny --device cpu    a few layers on a processor: a test of the check itself
    python benchmarks/gpu_check.py --show FILE                 the page of a result

Weights are random, of true shapes; what is carried is this repository. Every part has a time of its own, and one that
breaks or takes too long stops no other. The result is written after each: gpu-check.json and gpu-check.md. As
docs/gpu-check.json it is shown in docs/performance.md (``python benchmarks/measure.py --page``).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # benchmarks/ is no installed package

from benchmarks.gpucheck.driver import check, commit_here  # noqa: E402
from benchmarks.gpucheck.page import body  # noqa: E402
from benchmarks.gpucheck.part import FAILED, LEFT_OUT, OK, TIMED_OUT, WRONG, is_here  # noqa: E402
from benchmarks.gpucheck.parts import PARTS  # noqa: E402

# Without these nothing can be done; the others leave parts out.
NEEDED = (
    *("torch", "transformers", "peft", "accelerate", "safetensors", "numpy", "jinja2"),
    *("pydantic", "platformdirs", "yaml", "filelock", "psutil"),
)


def main(words: Sequence[str] | None = None) -> int:
    """0: all that was done holds; 1: something does not; 2: it could not begin."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", help=f"some of {', '.join(PARTS)}, separated by commas")
    parser.add_argument(
        "--missing",
        action="store_true",
        help="only parts that the result in --out lacks or that were ended there; the others of that result are kept",
    )
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--minutes", type=float, default=7.5, help="for all parts together")
    parser.add_argument("--out", type=Path, default=Path("gpu-check"), help="the folder to write into")
    parser.add_argument("--show", type=Path, metavar="FILE", help="write the page of a result, and do nothing else")
    given = parser.parse_args(words)
    if given.show is not None:
        return _show(given.show)
    names = [name.strip() for name in given.part.split(",")] if given.part else list(PARTS)
    refusal = _refusal(names, given.device, given.size)
    if refusal:
        print(f"error: {refusal}", file=sys.stderr)
        return 2
    given.out.mkdir(parents=True, exist_ok=True)
    earlier = _earlier(given.out, given.size, given.device) if given.missing else {}
    names = [name for name in names if name not in earlier.get("parts", {})]
    result = check(
        {name: PARTS[name].limit for name in names},
        given.device,
        given.size == "tiny",
        given.minutes,
        lambda result: _save(joined(earlier, result), given.out, list(result["parts"].items())[-1:]),
    )
    parts = joined(earlier, result)["parts"]
    wrong = [name for name, found in parts.items() if found["status"] in (WRONG, FAILED, TIMED_OUT)]
    left = sum(found["status"] == LEFT_OUT for found in parts.values())
    print(
        f"{given.out}/gpu-check.md: {len(parts) - len(wrong) - left} of {len(parts)} parts without a fault"
        + (f", {left} left out." if left else ".")
    )
    return 1 if wrong else 0


def _show(file: Path) -> int:
    try:
        text = body(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        print(f"error: {file} holds no result. Name a gpu-check.json.", file=sys.stderr)
        return 2
    sys.stdout.write(f"{text}\n")
    return 0


def _earlier(folder: Path, size: str, device: str) -> dict[str, Any]:
    """The result in a folder with the parts that came to an end; empty where none is of this code, size and device."""
    try:
        found: dict[str, Any] = json.loads((folder / "gpu-check.json").read_text(encoding="utf-8"))
        is_like = (found["size"], found["machine"]["device"], found["git"]) == (size, device, commit_here())
        parts = {name: one for name, one in found["parts"].items() if one["status"] in (OK, WRONG)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {**found, "parts": parts} if is_like else {}


def joined(earlier: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    """A result with the parts of an earlier one, in the usual order; seconds are those of both."""
    if not earlier:
        return dict(result)
    parts = {**earlier["parts"], **result["parts"]}
    ordered = {name: parts[name] for name in PARTS if name in parts}
    return {**result, "seconds": earlier["seconds"] + result["seconds"], "parts": ordered}


def _refusal(names: Sequence[str], device: str, size: str) -> str:
    """Why it cannot begin, with the remedy; empty where it can."""
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        return f"There is no part {unknown[0]!r}. There are: {', '.join(PARTS)}."
    missing = [name for name in NEEDED if not is_here(name)]
    if missing:
        return f"{', '.join(missing)} must be here. Where there is no network, bring wheels (docs/cluster.md)."
    if device == "cpu":
        return "" if size == "tiny" else "On a processor only --size tiny is of any use."
    from lifealign_bench.errors import BenchError
    from lifealign_bench.models.device import resolve_device

    try:
        resolve_device("cuda", "bfloat16")
    except BenchError as error:
        return str(error)
    return ""


def _save(result: Mapping[str, Any], folder: Path, done: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Write the result, and tell of what was done last."""
    for name, text in (("json", json.dumps(result, indent=1)), ("md", f"# GPU check\n\n{body(result)}")):
        temporary = folder / f".gpu-check.{name}"
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(folder / f"gpu-check.{name}")
    for name, found in done:
        print(f"{name}: {found['status']}, {found['seconds']:.0f} s {found.get('reason', '')}".rstrip(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
