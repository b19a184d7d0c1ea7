"""Commands are imported when they are used, and what is known of them before is what they say of themselves."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import typer

from lifealign_bench.cli import COMMANDS, app
from lifealign_bench.method import MethodConfig
from lifealign_bench.methods import _config_in, load_method, method_config, method_names
from tests.command import Call
from tests.places import ROOT


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_they_say(name: str) -> None:
    group: Any = typer.main.get_command(app)
    command = group.get_command(typer.Context(group), name)
    assert command.name == name
    assert (command.help or "").split("\n")[0] == COMMANDS[name].help
    assert bool(COMMANDS[name].group) == hasattr(command, "commands")


def test_every_command_of_a_module_is_in_the_list() -> None:
    group: Any = typer.main.get_command(app)
    for place in {place.module for place in COMMANDS.values() if not place.group}:
        module = __import__(f"lifealign_bench.cli.{place}", fromlist=["app"])
        own = typer.main.get_group(module.app).commands
        assert {name for name, found in COMMANDS.items() if found.module == place} == set(own)
    assert group.list_commands(typer.Context(group)) == list(COMMANDS)


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (("run", "--learning-rate", "1e-3"), "--set learning_rate=1e-3."),
        (("run", "--method", "dpo", "--epochs=2"), "--set epochs=2."),
        (("sweep", "--lr", "1e-3"), "--set learning_rate=1e-3."),
        (("tune", "--num-train-epochs", "3"), "--set epochs=3."),
        (("run", "--training.epochs", "3"), "--set epochs=3."),
        (("run", "--per_device_train_batch_size", "4"), "--set batch_size=4."),
        (("run", "--focal-gamma", "2"), "--set focal_gamma=2."),
        (("run", "--judge-timeout"), "--set judge_timeout=VALUE."),
        (("run", "--output-dir", "x"), "Write --out."),
        (("run", "--reward-model", "trained"), "Write --reward."),
        (("run", "--set", "lr=1e-3"), "Did you mean 'learning_rate'?"),
    ],
)
def test_a_setting_that_is_no_option_is_answered_with_how_to_say_it(
    call: Call, words: tuple[str, ...], remedy: str
) -> None:
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert remedy in err


def test_an_option_that_nobody_knows_is_refused_as_before(call: Call) -> None:
    code, _, err = call("run", "--sedd", "3")
    assert code == 2 and "No such option: --sedd" in err
    code, _, err = call("score", "runs/x", "--out", "y")
    assert code == 2 and "No such option: --out" in err


LIGHT = [
    ("show", "small"),
    ("show", "lifealign"),
    ("show", "settings"),
    ("data", "verify", "mini"),
    ("leaderboard", str(ROOT / "results")),
    ("compare", *(str(ROOT / "results/mini/smollm2-135m" / name / "seed-0.json") for name in ("dpo", "ewc"))),
    ("summary", str(ROOT / "results/mini/smollm2-135m/dpo/seed-0.json")),
    ("run", "--method", "lifealign", "--set", "energy=0.8", "--dump-config", "-"),
    *((name, "--help") for name in COMMANDS),
]


@pytest.mark.parametrize("words", LIGHT, ids=" ".join)
def test_commands_that_need_no_model_import_no_torch(words: tuple[str, ...]) -> None:
    code = (
        "import sys\n"
        "from lifealign_bench.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit as end:\n"
        "    heavy = {'torch', 'transformers', 'peft', 'datasets'} & sys.modules.keys()\n"
        "    sys.exit(f'{end.code} {sorted(heavy)}' if heavy or end.code else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-500:]


def test_settings_that_are_read_from_a_method_s_file_are_those_of_its_class() -> None:
    for name in method_names():
        read, loaded = method_config(name), load_method(name).Config
        assert read.model_json_schema() == loaded.model_json_schema(), name
        assert repr(read.model_fields) == repr(loaded.model_fields), name


@pytest.mark.parametrize(
    "text",
    [
        "class C(MethodConfig):\n    depth: int = LATER\nLATER = 3\n",
        "class C(MethodConfig):\n    depth: int = 3\n    @field_validator('depth')\n    def check(cls, v): return v\n",
        "class B(MethodConfig):\n    depth: int = 3\nclass C(B):\n    width: int = 3\n",
    ],
)
def test_settings_that_need_more_of_their_file_are_not_read_without_it(text: str) -> None:
    head = "from lifealign_bench.method import Method, MethodConfig, register_method\n"
    whole = f"{head}{text}@register_method('m')\nclass M(Method):\n    Config = C\n"
    assert _config_in("m", whole) is None
    assert _config_in("m", f"{head}@register_method('m')\nclass M(Method):\n    pass\n") is MethodConfig
