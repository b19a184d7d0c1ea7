"""From words of the command line to configurations."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from lifealign_bench.cli.catalog import preset_rows
from lifealign_bench.config import PRESETS, RunConfig, TrainingConfig
from lifealign_bench.data.cards import load_stream
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.experiments.assignments import setting_fields
from lifealign_bench.experiments.fields import expectation, parse_value
from lifealign_bench.experiments.request import Words, build_configs

FAKE = Words(method=("dpo",), stream=("fake",), model="fake")


def one(words: Words) -> RunConfig:
    (config,) = build_configs(words).configs
    return config


def refused(words: Words) -> UsageError:
    with pytest.raises(UsageError) as caught:
        build_configs(words)
    assert caught.value.exit_code == 2
    return caught.value


def test_without_words_it_is_the_main_job() -> None:
    config = one(Words())
    assert (config.method, config.stream, config.model, config.seed) == ("lifealign", "forms", "smollm2-135m", 0)
    assert config.train_limit == 48 and config.sft  # the stream card's defaults: both phases of the paper
    assert config.generation.max_new_tokens == load_stream("forms").defaults.max_new_tokens


def test_later_words_win_over_earlier_ones() -> None:
    card = one(FAKE)
    assert (card.generation.max_new_tokens, card.training.learning_rate) == (8, 5e-3)  # card over preset
    flags = one(FAKE.but(stream=("mini",), limit=5))
    assert (flags.train_limit, flags.test_limit) == (5, 5)  # flag over card
    parts = one(FAKE.but(stream=("mini",), limit=5, test_limit=7))
    assert (parts.train_limit, parts.test_limit) == (5, 7)  # the narrower flag over the wider one
    last = one(FAKE.but(limit=5, assignments=("train_limit=3", "learning_rate=1e-3")))
    assert (last.train_limit, last.training.learning_rate) == (3, 1e-3)  # --set over flags


def test_limit_0_means_all() -> None:
    config = one(FAKE.but(stream=("mini",), limit=0))
    assert (config.train_limit, config.test_limit) == (None, None)


def test_the_paper_preset_is_the_published_one_and_ignores_the_streams_defaults() -> None:
    config = one(Words(stream=("mini",), preset="paper"))
    training = config.training
    assert config.model == "Qwen/Qwen2.5-7B-Instruct"
    assert (training.learning_rate, training.epochs, training.batch_size, training.max_length) == (5e-6, 3, 32, 2048)
    assert (training.beta, training.warmup_ratio, training.scheduler) == (0.1, 0.1, "cosine")
    assert (config.adapter.lora_r, config.adapter.lora_alpha) == (8, 16)
    assert config.adapter.target_modules == ("q_proj", "v_proj")
    assert config.sft
    assert (config.supervised.sft_learning_rate, config.supervised.sft_epochs) == (1e-4, 3)
    assert (config.dtype, config.generation.max_new_tokens) == ("bfloat16", 1024)
    assert [name for name, _, origin in preset_rows("paper") if origin == "ours"] == ["generation_batch_size"]
    assert config.train_limit is None
    assert one(Words(preset="paper", model="fake")).model == "fake"


def test_the_small_preset_has_both_phases_unless_a_stream_or_a_flag_says_otherwise() -> None:
    assert PRESETS["small"] == {"sft": True}
    assert one(Words(stream=("mini-brief",), model="fake")).sft and not one(Words(stream=("mini",), model="fake")).sft
    assert not one(Words(stream=("forms",), model="fake", sft=False)).sft


def test_one_run_for_every_stream_method_and_seed() -> None:
    words = Words(method=("dpo,ewc", "joint"), stream=("fake", "mini"), seed=("0", "1,2"), model="fake")
    runs = [(c.stream, c.method, c.seed) for c in build_configs(words).configs]
    assert len(runs) == len(set(runs)) == 2 * 3 * 3
    assert runs[0] == ("fake", "dpo", 0)
    assert runs[-1] == ("mini", "joint", 2)


def test_all_methods() -> None:
    found = {config.method for config in build_configs(FAKE.but(method=("all",))).configs}
    assert {"lifealign", "dpo", "replay", "ewc", "olora", "joint"} <= found


def test_all_leaves_out_what_learns_from_rewards_where_tasks_have_none() -> None:
    def methods(*words: str, **said: Any) -> set[str]:
        return {c.method for c in build_configs(Words(method=words, stream=("order1",), model="fake", **said)).configs}

    assert {"grpo", "rft", "online_dpo", "on_policy_replay"} <= methods("all", reward_model="trained")
    assert not {"grpo", "rft", "online_dpo", "on_policy_replay"} & methods("all")
    assert {"dpo", "grpo"} <= methods("all", "grpo")  # who names it is told by the run what it lacks
    notices = build_configs(Words(method=("all",), stream=("order1",), model="fake")).notices
    assert any("grpo, on_policy_replay, online_dpo, rft: they learn from rewards, and order1" in n for n in notices)
    assert {"grpo", "rft"} <= {c.method for c in build_configs(Words(method=("all",), stream=("forms",))).configs}


def test_all_streams_are_those_whose_data_is_at_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LIFEALIGN_BENCH_DATA", raising=False)
    monkeypatch.setenv("LIFEALIGN_BENCH_CACHE", str(tmp_path))
    choice = build_configs(Words(method=("dpo",), stream=("all",), model="fake"))
    # The packages that make the rows of verifiable are there or not.
    names = [config.stream for config in choice.configs if config.stream != "verifiable"]
    assert names == ["forms", "forms-demo", "mini"]
    assert any("order1" in notice and "missing" in notice for notice in choice.notices)


def test_tasks_in_a_row_are_a_stream() -> None:
    config = one(Words(method=("dpo",), stream=("mini-brief, mini-facts",)))
    assert config.tasks == ("mini-brief", "mini-facts")
    assert config.train_limit is None


def test_a_stream_of_one_task_says_what_it_cannot_show() -> None:
    choice = build_configs(FAKE.but(stream=("mini-brief",)))
    assert choice.configs[0].tasks == ("mini-brief",)
    assert any("one task" in notice and "forget" in notice for notice in choice.notices)
    assert build_configs(FAKE).notices == ()


def test_method_settings_go_to_the_methods_that_have_them() -> None:
    words = FAKE.but(method=("lifealign,replay,dpo",), assignments=("replay_fraction=0.5", "focal_gamma=0"))
    settings = {config.method: config.method_settings for config in build_configs(words).configs}
    assert settings == {
        "lifealign": {"replay_fraction": 0.5, "focal_gamma": 0.0},
        "replay": {"replay_fraction": 0.5},
        "dpo": {},
    }


def test_places_of_settings_may_be_written_out() -> None:
    words = FAKE.but(method=("lifealign,replay",), assignments=("training.epochs=2", "replay.replay_fraction=0.1"))
    first, second = build_configs(words).configs
    assert first.training.epochs == 2
    assert (first.method_settings, second.method_settings) == ({}, {"replay_fraction": 0.1})
    assert one(FAKE.but(method=("ewc",), assignments=("method.decay=0.5",))).method_settings == {"decay": 0.5}


def test_a_setting_of_both_method_and_training_must_say_which(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from lifealign_bench.method import Method, MethodConfig, register_method\n"
        "class C(MethodConfig):\n    beta: float = 1.0\n"
        "@register_method('mine-with-beta')\nclass M(Method):\n    Config = C\n"
    )
    words = FAKE.but(method=(str(path),), assignments=("beta=2",))
    assert "training.beta or method.beta" in refused(words).remedy
    config = one(words.but(assignments=("method.beta=2", "training.beta=0.3")))
    assert (config.method_settings, config.training.beta) == ({"beta": 2.0}, 0.3)


def test_lists_and_nothing() -> None:
    config = one(FAKE.but(assignments=("target_modules=q_proj,k_proj", "train_limit=none")))
    assert config.adapter.target_modules == ("q_proj", "k_proj")
    assert config.train_limit is None
    assert one(FAKE.but(assignments=("target_modules=[o_proj]",))).adapter.target_modules == ("o_proj",)


@pytest.mark.parametrize(
    ("words", "message", "remedy"),
    [
        (FAKE.but(method=("lifealin",)), "no method called 'lifealin'", "Did you mean 'lifealign'"),
        (FAKE.but(stream=("mni",)), "no stream or task called 'mni'", "Did you mean 'mini'"),
        (FAKE.but(stream=("mini-brief,mini-fact",)), "no task called 'mini-fact'", "'mini-facts'"),
        (FAKE.but(stream=("order1,mini",)), "no task called 'order1'", "repeat --stream"),
        (FAKE.but(stream=("mini-brief,mini-brief",)), "names the task 'mini-brief' twice", "once"),
        (FAKE.but(scorers=("rewrd",)), "no scorer called 'rewrd'", "Did you mean 'reward'"),
        (FAKE.but(preset="papr"), "no preset called 'papr'", "Did you mean 'paper'"),
        (FAKE.but(assignments=("epcohs=3",)), "no setting called 'epcohs'", "Did you mean 'epochs'"),
        (FAKE.but(assignments=("method.epochs=3",)), "'method.epochs'", "Did you mean 'training.epochs'"),
        (FAKE.but(assignments=("focal_gamma=3",)), "'focal_gamma'", "It is a setting of lifealign."),
        (FAKE.but(assignments=("epochs",)), "has no value", "key=value"),
        (FAKE.but(assignments=("epochs=",)), "epochs must be an integer >= 1, got ''", ""),
        (FAKE.but(assignments=("seed=3",)), "'seed' is not a setting", "Use --seed"),
        (FAKE.but(assignments=("epochs=three",)), "epochs must be an integer >= 1, got 'three'", ""),
        (FAKE.but(assignments=("epochs=0",)), "epochs must be an integer >= 1, got '0'", ""),
        (FAKE.but(assignments=("epochs=1.5",)), "epochs must be an integer >= 1, got '1.5'", ""),
        (FAKE.but(assignments=("epochs=yes",)), "epochs must be an integer >= 1, got 'yes'", ""),
        (FAKE.but(assignments=("learning_rate=.inf",)), "learning_rate must be a number > 0", ""),
        (FAKE.but(assignments=("learning_rate=nan",)), "learning_rate must be a number > 0", ""),
        (FAKE.but(assignments=("warmup_ratio=1",)), "warmup_ratio must be a number >= 0 and < 1", ""),
        (FAKE.but(assignments=("scheduler=cos",)), "cosine or linear or constant_with_warmup", ""),
        (FAKE.but(seed=("x",)), "seed must be an integer >= 0, got 'x'", ""),
        (FAKE.but(seed=("0,,1",)), "empty name", "commas"),
        (FAKE.but(dtype="float16"), "dtype must be auto or float32 or bfloat16", ""),
        (FAKE.but(evaluate="none"), "evaluate must be all or seen", ""),
        (FAKE.but(limit=-1), "limit is -1", "0 means all"),
        (FAKE.but(model=" "), "model is empty", ""),
        (FAKE.but(data_dir=Path("/no/such/folder")), "no data folder", "--data-dir"),
        (FAKE.but(method=("nowhere/mine.py",)), "no method file nowhere/mine.py", ""),
    ],
)
def test_mistakes_are_named_with_what_to_do(words: Words, message: str, remedy: str) -> None:
    error = refused(words)
    assert message in error.message
    assert remedy in error.remedy


def test_two_runs_never_share_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "dpo.py"
    path.write_text("")
    error = refused(FAKE.but(method=(f"dpo,{path}",)))
    assert "would both write to" in error.message


def test_a_broken_method_file_stops_before_anything_starts(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("def :\n")
    with pytest.raises(BenchError, match=r"broken\.py"):
        build_configs(FAKE.but(method=(str(path),), assignments=("epochs=1",)))


def test_every_harness_setting_can_be_set() -> None:
    known = setting_fields()
    assert set(TrainingConfig.model_fields) <= set(known)
    defaults = one(FAKE)
    for name, (section, model) in known.items():
        value = getattr(getattr(defaults, section) if section else defaults, name)
        text = ",".join(value) if isinstance(value, tuple) else str(value)
        assert parse_value(model, name, text) == value


class Sample(BaseModel):
    """One field of each kind."""

    flag: bool = False
    word: str = ""
    maybe: int | None = Field(None, ge=1)
    weights: list[float] = []
    choice: Literal["a", "b"] = "a"


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("flag", "true", True),
        ("flag", "no", False),
        ("word", "3", "3"),
        ("word", "a: b", "a: b"),
        ("word", "[", "["),
        ("maybe", "none", None),
        ("maybe", "2", 2),
        ("weights", "1,2.5", [1.0, 2.5]),
        ("weights", "[1, 2]", [1.0, 2.0]),
        ("choice", "b", "b"),
    ],
)
def test_values_are_read_as_their_field_wants(field: str, text: str, value: object) -> None:
    assert parse_value(Sample, field, text) == value


@pytest.mark.parametrize(("field", "text"), [("maybe", "0"), ("weights", "x"), ("choice", "c"), ("flag", "maybe")])
def test_other_values_are_refused(field: str, text: str) -> None:
    with pytest.raises(UsageError, match=field):
        parse_value(Sample, field, text)


def test_expectations_are_in_words() -> None:
    assert expectation(Sample, "maybe") == "an integer >= 1 or none"
    assert expectation(Sample, "flag") == "true or false"
    assert expectation(Sample, "weights") == "a list separated by commas, each a number"
    assert expectation(Sample, "choice") == "a or b"


@given(st.text(max_size=40))
def test_any_text_is_a_number_or_a_clear_refusal(text: str) -> None:
    try:
        value = parse_value(TrainingConfig, "learning_rate", text)
    except UsageError as error:
        assert error.message.startswith("learning_rate must be a number > 0")
    else:
        assert math.isfinite(value) and value > 0
