"""The second family, gemma3-270m, where its packages are installed: converted right, and right in every layout."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from torch.nn import functional as F

from lifealign_bench.config import RunConfig
from lifealign_bench.models import terms
from lifealign_bench.models.encode import EncodedPair, encode_pairs
from lifealign_bench.models.layout import choose_layout
from lifealign_bench.models.load import LoadedModel, load_base_model
from lifealign_bench.models.logprobs import lay_out, pair_log_probs
from lifealign_bench.models.wheel import GEMMA, WHEELS, fetch_file
from lifealign_bench.pairs import Message, Pair

MODEL = WHEELS[GEMMA]


def _installed() -> bool:
    try:
        return all(importlib.metadata.distribution(part.package) for part in MODEL.parts)
    except importlib.metadata.PackageNotFoundError:
        return False


pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(not _installed(), reason=f"the packages of {GEMMA} are not here: {MODEL.by_hand}"),
]

# A paragraph that no model knows by heart, long enough for the window of 512 tokens to end within three of them.
TEXT = (
    "The harbour lay quiet that morning, and the boats that had come in during the night were still covered with salt. "
    "An old man sat on the wall and mended a net. He had done this every day for forty years, and his hands knew the "
    "knots so well that he could watch the gulls while he worked. A girl came down the steps with a basket of bread, "
    "sat down beside him and asked why the red boat had not come back. He said that the wind had turned at night, "
    "that its captain was a careful woman, and that she would wait behind the island until the sea was calm again. "
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for this file: the model is converted once."""
    return tmp_path_factory.mktemp("gemma")


@pytest.fixture(autouse=True)
def kept_cache(own_cache: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("LIFEALIGN_BENCH_CACHE", str(cache))
    monkeypatch.setenv(terms.VARIABLE, GEMMA)
    yield


_TENSORS: dict[str, torch.Tensor] = {}
_LOADED: list[LoadedModel] = []


def loaded() -> LoadedModel:
    """The model, converted at the first call; what its file holds is read before, since the file is then gone."""
    if not _LOADED:
        reader = gguf.GGUFReader(str(fetch_file(MODEL)))
        for tensor in reader.tensors:
            _TENSORS[tensor.name] = torch.tensor(gguf.dequantize(tensor.data, tensor.tensor_type))
        config = RunConfig(
            method="dpo", stream="fake", tasks=("fake-upper",), model=GEMMA, device="cpu", dtype="float32"
        )
        _LOADED.append(load_base_model(config))
    return _LOADED[0]


def norm(x: torch.Tensor, name: str) -> torch.Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * _TENSORS[f"{name}.weight"]


def turned(x: torch.Tensor, base: float) -> torch.Tensor:
    """Rotary positions: (T, heads, D), the first half of D against the second."""
    half = x.shape[-1] // 2
    angles = torch.arange(len(x))[:, None] * base ** (-torch.arange(half) / half)
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]
    one, two = x[..., :half], x[..., half:]
    return torch.cat([one * cos - two * sin, two * cos + one * sin], dim=-1)


def by_hand(ids: list[int], last: int) -> torch.Tensor:
    """(last, V) logits by the architecture's definition, from the tensors of the file and nothing else.

    18 layers of which every sixth sees everything; 4 query heads of 256 that share one key head; norms before and after
    both halves of a layer, and of queries and keys.
    """
    size = len(ids)
    x = _TENSORS["token_embd.weight"][ids] * math.sqrt(640)
    back = torch.arange(size)[:, None] - torch.arange(size)
    for i in range(18):
        everything = (i + 1) % 6 == 0
        seen = (back >= 0) if everything else (back >= 0) & (back < 512)
        block = f"blk.{i}"
        h = norm(x, f"{block}.attn_norm")
        q, k, v = ((h @ _TENSORS[f"{block}.attn_{n}.weight"].T).view(size, -1, 256) for n in "qkv")
        base = 1e6 if everything else 1e4
        q, k = turned(norm(q, f"{block}.attn_q_norm"), base), turned(norm(k, f"{block}.attn_k_norm"), base)
        scores = torch.einsum("qhd,kd->hqk", q, k[:, 0]) / 16  # the root of 256
        weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
        found = torch.einsum("hqk,kd->qhd", weights, v[:, 0]).reshape(size, -1)
        x = x + norm(found @ _TENSORS[f"{block}.attn_output.weight"].T, f"{block}.post_attention_norm")
        h = norm(x, f"{block}.ffn_norm")
        gate, up = (h @ _TENSORS[f"{block}.ffn_{n}.weight"].T for n in ("gate", "up"))
        inner = F.gelu(gate, approximate="tanh") * up
        x = x + norm(inner @ _TENSORS[f"{block}.ffn_down.weight"].T, f"{block}.post_ffw_norm")
    return norm(x[-last:], "output_norm") @ _TENSORS["token_embd.weight"].T


