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
    value: bytes | int | str | None = field(default=None, repr=False)
    also: tuple[str, ...] = ()
    """Keys of other source records that this very write carries: a PIN and a card in a user's record."""
    was_empty: bool = True
    """Nothing lies there now, so that a failed write can be taken back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A user's record as the target would hold it, and what changes on the way. Computed by the family's format."""

    record: bytes = field(repr=False)
    changes: tuple[tuple[str, str], ...] = ()
    """(loss code, detail) for what is equal or narrower: a cut name."""
    questions: tuple[tuple[str, str], ...] = ()
    """(loss code, detail) for what a person has to supply or decide."""
    refusals: tuple[tuple[str, str], ...] = ()
    """(loss code, detail) for what would widen a right or lose a safety meaning."""


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
