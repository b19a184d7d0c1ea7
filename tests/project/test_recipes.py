"""The method of the recipes that scores an adapter from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lifealign_bench.method import METHODS
from lifealign_bench.results.record import read_record
from tests.command import Call
from tests.documented import ROOT, blocks

WORDS = ("--model", "fake", "--stream", "fake", "--limit", "6", "--set", "max_new_tokens=6", "--quiet")


@pytest.fixture
def given(tmp_path: Path) -> Iterator[None]:
    """The file as the page has it."""
    (code,) = (text for _, language, text in blocks(ROOT / "docs" / "recipes.md") if language == "python")
    (tmp_path / "given.py").write_text(code, encoding="utf-8")
    yield
    METHODS.forget(("given",))


def test_an_adapter_from_elsewhere_scores_as_where_it_was_trained(call: Call, given: None, tmp_path: Path) -> None:
    assert call("run", "--method", "dpo", "--set", "learning_rate=5e-3", *WORDS)[0] == 0
    trained = tmp_path / "runs" / "fake" / "fake" / "dpo" / "seed-0"
    words = ("--method", "given.py", "--out", "scored", "--set", f"adapter={trained / 'stage-3' / 'adapter'}")
    assert call("run", *words, *WORDS)[0] == 0
    scored = tmp_path / "scored" / "fake" / "fake" / "given" / "seed-0"
    before, after = (read_record(run / "record.json").scores["preference_margin"].array() for run in (trained, scored))
    assert np.abs(before[-1]).max() > 0.05  # it has learned something
    np.testing.assert_allclose(after[-1], before[-1], atol=1e-4)
    code, _, err = call("run", *words, "--set", "lora_r=4", "--out", "other", *WORDS)
    assert code == 2 and "is not made as the run's is: r." in err and "lora_r" in err
    # Of another strength its weights would fit, and say something else.
    code, _, err = call("run", *words, "--set", "lora_alpha=32", "--out", "stronger", *WORDS)
    assert code == 2 and "is not made as the run's is: lora_alpha." in err
    code, _, err = call("run", *words, "--set", "target_modules=k_proj", "--out", "elsewhere", *WORDS)
    assert code == 2 and "is not made as the run's is: its layers." in err
