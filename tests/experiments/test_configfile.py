"""Runs as files: what --dump-config writes, --config reads back as the same runs; mistakes have a line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.experiments.configfile import dump_configs, write_dump
from lifealign_bench.experiments.request import Words, build_configs

FAKE = Words(method=("dpo",), stream=("fake",), model="fake")


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def words_of(tmp_path: Path, text: str) -> Words:
    return Words(config=written(tmp_path, text))


def test_a_file_says_what_flags_say(tmp_path: Path) -> None:
    text = """
method: [dpo, lifealign]
stream: fake
model: fake
seed: [0, 2]
limit: 5
test_limit: 0
sft: yes
scorers: preference
out: elsewhere
training: {learning_rate: 5e-6, epochs: 2}
supervised: {sft_epochs: 3}
adapter: {target_modules: [q_proj, k_proj]}
method_settings:
  lifealign: {focal_gamma: 0}
"""
    flags = Words(
        method=("dpo,lifealign",),
        stream=("fake",),
        model="fake",
        seed=("0,2",),
        limit=5,
        test_limit=0,
        sft=True,
        scorers=("preference",),
        out=Path("elsewhere"),
        assignments=(
            "learning_rate=5e-6",
            "epochs=2",
            "sft_epochs=3",
            "target_modules=q_proj,k_proj",
            "focal_gamma=0",
        ),
    )
    assert build_configs(words_of(tmp_path, text)).configs == build_configs(flags).configs


def test_flags_beside_a_file_win(tmp_path: Path) -> None:
    text = (
        "method: dpo\nstream: mini\nmodel: fake\nseed: 3\ntrain_limit: 7\nsft: true\ntraining: {epochs: 2, beta: 0.3}\n"
    )
    words = words_of(tmp_path, text).but(seed=("1",), limit=9, sft=False, assignments=("epochs=4",))
    (config,) = build_configs(words).configs
    assert (config.seed, config.train_limit, config.sft) == (1, 9, False)
    assert (config.training.epochs, config.training.beta) == (4, 0.3)


def test_what_a_file_does_not_say_has_its_default(tmp_path: Path) -> None:
    text = "stream: mini\nmodel: null\nsft:\ntraining: {epochs: null}\nthreads: null\ngeneration:\n"
    assert build_configs(words_of(tmp_path, text)).configs == build_configs(Words(stream=("mini",))).configs


def test_a_preset_is_the_ground_that_a_file_stands_on(tmp_path: Path) -> None:
    (config,) = build_configs(words_of(tmp_path, "preset: paper\nstream: mini\ntraining: {epochs: 1}\n")).configs
    assert (config.preset, config.training.epochs, config.training.max_length) == ("paper", 1, 2048)


def test_a_default_said_aloud_makes_no_other_run(tmp_path: Path) -> None:
    (plain,) = build_configs(FAKE.but(method=("lifealign",))).configs
    (aloud,) = build_configs(FAKE.but(method=("lifealign",), assignments=("focal_gamma=2",))).configs
    assert plain == aloud


CASES = {
    "the main job": Words(),
    "the paper's": Words(preset="paper", stream=("order1", "order3"), method=("lifealign,dpo",), seed=("0,1",)),
    "settings of a method": Words(method=("ewc,dpo",), assignments=("strength=7", "fisher_pairs=3", "beta=0.2")),
    "streams with defaults of their own": Words(stream=("mini", "fake", "mini-brief,mini-facts"), model="fake"),
    "limits, also none": Words(limit=0, test_limit=3, assignments=("token_budget=99", "reference=previous")),
    "places": Words(out=Path("some where/é"), data_dir=Path(), threads=2, trust_remote_code=True, device="cpu"),
    "a variant": Words(method=("lifealign-no-focal,lifealign",), assignments=("energy=0.8",)),
    "a model called true": Words(model="true", sft=True, evaluate="seen", scorers=("all",), dtype="float32"),
}


@pytest.mark.parametrize("words", CASES.values(), ids=CASES)
def test_what_is_written_is_read_back_as_the_same_runs(words: Words, tmp_path: Path) -> None:
    asked = build_configs(words).configs
    write_dump(asked, tmp_path / "run.yaml")
    assert build_configs(Words(config=tmp_path / "run.yaml")).configs == asked


@given(
    rate=st.floats(1e-9, 1e3, exclude_min=True),
    gamma=st.floats(0, 10),
    seeds=st.lists(st.integers(0, 10**6), min_size=1, max_size=3, unique=True),
    model=st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=20),
    limit=st.none() | st.integers(0, 100),
    sft=st.none() | st.booleans(),
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_values_survive_the_round_trip(
    tmp_path: Path, rate: float, gamma: float, seeds: list[int], model: str, limit: int | None, sft: bool | None
) -> None:
    words = Words(
        method=("lifealign,dpo",),
        stream=("mini",),
        model=model.strip() or "x",
        seed=tuple(str(seed) for seed in seeds),
        limit=limit,
        sft=sft,
        assignments=(f"learning_rate={rate!r}", f"focal_gamma={gamma!r}"),
    )
    asked = build_configs(words).configs
    assert build_configs(Words(config=written(tmp_path, dump_configs(asked)))).configs == asked


def test_a_users_own_cards_and_method_are_written_by_their_paths(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    card = tmp_path / "own.yaml"
    card.write_text(
        "name: own\ntitle: Mine\nsource: {type: file, train: rows.jsonl, test: rows.jsonl}\n", encoding="utf-8"
    )
    method = tmp_path / "mine.py"
    method.write_text(
        "from lifealign_bench.method import Method, MethodConfig, register_method\n"
        "class C(MethodConfig):\n    depth: int = 1\n"
        "@register_method('mine-for-files')\nclass M(Method):\n    Config = C\n"
    )
    words = Words(method=(str(method),), stream=(f"mini-brief,{card}",), model="fake", assignments=("depth=4",))
    asked = build_configs(words).configs
    text = dump_configs(asked)
    assert str(card) in text and str(method) in text
    assert build_configs(Words(config=written(tmp_path, text))).configs == asked


def test_a_dump_is_complete_and_says_what_its_settings_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    text = dump_configs(build_configs(Words(seed=("0,1",))).configs)
    content = yaml.safe_load(text)
    assert content["method_settings"]["lifealign"]["replay_capacity"] == 3000  # defaults too
    assert content["seed"] == [0, 1] and content["training"]["max_length"] == 128
    assert "# focusing exponent of the loss" in text
    assert "hf_secret" not in text


def test_runs_that_differ_in_more_are_blocks_of_one_file() -> None:
    choice = build_configs(Words(stream=("mini", "fake"), model="fake", method=("dpo,ewc",)))
    blocks = yaml.safe_load(dump_configs(choice.configs))["runs"]
    assert [(b["stream"], b["method"], b["train_limit"]) for b in blocks] == [
        ("mini", ["dpo", "ewc"], 96),
        ("fake", ["dpo", "ewc"], 0),
    ]


def test_a_dump_overwrites_nothing(tmp_path: Path) -> None:
    configs = build_configs(FAKE).configs
    there = written(tmp_path, "precious: 1\n")
    with pytest.raises(UsageError, match="already"):
        write_dump(configs, there)
    assert there.read_text() == "precious: 1\n"
    with pytest.raises(UsageError, match="no folder"):
        write_dump(configs, tmp_path / "no" / "run.yaml")


@pytest.mark.parametrize(
    ("text", "line", "message", "remedy"),
    [
        ("method: dpo\nmethd: ewc\n", 2, "no key called 'methd'", "Did you mean 'method'"),
        ("model: fake\ntraining:\n  epochs: 1\n  epocs: 2\n", 4, "no key called 'epocs'", "Did you mean 'epochs'"),
        ("model: fake\nlearning_rate: 1.0\n", 2, "no key called 'learning_rate'", "setting of training"),
        ("model: fake\ntraining: {epochs: 1.5}\n", 2, "epochs must be an integer >= 1, got 1.5", "passes over"),
        ("model: fake\ntraining: {epochs: true}\n", 2, "epochs must be an integer >= 1, got True", ""),
        ("model: fake\ntraining: {learning_rate: .nan}\n", 2, "learning_rate must be a number > 0", ""),
        ("training: 3\n", 1, "training must be a mapping", ""),
        ("model: [a]\n", 1, "model must be a text", ""),
        ("\nmodel: ' '\n", 2, "model must be a text", ""),
        ("seed: a\n", 1, "seed must be an integer >= 0, got 'a'", ""),
        ("seed: 1.5\n", 1, "seed must be an integer or a list", ""),
        ("seed: [0, true]\n", 1, "seed must be an integer or a list", ""),
        ("method: {dpo: 1}\n", 1, "method must be a name or a list", ""),
        ("method: []\n", 1, "method must be a name or a list", ""),
        ("seed: 0\nmethod: lifealin\n", 2, "no method called 'lifealin'", "Did you mean 'lifealign'"),
        ("seed: 0\nstream: [mni]\n", 2, "no stream or task called 'mni'", "Did you mean 'mini'"),
        ("stream: {tasks: [mini-brief]}\n", 1, "needs a name and a list of tasks", ""),
        ("stream: {name: x, tasks: [mini-brief, mini-brief]}\n", 1, "names the task 'mini-brief' twice", ""),
        ("stream: {name: mini, tasks: [mini-brief]}\n", 1, "registered with other tasks", ""),
        ("scorers: [rewrd]\n", 1, "no scorer called 'rewrd'", "Did you mean 'reward'"),
        ("seed: 0\npreset: papr\n", 2, "no preset called 'papr'", "Did you mean 'paper'"),
        ("dtype: float16\n", 1, "dtype must be auto or float32 or bfloat16", ""),
        ("limit: -1\n", 1, "limit must be an integer >= 0", "0 means all"),
        ("seed: 0\ndata_dir: /no/such/folder\n", 2, "no data folder", ""),
        ("method: dpo\nmethod_settings: {ewc: {decay: 1}}\n", 2, "no method of these runs called 'ewc'", "dpo"),
        ("method_settings: {ewcc: {decay: 1}}\n", 1, "no method called 'ewcc'", "'ewc'"),
        ("method: ewc\nmethod_settings:\n  ewc:\n    decoy: 1\n", 4, "no key called 'decoy'", "'decay'"),
        ("method: ewc\nmethod_settings:\n  ewc:\n    decay: x\n", 4, "decay must be a number", ""),
        ("runs: []\n", 1, "must be a list of runs", ""),
        ("runs:\n- model: fake\n- modl: fake\n", 3, "no key called 'modl'", "'model'"),
        ("runs:\n- model: fake\nseed: 1\n", 3, "'seed' stands beside 'runs'", ""),
    ],
)
def test_a_mistake_has_its_line_and_a_remedy(tmp_path: Path, text: str, line: int, message: str, remedy: str) -> None:
    with pytest.raises(UsageError) as caught:
        build_configs(words_of(tmp_path, text))
    assert message in caught.value.message and remedy in caught.value.remedy
    assert f"run.yaml, line {line}:" in caught.value.message
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "line"),
        ("- a\n", "not a mapping"),
        ("", "not a mapping"),
        ("seed: 0\nseed: 1\n", "line 2: the key 'seed' is there twice"),
        ("model: !!python/object/apply:os.getcwd []\n", "not YAML"),
    ],
)
def test_what_is_no_config_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BenchError, match="config file") as caught:
        build_configs(words_of(tmp_path, text))
    assert message in caught.value.message
    with pytest.raises(BenchError, match="There is no config file"):
        build_configs(Words(config=tmp_path / "nothing.yaml"))
