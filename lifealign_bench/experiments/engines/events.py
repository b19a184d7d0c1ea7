"""What a worker process says about its run: one JSON object a line."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Began(_Event):
    """The worker is there; ``pid`` takes the signal that asks it to stop, ``host`` says where."""

    kind: Literal["began"] = "began"
    pid: int
    host: str


class Planned(_Event):
    """``Progress.run_started``."""

    kind: Literal["planned"] = "planned"
    total: float
    stages: int
    done: float


class Entered(_Event):
    """``Progress.phase_started``."""

    kind: Literal["entered"] = "entered"
    stage: int
    name: str
    tasks: tuple[str, ...]
    steps: int


class Advanced(_Event):
    """``Progress.advanced``, several of them added up; ``loss`` is None where it is not finite."""

    kind: Literal["advanced"] = "advanced"
    work: float
    step: int | None = None
    loss: float | None = None
    tokens: int = 0


class Noticed(_Event):
    """``Progress.notice``."""

    kind: Literal["noticed"] = "noticed"
    text: str


class Prepared(_Event):
    """``Progress.prepared``."""

    kind: Literal["prepared"] = "prepared"
    text: str


class Ended(_Event):
    """The run's end, the last event.

    Args:
        status: as in a record.
        message, remedy: of the error.
        foreseen: whether the error is one that the user or the machine causes; else it is a bug.
        trace: the traceback of an error that is not foreseen.
        died: the process was killed and did not say this itself; to start it again makes sense.
    """

    kind: Literal["ended"] = "ended"
    status: Literal["complete", "failed", "interrupted"]
    message: str = ""
    remedy: str = ""
    foreseen: bool = True
    trace: str = ""
    died: bool = False


Event = Annotated[Began | Planned | Entered | Advanced | Noticed | Prepared | Ended, Field(discriminator="kind")]
_EVENTS: TypeAdapter[Event] = TypeAdapter(Event)


def read_event(line: str | bytes) -> Event | None:
    """The event of one line; None where it is none (a program that the run called wrote to the same place)."""
    try:
        return _EVENTS.validate_json(line)
    except ValidationError:
        return None
