"""What of a run's work is known before it: what its method mixes in, where that can be foreseen."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lifealign_bench import methods
from lifealign_bench.models.encode import EncodedPair
from lifealign_bench.runs.session import Session
from lifealign_bench.training.course import Course
from lifealign_bench.training.foresight import Mixes, foreseen_mixes, mixes_in
from lifealign_bench.training.phases import TrainedPhase
from lifealign_bench.training.workload import course_of, lengths_of


def foreseen(session: Session) -> Mixes | None:
    """What a built-in method will mix in. Of another nobody knows whether it keeps something outside of its instances,
    which would then be kept twice: its own pairs alone are planned."""
    if not type(session.method).__module__.startswith(f"{methods.__name__}."):
        return None
    with torch.random.fork_rng(devices=[]):
        return foreseen_mixes(session.config, session.method, {name: len(p) for name, p in session.train.items()})


def planned_share(
    session: Session, kind: TrainedPhase, index: int, course: Course, mixed: Sequence[EncodedPair]
) -> float:
    """Planned tokens of a phase of stage ``index`` for each that it trains on, so that its progress ends as planned.

    Args:
        course: its steps.
        mixed: the pairs that it trains on; where they were not foreseen, the stage's own pairs were planned.
    """
    if not mixes_in(session.method) or foreseen(session) is not None:
        return 1.0
    own = [lengths_of(session.train[task]) for task in session.plan()[index - 1]]
    flat = [sizes for task in own for sizes in task]
    planned = course_of(session.config, session.method, kind, index, own, flat)
    there = lengths_of(mixed)
    return sum(kind.tokens(*flat[i]) for i in planned.places) / sum(kind.tokens(*there[i]) for i in course.places)