@torch.no_grad()
def test_its_logits_are_those_of_a_pass_written_by_hand() -> None:
    base = loaded()
    ids = list(base.tokenizer(TEXT * 6)["input_ids"])
    assert len(ids) > 600 and ids[0] == base.tokenizer.bos_token_id
    found = base.model(input_ids=torch.tensor([ids]), use_cache=False, logits_to_keep=8).logits[0]
    wanted = by_hand(ids, 8)
    assert torch.allclose(found.log_softmax(-1), wanted.log_softmax(-1), atol=2e-3)
    assert torch.equal(found.argmax(-1), wanted.argmax(-1))


@torch.no_grad()
def test_it_speaks_english() -> None:
    base = loaded()
    ids = torch.tensor([base.tokenizer(TEXT)["input_ids"]])
    table = base.model(input_ids=ids, use_cache=False).logits[0, :-1].log_softmax(-1)
    perplexity = math.exp(-float(table.gather(1, ids[0, 1:, None]).mean()))
    assert 5 < perplexity < 30, perplexity  # thousands where a norm, a rotation or a scale is wrong
    ids = base.tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    said = base.model.generate(input_ids=ids, max_new_tokens=12, do_sample=False)
    assert "France" in base.tokenizer.decode(said[0, ids.shape[1] :])


def test_what_it_is() -> None:
    base = loaded()
    config = base.model.config
    assert base.parameters == 268_098_176 and (config.sliding_window, config.vocab_size) == (512, 262_144)
    assert base.model.lm_head.weight is base.model.model.embed_tokens.weight
    text = base.tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], add_generation_prompt=True, tokenize=False
    )
    assert text == "<bos>User: Hi\nAssistant:"
    assert any("plain 'User:'" in notice for notice in base.notices)
    assert any("Gemma Terms of Use" in notice for notice in base.notices)
    encoded, _ = encode_pairs(base.tokenizer, [Pair("a", "t", (Message("user", "Hi"),), "Yes.", "No.")], 64, "drop")
    ids = encoded[0].prompt
    assert ids[0] == 2 and 2 not in ids[1:]  # one beginning, not the template's and the tokenizer's
    ends = base.tokenizer.convert_ids_to_tokens(encoded[0].chosen)
    assert ends == ["▁Yes", ".", "<eos>", "\n"]
    assert base.tokenizer("two  spaces\n\n é ☃ 𒀀")["input_ids"] == [2, *SPACED]


# By the rule of the vocabulary's scores, worked out apart from any library: the pair of highest score is joined first.
SPACED = [13498, 138, 35220, 108, 1559, 236743, 246690, 236743, 247364]


@torch.no_grad()
def test_packed_rows_are_one_sequence_at_a_time_on_both_sides_of_the_window() -> None:
    base = loaded()
    pair = Pair("a", "t", (Message("user", "x"),), "c", "r")
    words = list(base.tokenizer(TEXT * 5)["input_ids"])
    pairs = [
        EncodedPair(pair, tuple(words[:9]), (818, 5279, 1), (563, 1)),
        EncodedPair(pair, tuple(words[:40]), tuple(words[60:70]), tuple(words[80:85])),
        EncodedPair(pair, tuple(words[:560]), tuple(words[:12]), tuple(words[30:60])),
    ]
    layout = choose_layout(base.model, pairs, 0, torch.device("cpu"))
    assert layout == "segments"
    found = pair_log_probs(base.model, lay_out(pairs, 0, layout))
    for row, one in zip(found, pairs, strict=True):
        for value, said in zip(row, one.branches, strict=True):
            ids = torch.tensor([[*one.prompt, *said]])
            table = base.model(input_ids=ids, use_cache=False, logits_to_keep=len(said) + 1).logits[0, :-1]
            wanted: Any = table.log_softmax(-1).gather(1, ids[0, -len(said) :, None]).sum()
            assert abs(float(value - wanted)) < 1e-3 * len(said)
