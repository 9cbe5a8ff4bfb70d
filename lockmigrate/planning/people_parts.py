"""What the planning of people stands on: both units' records, what was asked and answered, whose place is whose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from msgspec.structs import replace

from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import Credential, User
from lockmigrate.model.results import RecordResult, Unit
from lockmigrate.model.steps import Fitted
from lockmigrate.planning.draft import Draft
from lockmigrate.planning.policy import Choice, Policy, decided, overridden

Place = tuple[int, int]
"""A finger's place: user number and finger number."""
ANSWERS: Final[tuple[Choice, ...]] = ("write", "override", "skip")
SKIP_ONLY: Final[tuple[Choice, ...]] = ("skip",)
QUESTIONABLE: Final = ("uid-duplicate", "user-id-duplicate", "user-missing")
"""What reading found: whom a record belongs to is not certain."""

DOUBTS: Final = {
    "uid-duplicate": "two records of the old unit claim this number",
    "user-id-duplicate": "another user of the old unit has the same id",
    "user-missing": "the old unit has no user of this number",
}

WIDER: Final = {
    "schedule-unsupported": "the target's own tables would let it in at other times, or beside others",
    "rule-unsupported": "on the target it would have to prove less",
    "holiday-unsupported": "the target's own group does not heed holidays",
}
"""Loss code to what is said where the target's tables allow more."""


@dataclass(slots=True, kw_only=True)
class Scene:
    """What is given, and what was settled so far."""

    draft: Draft
    source: Snapshot
    target: Snapshot
    unit: Unit
    policy: Policy
    unconfirmed: frozenset[str]
    fitted: Mapping[str, Fitted]
    outcomes: dict[str, RecordResult] = field(default_factory=dict)
    uids: set[int] = field(default_factory=set)
    """Numbers that the backup's users take on the target."""
    written: set[str] = field(default_factory=set)
    """Users of the backup that are on the target in the end."""
    equal: set[int] = field(default_factory=set)
    """Numbers under which the target holds the backup's record already, and nothing has to be done first."""
    looser: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Users that were there already, and by loss codes in what the target allows them more than the old unit."""
    cleared: set[int] = field(default_factory=set)
    """Numbers of the target whose users make room, with everything that hangs on them."""
    places: set[Place] = field(default_factory=set)
    """Places that the backup's fingers take on the target."""

    @property
    def merging(self) -> bool:
        return self.policy.existing == "merge"

    @property
    def is_file(self) -> bool:
        """Whether the target is a folder: it is written whole, so nothing can happen half-way."""
        return self.unit.details.get("medium") == "file"

    def ask(self, result: RecordResult, reason: str, detail: str, suits: tuple[Choice, ...] = ANSWERS) -> RecordResult:
        """Put a question about a record; what an answer lets through keeps what was said of it before."""
        asked = replace(result, outcome="needs_input", reasons=(reason,), detail=detail)
        answer = decided(asked, self.policy, suits)
        if answer is None:
            return asked
        if answer.choice == "skip":
            return replace(asked, outcome="skip")
        reasons = tuple(dict.fromkeys((*result.reasons, reason)))
        return replace(result, reasons=reasons, detail=result.detail or detail)

    def refuse(self, result: RecordResult, code: str, detail: str) -> RecordResult:
        """Refuse a record that would widen a right; only an answer to this very record overrides that."""
        refused = replace(result, outcome="refuse", reasons=(code,), detail=detail)
        choice = overridden(refused, self.policy)
        if choice is None:
            return refused
        if choice == "skip":
            return replace(refused, outcome="skip")
        reasons = tuple(dict.fromkeys((*result.reasons, code)))
        return replace(result, reasons=reasons, detail=result.detail or detail)


def doubts_of(source: Snapshot) -> dict[str, tuple[str, ...]]:
    """What reading found doubtful, by record."""
    found: dict[str, tuple[str, ...]] = {}
    for loss in source.losses:
        if loss.stage == "read" and loss.code in QUESTIONABLE:
            found[loss.record] = (*found.get(loss.record, ()), loss.code)
    return found


def place_of(credential: Credential) -> Place:
    return int(credential.origin["user_index"]), int(credential.origin["finger"])


def uid_of(user: User) -> int:
    return int(user.origin["user_index"])


def is_disabled(user: User) -> bool:
    return user.user_status == "OccupiedDisabled"


def fingers_of(snapshot: Snapshot) -> list[Credential]:
    return [item for item in snapshot.credentials if item.credential_type == "Fingerprint"]


def flag_of(credential: Credential) -> int:
    """Return whether a template is valid, or for an alarm (ZK reference, section 7)."""
    return int(credential.vendor.get("zk", {}).get("flag", 1))


def mode_of(user: User) -> Any:
    """Return a user's own verify mode; None where it was not read."""
    return user.vendor.get("zk", {}).get("verify_mode")


def id_of(record: bytes) -> bytes:
    """Return the id that a terminal knows a person by, out of the record; empty where there is none (section 7)."""
    if len(record) == 28:
        number = int.from_bytes(record[24:], "little")
        return str(number).encode() if number else b""
    return record[48:].partition(b"\x00")[0]
