"""What shares the fate of codes and cards that go to another family: their limits, their people, tables and groups."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import Credential, Kind, Schedule
from lockmigrate.model.results import WRITTEN, RecordResult
from lockmigrate.planning.cross_codes import KINDS, Codes
from lockmigrate.planning.cross_people import People
from lockmigrate.planning.doors import UNKNOWN

_TABLES: Final = "its hours go with each code that it limits"
_UNUSED: Final = "nothing that is written goes by it"
_DROPPED: Final = "written without it, as decided"
_LAPSED: Final = "its first day is past, so that it limits nothing any more"
_OF_TIMES: Final = ("time-rounded", "end-2400", "zone-differs")
"""Reasons of a code that are about its dates, and leave them in force."""
_OF_DROPPED: Final = ("schedule-unsupported", "schedule-midnight", "schedule-unreadable", UNKNOWN)
"""Reasons with which a code is written without a limit."""


class Shared:
    """Gives people, limits, tables and groups their outcomes.

    Args:
        source: the backup.
        people: what was settled about people.
        codes: what was settled about codes and cards.
        fates: outcomes of codes and cards; what is found is added.
    """

    def __init__(self, source: Snapshot, people: People, codes: Codes, fates: dict[str, RecordResult]) -> None:
        self._source, self._people, self._fates = source, people, fates
        self._named, self._lapsed, self._undated = codes.named, codes.lapsed, codes.undated
        self._groups = {group.key: group for group in source.groups}
        self.bearers: dict[str, list[str]] = {}
        """Record to those that its step carries too."""

    def work(self) -> None:
        """Fill `fates` and `bearers`."""
        written = [item for item in self._source.credentials if self._moves(item)]
        by_user: dict[str | None, list[Credential]] = {}
        by_table: dict[str, list[Credential]] = {}
        for item in written:
            by_user.setdefault(item.user, []).append(item)
            for table in self._tables_of(item):
                by_table.setdefault(table, []).append(item)
        for user in self._source.users:
            own = by_user.get(user.key, [])
            self._fates[user.key] = self._bound(self._person(user.key, own), own)
        for limit in self._source.schedules:
            holder = limit.origin.get("holder")
            if isinstance(holder, str):
                self._fates[limit.key] = self._of_holder(limit, holder)
            else:
                self._fates[limit.key] = self._carried(limit.key, "schedule", by_table.get(limit.key, []))
        for group in self._source.groups:
            self._fates[group.key] = self._carried(group.key, "group", by_table.get(group.key, []))
        for combination in self._source.combinations:
            own = [item for key in combination.groups for item in by_table.get(key, ())]
            self._fates[combination.key] = self._carried(combination.key, "combination", own)

    def _moves(self, item: Credential) -> bool:
        fate = self._fates.get(item.key)
        return item.credential_type in KINDS and fate is not None and fate.outcome in WRITTEN

    def _person(self, key: str, own: list[Credential]) -> RecordResult:
        fate = self._people.fates[key]
        if fate.outcome != "adjust":
            return fate
        if key in self._named and own:
            return replace(fate, detail=fate.detail or "the name goes to the person's code")
        name = self._people.users[key].user_name
        return replace(fate, detail=fate.detail or (f'"{name}"' if name else None))

    def _of_holder(self, limit: Schedule, holder: str) -> RecordResult:
        fate = self._fates.get(holder)
        if fate is None:
            return RecordResult(key=limit.key, kind="schedule", outcome="skip", reasons=("user-missing",))
        result = RecordResult(
            key=limit.key, kind="schedule", outcome=fate.outcome, reasons=fate.reasons, proof=fate.proof,
            done=fate.done, follows=fate.follows or holder,
        )  # fmt: skip
        if fate.outcome not in WRITTEN:
            return result
        dropped = tuple(reason for reason in fate.reasons if reason in _OF_DROPPED)
        if dropped and (limit.kind != "YearDay" or self._undated):
            return replace(result, outcome="skip", reasons=dropped, detail=_DROPPED, done=False, proof=None)
        if holder in self._lapsed:
            return replace(
                result, outcome="skip", reasons=("schedule-unsupported",), detail=_LAPSED, done=False, proof=None
            )
        self._bear(holder, limit.key)
        about = tuple(reason for reason in fate.reasons if reason in _OF_TIMES)
        return replace(result, outcome="adjust" if about else "copy", reasons=about)

    def _carried(self, key: str, kind: Kind, own: list[Credential]) -> RecordResult:
        result = RecordResult(key=key, kind=kind, outcome="skip", reasons=("schedule-unsupported",), detail=_UNUSED)
        if not own:
            return result
        if any(self._without(item) for item in own):
            return replace(result, detail=_DROPPED)
        return self._bound(replace(result, outcome="adjust", detail=_TABLES), own)

    def _without(self, item: Credential) -> bool:
        """Whether a code is written without the hours that its tables set."""
        person = self._people.fates.get(item.user or "")
        reasons = (*self._fates[item.key].reasons, *(person.reasons if person is not None else ()))
        return any(reason in _OF_DROPPED for reason in reasons)

    def _bound(self, result: RecordResult, own: list[Credential]) -> RecordResult:
        """Tie a record to the first of the codes that it goes with, one that is still to be written if there is one."""
        if result.outcome not in WRITTEN or not own:
            return result
        first = next((item for item in own if not self._fates[item.key].done), own[0])
        fate = self._fates[first.key]
        self._bear(first.key, result.key)
        return replace(result, follows=first.key, done=fate.done, proof=fate.proof)

    def _bear(self, bearer: str, key: str) -> None:
        self.bearers.setdefault(bearer, []).append(key)

    def _tables_of(self, item: Credential) -> Iterable[str]:
        user = self._people.users.get(item.user or "")
        if user is None:
            return ()
        group = self._groups.get(user.group) if isinstance(user.group, str) else None
        own = user.schedules if isinstance(user.schedules, tuple) else group.schedules if group is not None else ()
        return (*own, *((group.key,) if group is not None else ()))
