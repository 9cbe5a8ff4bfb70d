"""What the `job` commands return: the doors of one folder, and how far each is."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from lockmigrate.model.results import Result

StepName = Literal["backup", "plan", "restore", "verify"]
StepState = Literal["open", "waiting", "done", "failed", "interrupted", "changed"]
"""`open`: can be run; `waiting`: for an earlier step, or for a unit that is named; `changed`: it was done, and what it
was done with is not the same any more."""


class StepSeen(Struct, frozen=True, kw_only=True):
    """One step of one door."""

    step: StepName
    state: StepState
    exit: int | None = None
    """Exit code of its last run."""
    code: str | None = None
    message: str | None = None
    hint: str | None = None
    result: str | None = None
    """The JSON document of the command, from the job's folder."""
    tries: int = 0
    ended_at: str | None = None
    why: str | None = None
    """What it waits for, or what has changed."""


class DoorSeen(Struct, frozen=True, kw_only=True):
    """One door."""

    door: str
    old: str
    new: str
    unit: str | None = None
    """The id of the old unit, without which none is taken for it."""
    new_unit: str | None = None
    backup: str | None = None
    """The backup file, from the job's folder."""
    steps: tuple[StepSeen, ...]
    finished: bool = False
    next: str
    """What to do next, in words."""


class JobResult(Result, frozen=True, kw_only=True):
    schema: str = "lockmigrate.job/1"
    folder: str
    name: str
    doors: tuple[DoorSeen, ...] = ()
    finished: int = 0
    failed: int = 0
    """Doors with a step that failed."""
    ran: tuple[str, ...] = ()
    """`DOOR/STEP` of what was run just now."""
