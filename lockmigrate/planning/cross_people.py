"""What becomes of a terminal's people on a lock that knows none (neutral-format 6.3 and 6.5).

The person is not written: what moves is the PIN and the card, under the person's own limits, and the name as far as a
code has one. Whoever had to prove more than one thing, or needed company, is refused: on such a lock one PIN opens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from lockmigrate.model.adopted import Holds, Limits
from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import Kind, User
from lockmigrate.model.results import RecordResult
from lockmigrate.planning.doors import UNKNOWN, WAYS, Doors, Right, member_of
from lockmigrate.planning.draft import Asker
from lockmigrate.planning.limits import of_minutes
from lockmigrate.planning.people_parts import DOUBTS, doubts_of, is_disabled

ADMINS: Final = ("enroller", "admin", "owner")
LETTERS: Final[Mapping[str, str]] = {"PIN": "W", "RFID": "C", "Fingerprint": "F"}
"""Type of a credential to its letter in `doors.WAYS`."""
TABLES_UNKNOWN: Final = (
    "what its time zones or its group allow was not read: write it valid at all hours, or leave it out"
)


class People:
    """Works out the fate of each user, and what limits what the user has."""

    def __init__(self, source: Snapshot, asker: Asker, holds: Mapping[Kind, Holds]) -> None:
        self._source, self._asker, self._holds = source, asker, holds
        self._doors = Doors.of(source) if source.lock.family == "zk" else None
        self._doubts = doubts_of(source)
        self._rights: dict[str, Right] = {}
        self.users = {user.key: user for user in source.users}
        self.fates: dict[str, RecordResult] = {}

    def work(self) -> None:
        """Fill `fates`."""
        for user in self._source.users:
            self.fates[user.key] = self._judge(user)

    def _right(self, user: User) -> Right | None:
        if self._doors is None:
            return None
        if user.key not in self._rights:
            self._rights[user.key] = self._doors.right(member_of(user), presumed=True)
        return self._rights[user.key]

    def limits_of(self, key: str | None) -> Limits:
        """Return what limits a user's credentials; what is not known and was let through does not."""
        right = self._right(self.users[key]) if key in self.users and key is not None else None
        return Limits() if right is None or right.minutes is None else of_minutes(right.minutes)

    def opens_with(self, key: str | None, credential_type: str) -> bool:
        """Whether such a credential alone opens for a user, as far as is known."""
        right = self._right(self.users[key]) if key in self.users and key is not None else None
        letter = LETTERS.get(credential_type)
        if right is None or right.style is None or letter is None:
            return True
        ways = WAYS.get(right.style)
        return ways is None or letter in ways

    def _judge(self, user: User) -> RecordResult:
        reasons = ("admin-not-migrated",) if user.privilege in ADMINS else ()
        result = RecordResult(key=user.key, kind="user", outcome="adjust", reasons=("name-not-stored", *reasons))
        if is_disabled(user) and not any(holds.disabled for holds in self._holds.values()):
            detail = "the new lock cannot hold it switched off"
            return replace(result, outcome="skip", reasons=("disabled-unsupported",), detail=detail)
        for code in self._doubts.get(user.key, ()):
            result = self._asker.ask(result, code, DOUBTS[code], ("write", "override", "skip"))
            if result.outcome != "adjust":
                return result
        right = self._right(user)
        return result if right is None else self._by_right(result, right)

    def _by_right(self, result: RecordResult, right: Right) -> RecordResult:
        never = right.minutes == 0 or right.beside == frozenset()
        if never:
            detail = "it never opens the old unit"
            return replace(result, outcome="skip", reasons=("schedule-unsupported",), detail=detail)
        if right.minutes is None or right.beside is None or right.holidays is None:
            result = self._asker.ask(result, UNKNOWN, TABLES_UNKNOWN, ("write", "override", "skip"))
        elif right.style is None:
            detail = "the old unit did not tell in which way this user has to verify"
            result = self._asker.ask(result, "rule-unsupported", detail, ("write", "override", "skip"))
        if result.outcome != "adjust":
            return result
        refusals: list[tuple[str, str]] = []
        ways = WAYS.get(right.style or 0)
        if right.style is not None and (ways is None or not any(len(way) == 1 for way in ways)):
            refusals.append(
                ("rule-unsupported", "on the old unit it has to prove two things, on the new lock one opens")
            )
        if right.beside and ((), b"") not in right.beside:
            refusals.append(("rule-unsupported", "on the old unit it opens only together with others"))
        if right.holidays:
            refusals.append(("holiday-unsupported", "its group heeds holidays, which the new lock does not know"))
        for code, detail in refusals:
            result = self._asker.refuse(result, code, detail)
            if result.outcome != "adjust":
                return result
        return result
