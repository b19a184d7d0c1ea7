"""What a model tried while it was trained: the sampled responses of a stage, ``rollouts.jsonl``, and their rewards.

One line a response, and one for its reward. Lines are only ever appended: what was sampled before a run was killed is
there when it goes on, and a line that was being written then is cut off. A response that was sampled again (by other
weights, say) is the last of its name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lifealign_bench.util.files import atomic_path


@dataclass(frozen=True)
class Rollout:
    """A sampled response.

    Args:
        name: ``phase/step/call/place/number``; step 0 is before the first, calls of a step are counted from 1, the
            place is that of the pair in the call, the number that of its response.
        key: of all that decides what is sampled in the call, the weights included.
        pair_id: whose prompt it answers.
        tokens, log_probs, ended, text: see ``method.Response``.
        seconds: it took to sample; of responses that were sampled together the first has all.
        reward: None where nobody asked for it.
    """

    name: str
    key: str
    pair_id: str
    tokens: tuple[int, ...]
    log_probs: tuple[float, ...]
    ended: bool
    text: str
    seconds: float
    reward: float | None = None

    @property
    def phase(self) -> str:
        """Of the stage."""
        return self.name.partition("/")[0]

    @property
    def step(self) -> int:
        """Of the phase."""
        return int(self.name.split("/")[1])

    @property
    def group(self) -> str:
        """Names the responses that were sampled together for one pair."""
        return self.name.rpartition("/")[0]


class RolloutFile:
    """The file, to be appended to.

    Args:
        path: of the file; None keeps nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.known: dict[tuple[str, str], Rollout] = {}
        if path is None or not path.is_file():
            return
        whole, found = _read(path)
        if not whole:
            with atomic_path(path) as temporary:
                temporary.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in found), "utf-8")
        self.known = {(r.key, r.name): r for r in _merged(found)}

    def add(self, rollouts: Iterable[Rollout]) -> None:
        """Keep sampled responses."""
        new = list(rollouts)
        self.known |= {(r.key, r.name): r for r in new}
        self._append([{k: v for k, v in asdict(r).items() if k != "reward"} for r in new])

    def reward(self, values: Mapping[str, float]) -> None:
        """Keep what responses are worth, by their names."""
        self._append([{"name": name, "reward": value} for name, value in values.items()])

    def _append(self, lines: Sequence[Mapping[str, Any]]) -> None:
        if self.path is None or not lines:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def read_rollouts(path: Path) -> list[Rollout]:
    """The responses of a file, each name once, in the order of their first time; none where there is no file."""
    return _merged(_read(path)[1]) if path.is_file() else []


def summary_of(rollouts: Sequence[Rollout]) -> dict[str, float | int | None]:
    """Counts for a record.

    Returns:
        ``groups`` (prompts that were answered), ``responses``, ``tokens``, ``cut`` (responses that did not end),
        ``rewarded`` (responses with a reward), ``reward`` (their mean), ``constant`` (groups of several responses that
        are all worth the same: nothing can be learned from comparing them), ``seconds``.
    """
    groups: dict[str, list[float | None]] = {}
    for one in rollouts:
        groups.setdefault(one.group, []).append(one.reward)
    rewards = [one.reward for one in rollouts if one.reward is not None]
    return {
        "groups": len(groups),
        "responses": len(rollouts),
        "tokens": sum(len(one.tokens) for one in rollouts),
        "cut": sum(not one.ended for one in rollouts),
        "rewarded": len(rewards),
        "reward": sum(rewards) / len(rewards) if rewards else None,
        "constant": sum(len(g) > 1 and None not in g and len(set(g)) == 1 for g in groups.values()),
        "seconds": sum(one.seconds for one in rollouts),
    }


def _merged(lines: Sequence[Mapping[str, Any]]) -> list[Rollout]:
    found: dict[str, Rollout] = {}
    for line in lines:
        name = str(line["name"])
        if "reward" in line:
            if name in found:
                found[name] = replace(found[name], reward=float(line["reward"]))
            continue
        found[name] = Rollout(
            name=name,
            key=str(line["key"]),
            pair_id=str(line["pair_id"]),
            tokens=tuple(int(t) for t in line["tokens"]),
            log_probs=tuple(float(v) for v in line["log_probs"]),
            ended=bool(line["ended"]),
            text=str(line["text"]),
            seconds=float(line["seconds"]),
        )
    return list(found.values())


def _read(path: Path) -> tuple[bool, list[dict[str, Any]]]:
    """Whether all of the file can be read, and what can be: everything before the first line that is none."""
    found: list[dict[str, Any]] = []
    # Not splitlines(): it would also break lines at U+2028 and others that may stand inside a response.
    *lines, last = path.read_bytes().split(b"\n")
    for line in lines:
        try:
            content = json.loads(line)
            _merged([content])
        except (ValueError, KeyError, TypeError):
            return False, found
        found.append(content)
    return not last, found
