"""A base model in pieces (``--shard``): a group of one process, and two processes where there are two GPUs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch._C._distributed_c10d import FileStore
from torch.distributed.tensor import DTensor

from benchmarks.gpucheck.bench import DIALOGUE, MIDDLE, SMALL, Bench
from benchmarks.gpucheck.laying import GRADIENTS, VALUES, apart, set_up
from benchmarks.gpucheck.limits import CONTINUED, ROOT, model_folder, numbers_of
from benchmarks.gpucheck.part import Findings, is_here
from lifealign_bench.models.encode import EncodedPair
from lifealign_bench.models.logprobs import lay_out, pair_log_probs
from lifealign_bench.models.sharding import split_layers
from lifealign_bench.results.record import Record, read_record


def pieces(bench: Bench, findings: Findings) -> None:
    """Values and gradients of a model whose layers are brought together layer by layer, against the whole one's."""
    pairs = bench.pairs(2 if bench.tiny else 4, DIALOGUE, seed=10)
    whole = _found(bench, SMALL, pairs, split=False)
    bench.free()
    with tempfile.TemporaryDirectory() as folder:
        store = FileStore(str(Path(folder) / "store"), 1)
        distributed.init_process_group("nccl" if bench.on_gpu else "gloo", store=store, rank=0, world_size=1)
        try:
            split = _found(bench, SMALL, pairs, split=True)
            bench.free()
            peak = None if bench.tiny else _peak(bench, split=True)
        finally:
            distributed.destroy_process_group()
    bench.free()
    findings.truth("the layers are in pieces", split[2] > 0 and not whole[2], f"{split[2]} tensors of them")
    findings.check("values of pieces, nats a token from the whole's", apart(split[0], whole[0], pairs), _most(VALUES))
    share = float((split[1] - whole[1]).norm() / whole[1].norm())
    findings.check("the gradient of pieces from the whole's", share, _most(GRADIENTS))
    if not bench.tiny:
        for way, taken in (("whole", _peak(bench, split=False)), ("in pieces, one process", peak)):
            findings.row({"model": MIDDLE, "way": way, "peak of a pass, GiB": taken})
            bench.free()
    count = torch.cuda.device_count() if bench.on_gpu else 0
    if count < 2:
        findings.say("There are not two GPUs: a launch of several processes is not tried.")
    elif not is_here("trl"):
        findings.say("TRL is not here: a launch of several processes is not tried.")
    else:
        _launched(bench, findings)


def _most(bounds: dict[torch.dtype, float]) -> float:
    return bounds[torch.float32]


def _model(bench: Bench, name: str, dtype: torch.dtype, *, split: bool) -> Any:
    base = bench.base(name, dtype, wide=True)
    if split:
        base.model.cpu()
        split_layers(base.model, name, bench.device)
    model = bench.adapted(base, moved=True).train()
    set_up(base.model, "rows")
    return model


def _found(bench: Bench, name: str, pairs: list[EncodedPair], *, split: bool) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Values (P, 2), the adapter's gradient, and how many parameters are in pieces."""
    model = _model(bench, name, torch.float32, split=split)
    sums = pair_log_probs(model, lay_out(pairs, 0, "rows").to(bench.device))
    torch.autograd.backward((sums[:, 0] - sums[:, 1]).sum())
    gradient = torch.cat([p.grad.float().flatten() for n, p in model.named_parameters() if "lora_" in n])
    return sums.detach(), gradient, sum(isinstance(p, DTensor) for p in model.parameters())


def _peak(bench: Bench, *, split: bool) -> float | None:
    """GiB of a forward and backward pass in the type that is trained in."""
    pairs = bench.pairs(4, DIALOGUE, seed=10)
    model = _model(bench, MIDDLE, torch.bfloat16, split=split)

    def step() -> None:
        sums = pair_log_probs(model, lay_out(pairs, 0, "rows").to(bench.device))
        torch.autograd.backward((sums[:, 0] - sums[:, 1]).sum())

    return bench.peak(step)


def _launched(bench: Bench, findings: Findings) -> None:
    """A short run by two processes with a GPU each, against the same by one."""
    with tempfile.TemporaryDirectory() as place:
        model = model_folder(bench, Path(place) / "model")
        alone = _run(model, Path(place) / "alone", [sys.executable, "-m", "lifealign_bench"], [])
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
        split = _run(model, Path(place) / "pieces", [*launch, "-m", "lifealign_bench"], ["--shard"])
    apart_by = max(abs(a - b) for a, b in zip(numbers_of(alone), numbers_of(split), strict=True))
    findings.check("losses and scores of two processes from one's", apart_by, CONTINUED)


def _run(model: str, out: Path, start: list[str], more: list[str]) -> Record:
    words = ["run", "--method", "dpo", "--stream", "fake", "--model", model, "--dtype", "float32", "--limit", "8"]
    words += ["--device", "cuda", "--scorer", "preference", "--out", str(out), *more]
    environment = {**os.environ, "LIFEALIGN_BENCH_CACHE": str(out / "cache")}
    done = subprocess.run([*start, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-300:])
    return read_record(next(out.rglob("record.json")))
