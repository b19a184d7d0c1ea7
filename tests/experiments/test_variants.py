"""Ablations with a name: listed without importing anything, run like methods, and what they fix stays fixed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from rich.console import Console

from lifealign_bench import methods
from lifealign_bench.cli.catalog import show_lists, show_name
from lifealign_bench.config import RunConfig, TrainingConfig
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.experiments.request import Words, build_configs
from lifealign_bench.methods import effective_settings, find_variant, load_method, method_names, variant_names
from lifealign_bench.results.folder import RunFolder
from lifealign_bench.runs.run import run
from lifealign_bench.runs.setup import make_method

OWN = [
    "dpo-moving-reference",
    "grpo-unbiased",
    "lifealign-no-consolidation",
    "lifealign-no-focal",
    "lifealign-no-replay",
]
FAKE = {"stream": ("fake",), "model": "fake"}


def test_the_variants_are_those_of_the_classes() -> None:
    assert variant_names() == OWN
    expected = {f"{n}-{suffix}": fixed for n in method_names() for suffix, fixed in load_method(n).variants.items()}
    found = {name: variant.fixed for name in variant_names() if (variant := find_variant(name)) is not None}
    assert found == expected
    assert not set(variant_names()) & set(method_names())


@pytest.mark.parametrize("name", OWN)
def test_every_variant_changes_settings_that_exist(name: str, fake_config: Callable[..., RunConfig]) -> None:
    method = make_method(fake_config(method=name))
    variant = find_variant(name)
    assert variant is not None
    plain = make_method(fake_config(method=variant.of))
    assert type(method) is type(plain)
    changed = {key: v for key, v in method.config.model_dump().items() if v != plain.config.model_dump()[key]}
    assert changed == variant.fixed != {}


def test_names_are_found_without_importing_a_method() -> None:
    code = (
        "import lifealign_bench.methods as m, sys;"
        "assert 'lifealign-no-replay' in m.variant_names(); m.method_summary('lifealign-no-replay');"
        "assert not [n for n in sys.modules if n.startswith(('torch', 'lifealign_bench.methods.'))]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_all_is_every_method_and_ablations_every_variant() -> None:
    def names(*words: str) -> list[str]:
        return [c.method for c in build_configs(Words(method=words, **FAKE)).configs]  # type: ignore[arg-type]

    assert names("all") == method_names()
    assert names("ablations") == OWN
    assert names("lifealign,ablations") == ["lifealign", *OWN]


def test_other_settings_may_be_set_and_fixed_ones_not() -> None:
    words = Words(method=("lifealign-no-focal",), assignments=("replay_fraction=0.5",), **FAKE)  # type: ignore[arg-type]
    (config,) = build_configs(words).configs
    assert effective_settings(config.method, config.method_settings) == {"replay_fraction": 0.5, "focal_gamma": 0.0}
    both = ("lifealign,lifealign-no-focal",)
    with pytest.raises(UsageError, match="'focal_gamma' cannot be changed in lifealign-no-focal") as caught:
        build_configs(Words(method=both, assignments=("focal_gamma=1",), **FAKE))  # type: ignore[arg-type]
    # The remedy is true: named by its method, it is set there alone.
    assert "--set lifealign.focal_gamma=" in caught.value.remedy
    first, second = build_configs(
        Words(method=both, assignments=("lifealign.focal_gamma=1",), **FAKE)  # type: ignore[arg-type]
    ).configs
    assert (first.method_settings, second.method_settings) == ({"focal_gamma": 1.0}, {})


def test_a_configuration_made_elsewhere_is_held_to_it_too(fake_config: Callable[..., RunConfig]) -> None:
    with pytest.raises(UsageError, match="cannot be changed"):
        make_method(fake_config(method="lifealign-no-replay", method_settings={"replay_fraction": 0.3}))


@pytest.mark.parametrize("name", ["lifealign-no-foca", "dpo-no-replay", "lifealign-"])
def test_an_unknown_variant_names_the_close_ones(name: str) -> None:
    for function in (load_method, methods.method_summary):
        with pytest.raises(UsageError, match=f"no method called '{name}'") as caught:
            function(name)
        assert "lifealign-no-focal" in caught.value.remedy


def test_list_and_show_explain_them() -> None:
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    show_lists(console, "methods", None)
    show_name(console, "lifealign-no-focal", None)
    show_name(console, "lifealign", None)
    text = console.export_text()
    assert "variant: lifealign with energy = 1, plasticity = 1." in text
    assert "method lifealign-no-focal" in text and "A variant: lifealign with focal_gamma = 0." in text
    assert "0 (fixed)" in text and "--set energy=0.9" in text
    assert f"Variants: {', '.join(name for name in OWN if name.startswith('lifealign-'))}" in text


def test_a_run_and_its_record_bear_the_variants_name_and_settings(fake_config: Callable[..., RunConfig]) -> None:
    config = fake_config(method="lifealign-no-replay", scorers=("preference",))
    record = run(config)
    assert config.run_directory().parent.name == "lifealign-no-replay"
    assert record.method.name == "lifealign-no-replay"
    assert record.method.settings["replay_fraction"] == 0.0 and record.method.settings["focal_gamma"] == 2.0
    assert [stage.pairs for stage in record.stages] == [0, 8, 8, 8]
    content = json.loads((config.run_directory() / "config.json").read_text())
    assert content["config"]["method"] == "lifealign-no-replay"


def test_a_moving_reference_is_dpo_with_the_reference_that_the_run_may_ask_for(
    fake_config: Callable[..., RunConfig],
) -> None:
    def trained(method: str, **settings: Literal["base", "previous"]) -> tuple[bytes, ...]:
        training = TrainingConfig(learning_rate=5e-3, batch_size=4, **settings)
        config = fake_config(
            method=method,
            tasks=("fake-upper", "fake-lower"),
            train_limit=4,
            test_limit=2,
            scorers=("preference",),
            evaluate="last",
            training=training,
            token_budget=1000,
        )
        config = config.model_copy(update={"out": config.out / "-".join(settings.values())})
        record = run(config)
        told = [(stage.tokens, stage.flops, stage.steps) for stage in record.stages]
        folder = RunFolder(config.run_directory())
        return folder.stage(2).weights.read_bytes(), folder.stage(2).scores.read_bytes(), repr(told).encode()

    # What stages cost is compared with them: by such a reference all pairs so far are asked for again.
    assert trained("dpo-moving-reference") == trained("dpo", reference="previous")


@pytest.mark.parametrize(
    "text", ["class A:\n    variants = {'b': {'c': float('1')}}\n", "class A:\n    variants: dict = dict(b={})\n"]
)
def test_variants_that_are_not_written_out_are_refused(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)
    monkeypatch.setattr(methods, "method_files", lambda: {"mine": file})
    with pytest.raises(BenchError, match=r"mine\.py are not written out"):
        variant_names()
