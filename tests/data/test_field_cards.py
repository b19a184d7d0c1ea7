"""The cards of public data sets, on made-up rows with the same columns."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from lifealign_bench.data.cards import TaskCard, load_stream, load_task, registered_tasks
from lifealign_bench.data.shaping import OTHER_TASK, UNDECIDED
from lifealign_bench.data.sources import HubSource, InlineSource, missing, read_source
from lifealign_bench.data.tasks import TaskData, load_split, load_task_data
from lifealign_bench.errors import BenchError

AIFGEN = load_stream("aifgen").tasks


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def loaded(name: str, rows: list[dict[str, Any]]) -> TaskData:
    """The task's data from ``rows``, which both splits have."""
    source = InlineSource(train=tuple(rows), test=tuple(rows))
    return load_task_data(load_task(name).model_copy(update={"source": source}), data_dir=None)


def here(name: str, folder: Path) -> TaskCard:
    """The card with the data set of a local folder, else as it is."""
    card = load_task(name)
    return card.model_copy(update={"source": card.source.model_copy(update={"repo": str(folder)})})


def texts(data: TaskData) -> list[tuple[str, str, str]]:
    return [(pair.prompt[-1].content, pair.chosen, pair.rejected) for pair in data.test]


def test_every_data_set_of_the_hub_is_pinned_or_says_that_it_is_not() -> None:
    cards = [card for card in registered_tasks() if isinstance(card.source, HubSource)]
    assert len(cards) == 17
    for card in cards:
        assert isinstance(card.source, HubSource)
        if card.name in AIFGEN:
            assert card.source.revision is None and "newest revision" in card.description
        else:
            assert re.fullmatch("[0-9a-f]{40}", str(card.source.revision)), card.name
        assert card.citation


def test_nothing_is_downloaded_to_say_what_is_at_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    card = load_task("ultrafeedback")
    assert missing(card.source, card.home, None, card.word) is None
    reason = str(missing(card.source, card.home, None, card.word, download=False))
    assert "not in the Hugging Face cache" in reason and "lifealign-bench data stats ultrafeedback" in reason
    (tmp_path / "datasets--HuggingFaceH4--ultrafeedback_binarized").mkdir()
    assert missing(card.source, card.home, None, card.word, download=False) is None


def test_ultrafeedback() -> None:
    row = {
        "prompt": "Why?",
        "prompt_id": "b3",
        "chosen": [user("Why?"), said("Because.")],
        "rejected": [user("Why?"), said("No idea.")],
        "messages": [user("Why?"), said("Because.")],
        "score_chosen": 8.0,
        "score_rejected": 3.0,
    }
    other = {**row, "prompt": "How?", "prompt_id": "c4", "chosen": [user("How?"), said("So.")]}
    other["rejected"] = [user("How?"), said("Thus.")]
    data = loaded("ultrafeedback", [row, other])
    assert texts(data) == [("Why?", "Because.", "No idea."), ("How?", "So.", "Thus.")]
    assert [pair.group for pair in data.test] == ["b3", "c4"]


@pytest.mark.parametrize("domain", ["general", "stem", "code", "multilingual"])
def test_helpsteer3(domain: str) -> None:
    def row(place: int, verdict: int, of: str) -> dict[str, Any]:
        return {
            "domain": of,
            "language": "english",
            "context": [user("Hello"), said("Hi"), user(f"Ask {place}")],
            "response1": f"one {place}",
            "response2": f"two {place}",
            "overall_preference": verdict,
            "individual_preference": [{"score": verdict, "reasoning": "r", "feedback1": "f", "feedback2": "g"}],
        }

    rows = [row(0, -3, domain), row(1, 2, domain), row(2, 0, domain), row(3, 1, "another")]
    data = loaded(f"helpsteer3-{domain}", rows)
    assert texts(data) == [("Ask 0", "one 0", "two 0"), ("Ask 1", "two 1", "one 1")]
    assert len(data.test[0].prompt) == 3
    assert dict(data.reports["test"].dropped) == {UNDECIDED: 1, OTHER_TASK: 1}


