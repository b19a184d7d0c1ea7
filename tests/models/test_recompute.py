"""Layers that are computed again in backward passes: less is kept, and no number moves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lifealign_bench.config import RunConfig
from lifealign_bench.data.tasks import load_data
from lifealign_bench.errors import UsageError
from lifealign_bench.models.logprobs import Layout, lay_out, pair_log_probs
from lifealign_bench.models.recompute import recompute_layers
from lifealign_bench.runs.run import run
from lifealign_bench.runs.session import Session
from lifealign_bench.runs.setup import make_method
from lifealign_bench.util.progress import Progress

Make = Callable[..., RunConfig]


def built(config: RunConfig) -> Session:
    return Session.build(config, load_data(config, Progress()), make_method(config), Progress())


@pytest.mark.parametrize("layout", ["segments", "mask", "rows"])
def test_gradients_are_the_same_to_the_bit_and_less_is_kept(fake_config: Make, layout: Layout) -> None:
    config = fake_config(tasks=("fake-upper",), scorers=("preference",))
    found: list[list[torch.Tensor]] = []
    kept: list[int] = []
    for again in (False, True):
        session = built(config.model_copy(update={"activation_checkpointing": again}))
        session.model.eval()  # as hooks of methods have it
        parameters = [p for p in session.model.parameters() if p.requires_grad]
        with torch.no_grad():
            for place, parameter in enumerate(parameters):
                parameter += 0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(place))
        sizes = 0

        def count(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal sizes
            sizes += tensor.numel()
            return tensor

        rows = lay_out(session.train["fake-upper"][:3], session.speaker.pad_id, layout)
        if layout != "segments":
            session.base.model.set_attn_implementation("sdpa")
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            values = pair_log_probs(session.model, rows)
        kept.append(sizes)
        found.append([values, *torch.autograd.grad(values.sum(), parameters)])
    assert all(torch.equal(plain, other) for plain, other in zip(*found, strict=True))
    assert any(bool(gradient.any()) for gradient in found[0][1:])
    assert kept[1] < kept[0] / 2


@pytest.mark.parametrize(("method", "sft"), [("lifealign", True), ("gem", False)])
def test_a_run_comes_to_the_same_bits(fake_config: Make, tmp_path: Path, method: str, sft: bool) -> None:
    config = fake_config(method=method, sft=sft, tasks=("fake-upper", "fake-lower"), scorers=("preference",))
    plain = run(config)
    again = run(config.model_copy(update={"activation_checkpointing": True, "out": tmp_path / "again"}))
    assert [s.final_loss for s in plain.stages] == [s.final_loss for s in again.stages]
    for name, matrix in plain.scores.items():
        assert np.array_equal(matrix.array(), again.scores[name].array(), equal_nan=True), name
    # It moves no number, so the run is who it is: one that was begun without goes on with it.
    assert plain.config_hash == again.config_hash


def test_a_model_without_such_layers_is_refused_with_the_remedy() -> None:
    with pytest.raises(UsageError, match="no layers that can be computed again") as caught:
        recompute_layers(torch.nn.Sequential(torch.nn.Linear(2, 2)), "own")
    assert "--activation-checkpointing" in caught.value.remedy
