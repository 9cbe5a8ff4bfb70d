"""What a plan asks of a unit, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from lockmigrate.model.records import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One change on a unit, as the plan wants it."""

    key: str
    kind: Kind
    action: Literal["put", "remove"]
    origin: dict[str, Any]
    """Where on the unit, in the family's words: `credential_index`, `register`, `page`."""
    value: bytes | int | None = field(default=None, repr=False)
    was_empty: bool = True
    """Nothing lies there now, so that a failed write can be taken back."""


DoneStatus = Literal["written", "removed", "refused", "differs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of one step. A record that the unit refuses is a Done; a lost link raises."""

    key: str
    status: DoneStatus
    code: str | None = None
    """A loss code of neutral-format 2.10 when the status is `refused` or `differs`."""
    detail: str | None = None
    proof: Literal["V0", "V1", "V2", "V3", "V4"] | None = None