def test_pku_by_harm_is_three_tasks_without_a_pair_in_two() -> None:
    kinds = {"violence": "Violence", "privacy": "Privacy Violation", "white-collar": "White-Collar Crime"}

    def row(place: int, safer: int, first: tuple[str, ...], second: tuple[str, ...]) -> dict[str, Any]:
        harms = ("Drugs", *kinds.values())
        return {
            "prompt": f"Ask {place}",
            "response_0": f"zero {place}",
            "response_1": f"one {place}",
            "is_response_0_safe": not first,
            "is_response_1_safe": not second,
            "response_0_harm_category": {harm: harm in first for harm in harms},
            "response_1_harm_category": {harm: harm in second for harm in harms},
            "better_response_id": 1 - safer,
            "safer_response_id": safer,
        }

    rows = [
        row(0, 1, ("Violence",), ()),
        row(1, 0, (), ("Violence",)),
        row(2, 0, ("Drugs",), ("Privacy Violation",)),
        row(3, 1, ("White-Collar Crime",), ("White-Collar Crime", "Drugs")),
        row(4, 1, ("Violence",), ("White-Collar Crime",)),  # of two: of none
        row(5, 1, ("Drugs",), ()),
        row(6, 1, (), ()),
    ]
    found = {kind: texts(loaded(f"pku-{kind}", rows)) for kind in kinds}
    assert found["violence"] == [("Ask 0", "one 0", "zero 0"), ("Ask 1", "zero 1", "one 1")]
    assert found["privacy"] == [("Ask 2", "zero 2", "one 2")]
    assert found["white-collar"] == [("Ask 3", "one 3", "zero 3")]


def test_stack_exchange_is_read_by_site(tmp_path: Path) -> None:
    sites = {"ubuntu": "askubuntu.com", "bricks": "bricks.stackexchange.com", "cooking": "cooking.stackexchange.com"}
    for site, address in sites.items():
        folder = tmp_path / "data" / address
        folder.mkdir(parents=True)
        rows = [
            {
                "qid": 100 + place,
                "metadata": [f"https://{address}/questions/{place}"],
                "answers": [
                    {"answer_id": n, "author": "x", "pm_score": score, "selected": n == 1, "text": f"<p>{site} {n}</p>"}
                    for n, score in enumerate((1, 4, -1))
                ],
                "date": "2020/01/01",
                "question": f"<p>{site} asks {place}</p>",
            }
            for place in range(40)
        ]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "train-00000-of-00001.parquet")
    data = load_task_data(here("stack-ubuntu", tmp_path), data_dir=None)
    assert (len(data.train), len(data.test), data.overlap) == (38, 2, 0)
    assert texts(data) == [("ubuntu asks 38", "ubuntu 1", "ubuntu 2"), ("ubuntu asks 39", "ubuntu 1", "ubuntu 2")]
    assert data.test[0].group == "138"
    for site in ("bricks", "cooking"):
        source = load_task(f"stack-{site}").source
        assert isinstance(source, HubSource) and source.folder == f"data/{sites[site]}"


def test_the_split_of_cppo() -> None:
    def row(forum: str) -> dict[str, Any]:
        prompt = f"SUBREDDIT: r/{forum}\nTITLE: Me\nPOST: As they say in r/relationships\n I did."
        return {"prompt": prompt, "chosen": f"TL;DR: good {forum}", "rejected": f"TL;DR: bad {forum}"}

    rows = [row(forum) for forum in ("relationships", "pets", "relationshipadvice")]
    found = {part: [pair.chosen for pair in loaded(f"tldr-{part}", rows).test] for part in ("relationships", "others")}
    assert found == {
        "relationships": ["TL;DR: good relationships"],
        "others": ["TL;DR: good pets", "TL;DR: good relationshipadvice"],
    }


def test_aifgen_is_four_tasks_in_one_file(tmp_path: Path) -> None:
    def task(place: int) -> dict[str, Any]:
        samples = [{"prompt": f"Ask {place} {n}", "chosen": f"c{n}", "rejected": f"r{n}"} for n in range(3)]
        about = {"domain": {f"d{place}": {"name": "d", "seed_words": ["w"]}}, "objective": "o", "preference": "p"}
        return {"task": about, "train": samples[:2], "test": samples[2:]}

    (tmp_path / "dataset.json").write_text(json.dumps({"datasets": [task(place) for place in range(4)]}))
    for place in (0, 3):
        data = load_task_data(here(AIFGEN[place], tmp_path), data_dir=None)
        assert [pair.prompt[0].content for pair in data.train] == [f"Ask {place} 0", f"Ask {place} 1"]
        assert texts(data) == [(f"Ask {place} 2", "c2", "r2")]
    card = here(AIFGEN[0], tmp_path)
    assert isinstance(card.source, HubSource)
    elsewhere = card.source.model_copy(update={"rows": {"train": "datasets.7.train"}})
    with pytest.raises(BenchError, match=r"no list of rows at 'datasets\.7\.train'") as caught:
        read_source(elsewhere, "train", tmp_path, None)
    assert "'rows' on the card" in caught.value.remedy


def test_where_is_for_files_as_well(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{i}", "chosen": "y", "rejected": "n", "kind": "ab"[i % 2]} for i in range(4)]
    (tmp_path / "all.jsonl").write_text("\n".join(map(json.dumps, rows)))
    text = "name: mine\ntitle: M\nsource: {train: all.jsonl, test: all.jsonl, type: file}\nwhere: {kind: b}\n"
    (tmp_path / "mine.yaml").write_text(text)
    assert len(load_split(load_task(str(tmp_path / "mine.yaml")), "train", data_dir=None)[0]) == 2
