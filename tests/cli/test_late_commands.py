"""Commands are imported when they are used, and what is known of them before is what they say of themselves."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from lifealign_bench.cli import COMMANDS, app
from tests.command import Call


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
