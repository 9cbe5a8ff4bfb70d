"""What becomes of a terminal's people on a lock that knows none (neutral-format 6.3 and 6.5).

The person is not written: what moves is the PIN and the card, under the person's own limits, and the name as far as a
code has one. Whoever had to prove more than one thing, or needed company, is refused: on such a lock one PIN opens.
What was not read grants nothing, so it is asked about.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from lockmigrate.model.adopted import Holds, Limits
from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import Kind, User
from lockmigrate.model.results import RecordResult
from lockmigrate.planning.cross_shape import Shape
from lockmigrate.planning.doors import UNKNOWN, WAYS, Doors, Right, member_of
from lockmigrate.planning.limits import of_minutes
from lockmigrate.planning.people_parts import DOUBTS, doubts_of, is_disabled, mode_of
from lockmigrate.planning.policy import Choice, Policy

ADMINS: Final = ("enroller", "admin", "owner")
LETTERS: Final[Mapping[str, str]] = {"PIN": "W", "RFID": "C", "Fingerprint": "F"}
"""Type of a credential to its letter in `doors.WAYS`."""
RULE: Final = "rule-unsupported"
ANY: Final[tuple[Choice, ...]] = ("write", "skip")
_NOTHING: Final = Right(None, None, None, None, None)
_TABLES: Final = "what its time zones or its group allow was not read: write it valid at all hours, or leave it out"
_STYLE: Final = "the old unit did not tell in which way this user has to verify: write what it has, each alone, or not"
_TWO: Final = "on the old unit it has to prove two things, on the new lock one opens"
_BESIDE: Final = "on the old unit it opens only together with others"
_HOLIDAYS: Final = "its group heeds holidays, which the new lock does not know"


class People:
    """Works out the fate of each user, and what limits what the user has."""

    def __init__(self, source: Snapshot, policy: Policy, holds: Mapping[Kind, Holds]) -> None:
        self._source, self._policy, self._holds = source, policy, holds
        self._doors = Doors.of(source) if source.lock.family == "zk" else None
        self._doubts = doubts_of(source)
        self._rights: dict[str, Right | None] = {}
        self._freed: set[str] = set()
        """Users who were let through though they had to prove two things."""
        self.users = {user.key: user for user in source.users}
        self.fates: dict[str, RecordResult] = {}

    def work(self) -> None:
        """Fill `fates`."""
        for user in self._source.users:
            self.fates[user.key] = self._judge(user)

    def _right(self, user: User) -> Right | None:
        """Return what a user may do on a terminal; None on units that have no such tables."""
        if self._doors is None:
            return None
        if user.key not in self._rights:
            try:
                self._rights[user.key] = self._doors.right(member_of(user))
            except ValueError:  # it refers to what has no number
                self._rights[user.key] = _NOTHING
        return self._rights[user.key]

    def _right_of(self, key: str | None) -> Right | None:
        return self._right(self.users[key]) if key in self.users and key is not None else None

    def limits_of(self, key: str | None) -> Limits:
        """Return what limits a user's credentials; what is not known and was let through does not."""
        right = self._right_of(key)
        return Limits() if right is None or right.minutes is None else of_minutes(right.minutes)

    def opens_with(self, key: str | None, credential_type: str) -> bool:
        """Whether such a credential alone opens for a user, as far as is known or was decided."""
        right, letter = self._right_of(key), LETTERS.get(credential_type)
        if right is None or right.style is None or letter is None or key in self._freed:
            return True
        ways = WAYS.get(right.style)
        return ways is None or letter in ways

    def _judge(self, user: User) -> RecordResult:
        reasons = ("admin-not-migrated",) if user.privilege in ADMINS else ()
        result = RecordResult(key=user.key, kind="user", outcome="adjust", reasons=("name-not-stored", *reasons))
        if is_disabled(user) and not any(holds.disabled for holds in self._holds.values()):
            detail = "the new lock cannot hold it switched off"
            return replace(result, outcome="skip", reasons=("disabled-unsupported",), detail=detail)
        shape = Shape(result, self._policy)
        for code in self._doubts.get(user.key, ()):
            shape.question(code, DOUBTS[code], ANY)
        right = self._right(user)
        if right is not None and not shape.stopped:
            self._by_right(shape, user, right)
        settled = shape.settled()
        if settled.outcome == "adjust" and RULE in settled.reasons:
            self._freed.add(user.key)
        return settled

    def _by_right(self, shape: Shape, user: User, right: Right) -> None:
        if right.minutes == 0 or right.beside == frozenset():
            shape.skip("schedule-unsupported", "it never opens the old unit")
            return
        if right.minutes is None or right.beside is None or right.holidays is None:
            shape.question(UNKNOWN, _TABLES, ANY)
        if (right.style is None or mode_of(user) is None) and not shape.stopped:
            shape.question(RULE, _STYLE, ANY)
        ways = WAYS.get(right.style or 0)
        if right.style is not None and (ways is None or not any(len(way) == 1 for way in ways)):
            shape.refuse(RULE, _TWO)
        if right.beside and ((), b"") not in right.beside:
            shape.refuse(RULE, _BESIDE)
        if right.holidays:
            shape.refuse("holiday-unsupported", _HOLIDAYS)
