"""The generated stream whose degree of conflict is a setting: what is contested, and by how much."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.forms_rows import Sizes, form_check
from benchmarks.forms_text import wordings
from benchmarks.make_dial import FORMS, SEED, Dial, files, rows_of
from lifealign_bench.data.cards import load_stream
from lifealign_bench.data.rewards import load_reward
from lifealign_bench.data.tasks import load_task_data
from lifealign_bench.errors import UsageError
from lifealign_bench.experiments.request import Words, build_configs
from tests.places import ROOT

DOSES = (0.0, 0.25, 0.5, 0.75, 1.0)
SIZES = Sizes(train=20, laps=2, validation=4, test=20)


def kind_of_prompt(row: dict[str, Any]) -> int:
    """Which list of wordings the prompt is from, and its place there: the prompt without its topic."""
    prompt = row["prompt"].replace(row["cluster"], "{x}")
    for form in FORMS:
        prompt = prompt.replace(f"{form.kind} called {{x}}", "{x}")
    lists = (wordings.THINGS, wordings.SETTLED, *wordings.OWN.values())
    return next(place for place, words in enumerate(lists) if prompt in words)


def wanted_forms(dial: Dial, split: str = "train") -> dict[int, dict[str, set[str]]]:
    """Kind of prompt to the tasks that ask so, to the forms that they want."""
    found: dict[int, dict[str, set[str]]] = {}
    for form in FORMS:
        for row in rows_of(form, dial, SIZES, SEED)[split]:
            found.setdefault(kind_of_prompt(row), {}).setdefault(form.name, set()).add(row["check"]["form"])
    return found


def conflicting(dial: Dial) -> float:
    """The share of all test prompts of a kind for which two tasks want different forms."""
    contested = {kind for kind, tasks in wanted_forms(dial).items() if len(set.union(*tasks.values())) > 1}
    kinds = [kind_of_prompt(row) for form in FORMS for row in rows_of(form, dial, SIZES, SEED)["test"]]
    return sum(kind in contested for kind in kinds) / len(kinds)


@pytest.mark.parametrize("dial", [Dial(0), Dial(1, overlap=0)])
def test_without_conflict_a_kind_of_prompt_wants_one_form(dial: Dial) -> None:
    for split in ("train", "test"):
        for tasks in wanted_forms(dial, split).values():
            assert len(set.union(*tasks.values())) == 1


def test_the_share_of_conflicting_prompts_is_the_setting() -> None:
    assert [conflicting(Dial(dose)) for dose in DOSES] == pytest.approx(list(DOSES))
    assert [conflicting(Dial(1, overlap=share)) for share in DOSES] == pytest.approx(list(DOSES))
    assert conflicting(Dial(0.5, overlap=0.5)) == pytest.approx(0.25)


def test_what_is_contested_stays_so_with_more_conflict() -> None:
    for form in FORMS:
        before: set[str] = set()
        for dose in DOSES:
            rows = rows_of(form, Dial(dose), SIZES, SEED)["train"]
            now = {row["prompt"] for row in rows if row["check"]["form"] == form_check(form.text, "", None)["form"]}
            assert before < now or not dose
            before = now
        assert len(before) == len(rows)


def test_a_task_alone_can_be_told_from_its_words() -> None:
    """Within a task the words of the prompt say which of its two forms is wanted, so that it can be satisfied."""
    for dose in DOSES:
        for tasks in wanted_forms(Dial(dose)).values():
            assert all(len(forms) == 1 for forms in tasks.values())


def test_rarity_is_the_share_of_prompts_that_do_not_name_the_kind() -> None:
    for share in DOSES:
        for form in FORMS:
            rows = rows_of(form, Dial(1, rarity=share), SIZES, SEED)["train"]
            silent = sum(f"{form.kind} called" not in row["prompt"] for row in rows)
            assert silent == pytest.approx(share * len(rows), abs=SIZES.laps)


def test_length_says_nothing_and_the_reward_knows_chosen_from_rejected() -> None:
    reward = load_reward("filled_form")
    for dial in (Dial(0), Dial(0.5, 0.5, 0.5), Dial(1)):
        for form in FORMS:
            rows = rows_of(form, dial, Sizes(), SEED)["train"]
            longer = sum(len(row["chosen"]) > len(row["rejected"]) for row in rows)
            shorter = sum(len(row["chosen"]) < len(row["rejected"]) for row in rows)
            assert abs(longer - shorter) <= 0.05 * len(rows), (form, dial)
            for row in rows:
                assert (reward(row["chosen"], row["check"]), reward(row["rejected"], row["check"])) == (1, 0), row


def test_its_folder_is_a_stream_for_the_command_line(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/make_dial.py", "--conflict", "0.25", "--out", str(tmp_path), "--tasks", "3"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (config,) = build_configs(Words(stream=(str(tmp_path / "dial-0.25.yaml"),))).configs
    assert config.stream == "dial-0.25" and config.sft and len(config.tasks) == 3
    for card in load_stream(str(tmp_path / "dial-0.25.yaml")).task_cards():
        data = load_task_data(card, data_dir=None)
        assert len({pair.cluster for pair in data.test}) == Sizes().test
        assert not {pair.cluster for pair in data.train} & {pair.cluster for pair in data.test}


def test_streams_of_different_settings_have_different_names(tmp_path: Path) -> None:
    dials = [Dial(0.5), Dial(0.5, overlap=0.5), Dial(0.5, rarity=0.5), Dial(0.6)]
    names = [dial.name(seed) for dial in dials for seed in (SEED, 7)]
    assert len(set(names)) == len(names)
    made = files(dials[0], 2, SIZES, SEED, tmp_path)
    assert made == files(dials[0], 2, SIZES, SEED, tmp_path)
    assert {json.dumps(str(path)) for path in made}.isdisjoint(
        json.dumps(str(path)) for path in files(dials[1], 2, SIZES, SEED, tmp_path)
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--conflict", "1.5"], "--conflict 1.5 is no share"),
        (["--rarity", "nan"], "--rarity nan is no share"),
        (["--tasks", "1"], "1 tasks cannot be made"),
        (["--test", "150"], "are asked for"),
    ],
)
def test_settings_that_cannot_be_had_are_refused(words: list[str], said: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks/make_dial.py"), "--out", str(tmp_path / "out"), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_too_few_topics_are_named() -> None:
    with pytest.raises(UsageError, match="topics of the kind food"):
        rows_of(FORMS[2], Dial(), Sizes(train=100), SEED)
