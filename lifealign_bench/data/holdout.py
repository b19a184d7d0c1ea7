"""Validation pairs: taken from a task's training file so that nothing of them is trained on.

Two things would make them easier than test pairs: a pair of the same cluster in training, and their own chosen answer,
word for word, among the answers that are trained on. So pairs that share either are inseparable: they stay in training
together or leave it together. Of a task whose wanted answer is one set phrase for every prompt, which its card says,
the cluster alone binds pairs: what is to be learned there is when to say it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from lifealign_bench.errors import BenchError
from lifealign_bench.pairs import Pair


def plain_answer(text: str) -> str:
    """An answer without what its wording does not depend on: case, and how it is spaced."""
    return " ".join(text.split()).casefold()


def answers_of(pairs: Iterable[Pair]) -> set[str]:
    """Both answers of all pairs, as :func:`plain_answer` has them."""
    return {plain_answer(text) for pair in pairs for text in (pair.chosen, pair.rejected)}


def held_out(
    task: str,
    pairs: Sequence[Pair],
    count: int,
    limit: int | None,
    elsewhere: Collection[str] = frozenset(),
    *,
    set_phrase: bool = False,
) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """The training pairs that are left, and ``count`` validation pairs; both in the order of the file.

    Inseparable pairs are held out together, until there are enough: first those whose chosen answers no other task
    trains on, of these those that a run with the same limit and no validation trains on least, of equal ones the last
    of the file. What is held out beyond ``count`` is neither trained on nor scored. At least as many pairs as the limit
    are left, or half of the file where that is fewer.

    Args:
        limit: use at most so many training pairs, the first of those that are left.
        elsewhere: answers that other tasks train on, as :func:`answers_of` gives them. Tasks that contradict each other
            on purpose share them, so that nothing is refused for it.
        set_phrase: the same answer may be on both sides.

    Raises:
        BenchError: too few pairs can be held out, or they are all of one cluster.
    """
    head = len(pairs) if limit is None else limit
    needed = max(1, min(head, (len(pairs) + 1) // 2))

    def cost(group: Sequence[int]) -> tuple[int, int]:
        known = sum(plain_answer(pairs[place].chosen) in elsewhere for place in group)
        return known, 0 if limit is None else sum(place < head for place in group)

    taken: list[int] = []
    for group in sorted(_inseparable(pairs, set_phrase), key=cost):  # stable: the last of the file stay first
        if len(taken) >= count:
            break
        if len(pairs) - len(taken) - len(group) >= needed:
            taken += group
    if len(taken) < count:
        raise _too_few(task, len(pairs), count, len(taken))
    apart, scored = set(taken), sorted(taken[:count])
    if count > 1 and len({pairs[place].cluster for place in scored}) == 1:
        raise BenchError(
            f"Task {task}: all {count} validation pairs are of one cluster: they say nothing of how sure a score is.",
            f"Use more: --validation {count + 1}.",
        )
    left = tuple(pair for place, pair in enumerate(pairs) if place not in apart)[:limit]
    return left, tuple(pairs[place] for place in scored)


def _too_few(task: str, pairs: int, count: int, possible: int) -> BenchError:
    smaller = f"Use fewer: --validation {possible}, or a smaller --train-limit"
    return BenchError(
        f"Task {task} has {pairs} training pairs, too few to hold {count} out of training: whole clusters, none of "
        f"whose chosen answers stands word for word in a pair that is left. There are {possible}.",
        f"{smaller if possible else 'Take more training pairs'}; or take repeated answers out of the training file, or "
        "name a finer cluster column on the card; where one phrase is the answer to every prompt, say so on it "
        "(set_phrase: true).",
    )


def _inseparable(pairs: Sequence[Pair], set_phrase: bool) -> list[list[int]]:
    """Places of pairs that have to be on one side, in groups; the group that comes last in the file is the first."""
    parent = list(range(len(pairs)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    first: dict[tuple[str, str], int] = {}
    chosen = set() if set_phrase else {plain_answer(pair.chosen) for pair in pairs}
    for place, pair in enumerate(pairs):
        shared = [("cluster", pair.cluster)]
        shared += [("answer", answer) for answer in answers_of([pair]) if answer in chosen]
        for name in shared:
            parent[root(place)] = root(first.setdefault(name, place))
    groups: dict[int, list[int]] = {}
    for place in range(len(pairs)):
        groups.setdefault(root(place), []).append(place)
    return sorted(groups.values(), key=lambda group: -group[-1])
