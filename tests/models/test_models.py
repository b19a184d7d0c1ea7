"""Loading models: clear errors, the same adapter for the same seed, a fingerprint that notices a change."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lifealign_bench.config import AdapterConfig, RunConfig
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.method import PlainValue
from lifealign_bench.models.device import resolve_device, speed_of_this_machine
from lifealign_bench.models.fake import fake_model
from lifealign_bench.models.load import fingerprint, fresh_adapter, load_base_model
from lifealign_bench.runs.run import run
from lifealign_bench.training.checkpoint import adapter_tensors, load_adapter, load_state, save_adapter, save_state
from tests.command import Call

Make = Callable[..., RunConfig]


def test_auto_is_the_faster_type() -> None:
    if torch.cuda.is_available():
        assert resolve_device("auto", "auto") == ("cuda", "bfloat16")
    else:
        assert resolve_device("auto", "auto") == ("cpu", speed_of_this_machine().dtype)
    assert resolve_device("cpu", "float32") == ("cpu", "float32")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_device_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="no CUDA device"):
        resolve_device("cuda", "auto")
    with pytest.raises(UsageError, match="not a device"):
        resolve_device("abacus", "auto")


def test_an_unknown_model_is_one_clear_error(fake_config: Make, tmp_path: Path) -> None:
    with pytest.raises(BenchError) as caught:
        load_base_model(fake_config(model=str(tmp_path / "nothing")))
    assert "cannot be loaded" in caught.value.message and "smollm2-135m" in caught.value.remedy


def test_an_unknown_target_module_says_which_there_are(fake_config: Make) -> None:
    base = load_base_model(fake_config())
    with pytest.raises(BenchError) as caught:
        fresh_adapter(base, AdapterConfig(target_modules=("qproj",)), 0)
    assert "qproj" in caught.value.message and "q_proj" in caught.value.remedy


def test_the_seed_fixes_the_adapter(fake_config: Make) -> None:
    def weights(seed: int) -> dict[str, torch.Tensor]:
        return adapter_tensors(fresh_adapter(load_base_model(fake_config()), AdapterConfig(), seed))

    one, same, other = weights(1), weights(1), weights(2)
    assert all(torch.equal(one[n], same[n]) for n in one)
    assert any(not torch.equal(one[n], other[n]) for n in one)


def test_the_fingerprint_notices_weights_and_template() -> None:
    model, tokenizer = fake_model()
    before = fingerprint(model, tokenizer)
    assert before == fingerprint(*fake_model())
    with torch.no_grad():
        model.model.norm.weight[3] += 1e-3
    changed = fingerprint(model, tokenizer)
    tokenizer.chat_template = "{{ messages }}"
    assert len({before, changed, fingerprint(model, tokenizer)}) == 3


def test_a_model_without_template_or_padding_gets_them_and_says_so(fake_config: Make, tmp_path: Path) -> None:
    model, tokenizer = fake_model()
    tokenizer.chat_template = None
    tokenizer.pad_token = None
    model.save_pretrained(tmp_path / "bare")
    tokenizer.save_pretrained(tmp_path / "bare")
    base = load_base_model(fake_config(model=str(tmp_path / "bare")))
    assert len(base.notices) == 2
    text = base.tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True
    )
    assert text == "User: hi\nAssistant:"


def test_what_a_model_lacked_is_in_the_record(fake_config: Make, tmp_path: Path) -> None:
    model, tokenizer = fake_model()
    tokenizer.chat_template = None
    model.save_pretrained(tmp_path / "bare")
    tokenizer.save_pretrained(tmp_path / "bare")
    record = run(fake_config(model=str(tmp_path / "bare"), tasks=("fake-upper",), scorers=("preference",)))
    assert len(record.model.notices) == 1 and "no chat template: plain 'User:'" in record.model.notices[0]
    assert record.model.fingerprint != load_base_model(fake_config()).fingerprint


def test_a_tokenizer_that_never_ends_a_response_is_refused(fake_config: Make, tmp_path: Path) -> None:
    model, tokenizer = fake_model()
    tokenizer.eos_token = None
    model.save_pretrained(tmp_path / "endless")
    tokenizer.save_pretrained(tmp_path / "endless")
    with pytest.raises(BenchError, match="no end-of-sequence token") as caught:
        load_base_model(fake_config(model=str(tmp_path / "endless")))
    assert "eos_token" in caught.value.remedy


def test_adapters_come_back_to_the_bit_and_others_are_refused(fake_config: Make, tmp_path: Path) -> None:
    base = load_base_model(fake_config())
    model = fresh_adapter(base, AdapterConfig(), 0)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter)
    wanted = {n: t.clone() for n, t in adapter_tensors(model).items()}
    save_adapter(model, tmp_path / "a")
    assert json.loads((tmp_path / "a/adapter_config.json").read_text())["target_modules"] == ["q_proj", "v_proj"]
    fresh = fresh_adapter(load_base_model(fake_config()), AdapterConfig(), 5)
    load_adapter(fresh, tmp_path / "a")
    assert all(torch.equal(t, wanted[n]) for n, t in adapter_tensors(fresh).items())
    other = fresh_adapter(load_base_model(fake_config()), AdapterConfig(target_modules=("k_proj",)), 0)
    with pytest.raises(ValueError, match="other weights"):
        load_adapter(other, tmp_path / "a")


def test_state_keeps_tensors_plain_values_and_their_order(tmp_path: Path) -> None:
    state: dict[str, torch.Tensor | PlainValue] = {"z": [3, 1], "a": torch.arange(3.0), "m": "text"}
    state |= {"b": 1.5, "k": ["x", "y"], "f": True}
    save_state(tmp_path / "s.safetensors", state)
    loaded = load_state(tmp_path / "s.safetensors")
    assert torch.equal(torch.arange(3.0), loaded.pop("a"))  # type: ignore[arg-type]
    assert loaded == {k: v for k, v in state.items() if k != "a"}
    assert list(loaded) == ["z", "m", "b", "k", "f"]


class _Bomb:
    """Runs a command where a pickle of it is read trustingly."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("pickle", "holds something else than numbers; none of it was run"),
        ("a pickle in torch's format", "something else than numbers; none of it was run"),
        ("garbage", "cannot be loaded"),
        ("empty", "cannot be loaded"),
        ("a list", "cannot be loaded"),
        ("cut off", "cannot be loaded"),
        ("other shapes", "cannot be loaded"),
        ("other names", "lack the weights"),
        ("safetensors cut off", "cannot be loaded"),
        ("a broken tokenizer", "cannot be loaded"),
        ("configuration of nothing", "cannot be loaded"),
    ],
)
def test_files_that_are_no_model_are_one_message(kind: str, said: str, call: Call, tmp_path: Path) -> None:
    folder, trace = tmp_path / "m", tmp_path / "code ran"
    model, tokenizer = fake_model()
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    weights, state = folder / "pytorch_model.bin", model.state_dict()
    contents: dict[str, object] = {
        "a pickle in torch's format": {"lm_head.weight": _Bomb(trace)},
        "a list": [1, 2],
        "cut off": state,
        "other shapes": {name: torch.zeros(3, 3) for name in state},
        "other names": {f"other.{name}": value for name, value in state.items()},
    }
    if kind in contents:
        torch.save(contents[kind], weights)
    elif kind == "safetensors cut off":
        model.save_pretrained(folder)
        file = folder / "model.safetensors"
        file.write_bytes(file.read_bytes()[:5000])
    elif kind == "a broken tokenizer":
        (folder / "tokenizer.json").write_text("{}")
    elif kind == "configuration of nothing":
        (folder / "config.json").write_text('{"model_type": "llama", "hidden_size": -1, "num_attention_heads": 0}')
    else:
        weights.write_bytes({"pickle": pickle.dumps(_Bomb(trace)), "garbage": b"garbage " * 99}.get(kind, b""))
    if kind == "cut off":
        weights.write_bytes(weights.read_bytes()[:5000])
    words = ("--model", str(folder), "--stream", "fake", "--method", "dpo", "--device", "cpu", "--dtype", "float32")
    code, _, err = call("run", *words)
    assert code == 2 and said in err and "Traceback" not in err and "should not happen" not in err
    assert not trace.exists()
