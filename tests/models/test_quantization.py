"""A base model in four bits, on a CPU: what is packed and what is not, and what is said where it cannot be."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.models.load import load_base_model
from lifealign_bench.models.quantization import require_quantization
from lifealign_bench.runs.run import run
from lifealign_bench.runs.setup import check_configs

Make = Callable[..., RunConfig]
installed = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed (pip install '.[quantization]')"
)


@installed
def test_linear_layers_are_packed_and_all_else_keeps_its_type(fake_config: Make) -> None:
    plain = load_base_model(fake_config())
    packed = load_base_model(fake_config(quantization="nf4"))
    types = {name: parameter.dtype for name, parameter in packed.model.named_parameters()}
    bytes_ = {name for name, dtype in types.items() if dtype == torch.uint8}
    assert bytes_ == {name for name in types if "_proj.weight" in name} and len(bytes_) == 2 * 7
    assert {types[name] for name in types.keys() - bytes_} == {torch.float32}
    assert packed.parameters == plain.parameters
    assert packed.fingerprint != plain.fingerprint  # what the base model said is kept apart
    # The file is let go: one weight that lay in it would keep all of it in memory.
    assert "model.safetensors" not in Path("/proc/self/maps").read_text()
    ids = torch.arange(5, 45)[None]
    with torch.no_grad():
        one, other = (loaded.model(ids).logits.log_softmax(-1) for loaded in (plain, packed))
    apart = (one.exp() * (one - other)).sum(-1).mean()
    assert 0 < apart < 0.01


@installed
def test_a_run_trains_its_adapter_in_float32_over_weights_in_four_bits(fake_config: Make) -> None:
    config = fake_config(quantization="nf4", tasks=("fake-upper",), scorers=("preference",))
    record = run(config)
    assert record.status == "complete" and record.versions["bitsandbytes"]
    (matrix,) = (record.scores[name].array() for name in ("preference_margin",))
    assert matrix[1, 0] > 0.1 > abs(matrix[0, 0])
    weights = load_file(config.run_directory() / "stage-1" / "adapter" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    # As float32 and not as bfloat16 that was widened.
    assert any(not torch.equal(t, t.to(torch.bfloat16).float()) for t in weights.values())
    assert config.hash() != fake_config(tasks=("fake-upper",), scorers=("preference",)).hash()


def test_without_the_package_the_command_that_brings_it_is_named(
    fake_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(UsageError, match="--quantization nf4 needs the package bitsandbytes") as caught:
        check_configs([fake_config(quantization="nf4")])
    assert "lifealign-bench[quantization]" in caught.value.remedy


def test_an_old_package_and_one_without_cuda_are_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mock:
        """Stands for the library that could not be loaded."""

    cextension = SimpleNamespace(ErrorHandlerMockBNBNativeLibrary=Mock, lib=Mock())
    monkeypatch.setitem(sys.modules, "bitsandbytes", SimpleNamespace(cextension=cextension))
    monkeypatch.setitem(sys.modules, "bitsandbytes.cextension", cextension)
    monkeypatch.setattr("lifealign_bench.models.quantization.require_extra", lambda *names: None)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.50.2")
    with pytest.raises(UsageError, match="brings nothing for the CUDA of this torch") as caught:
        require_quantization("cuda")
    assert "--device cpu" in caught.value.remedy
    require_quantization("cpu")
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.41.0")
    with pytest.raises(UsageError, match=r"0\.41\.0 is installed") as caught:
        require_quantization("cpu")
    assert "--upgrade" in caught.value.remedy
