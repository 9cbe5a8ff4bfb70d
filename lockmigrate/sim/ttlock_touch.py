"""What a simulated TTLock lock does with cards and fingerprints: lists, changes, enrolling, weekly limits.

Section numbers are those of the wire reference of the family; where it leaves something open, the choice is marked
"unconfirmed".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lockmigrate.sim.ttlock_frames import MAX_PLAIN_BYTES, Code, Reader, Refusal, Trouble
from lockmigrate.sim.ttlock_records import (
    CARD_BYTES,
    CARD_KIND,
    FINGER_BYTES,
    FINGER_KIND,
    PERMANENT_FROM,
    PERMANENT_TO,
    Card,
    Finger,
    WeeklyLimit,
    dated_record,
    free_place,
    in_order,
)
from lockmigrate.sim.ttlock_replies import END, Command, Reply, with_battery

if TYPE_CHECKING:
    from lockmigrate.sim.ttlock_lock import Lock

CARD_LIST, ADD, DELETE, CLEAR, CHANGE, FINGER_LIST = 1, 2, 3, 4, 5, 6
"""Sections 8 and 9."""
ADDED, ADDING, PROGRESS = 1, 2, 3
CARDS_FEATURE, FINGERS_FEATURE, WEEKLY_FEATURE = 1, 2, 34
"""Section 5."""
HEAD_BYTES: Final = 6
"""Echo, status, battery, operation and cursor of a page."""
DATES_BYTES: Final = 10
WEEKLY: Final = 1
LOG_CARD_ADDED, LOG_FINGER_ADDED = 15, 21
"""Section 11."""


@dataclass(kw_only=True)
class _Kind:
    """In what cards and fingers differ."""

    name: str
    code: Code
    kind: int
    list_operation: int
    sizes: tuple[int, ...]
    unknown: Trouble
    log: int


CARDS: Final = _Kind(
    name="cards", code=Code.CARD, kind=CARD_KIND, list_operation=CARD_LIST, sizes=CARD_BYTES,
    unknown=Trouble.UNKNOWN_CARD, log=LOG_CARD_ADDED,
)  # fmt: skip
FINGERS: Final = _Kind(
    name="fingers", code=Code.FINGER, kind=FINGER_KIND, list_operation=FINGER_LIST, sizes=(FINGER_BYTES,),
    unknown=Trouble.UNKNOWN_FINGER, log=LOG_FINGER_ADDED,
)  # fmt: skip


class Touch:
    """Cards and fingerprints of one lock."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._flash = lock.flash
        self._settings = lock.settings
        self._enrolling: _Kind | None = None
        self._touched = 0
        self._turn = 0
        """Which enrolment is going on: what was planned for an earlier one does nothing any more."""

    def table(self) -> dict[int, Command]:
        """Return the commands that are obeyed here."""
        return {
            Code.CARD: Command(obey=lambda data: self._obey(CARDS, data), login="admin", feature=CARDS_FEATURE),
            Code.FINGER: Command(obey=lambda data: self._obey(FINGERS, data), login="admin", feature=FINGERS_FEATURE),
            Code.WEEKLY: Command(obey=self._weekly, login="admin", feature=WEEKLY_FEATURE),
        }

    def stop(self) -> None:
        """End enrolling: the link is gone."""
        self._enrolling = None
        self._turn += 1

    def records(self, kind: _Kind) -> dict[int, Card] | dict[int, Finger]:
        """Return the records of a kind by their places."""
        return self._flash.cards if kind is CARDS else self._flash.fingers

    def _obey(self, kind: _Kind, data: bytes) -> Reply:
        reader = Reader(data)
        operation = reader.number(1)
        if operation == kind.list_operation:
            return self._list(kind, reader)
        if operation == ADD:
            reply = self._add(kind, reader)
        elif operation == DELETE:
            number = reader.take(reader.left)
            self._drop(kind, self._place_of(kind, number))
            reply = with_battery(operation)
        elif operation == CLEAR:
            reader.end()
            self.records(kind).clear()
            self._forget_limits(kind, None)
            reply = with_battery(operation)
        elif operation == CHANGE:
            number, start, end = self._dated(kind, reader)
            record = self.records(kind)[self._place_of(kind, number)]
            self._lock.insist_not_ended(end)
            record.start, record.end = start, end
            self._lock.spoil(record)
            reply = with_battery(operation)
        else:
            raise Refusal(Trouble.NOT_SUPPORTED)
        self._lock.keep()
        return reply

    # ---- lists -------------------------------------------------------------------------------------------------------

    def _list(self, kind: _Kind, reader: Reader) -> Reply:
        """Section 8: cards of one width on a page, and those of 8 bytes alone."""
        cursor = reader.number(2)
        reader.end()
        records: dict[int, Card | Finger] = {**self.records(kind)}
        known = in_order(records)
        left = [] if cursor == END else self._lock.cursors.start(kind.name, cursor, known)
        operation = kind.list_operation
        if not left:
            return with_battery(operation, END.to_bytes(2, "big"))
        width = len(left[0][1].number)
        most = 1 if width == max(CARD_BYTES) else (MAX_PLAIN_BYTES - HEAD_BYTES) // (width + DATES_BYTES)
        page = left[: min(most, self._settings.pages[kind.name] or most)]
        alike = next((at for at, (_, record) in enumerate(page) if len(record.number) != width), len(page))
        page = page[:alike]
        body = b"".join(dated_record(record) for _, record in page)

        def pages() -> Iterator[bytes]:
            for following in self._lock.cursors.following(kind.name, records, page):
                yield bytes([operation]) + following.to_bytes(2, "big") + body

        def chosen(told: bytes) -> None:
            self._lock.cursors.give(kind.name, int.from_bytes(told[1:3], "big"))

        return Reply(data=next(pages()), battery=True, others=pages, chosen=chosen)

    # ---- changes -----------------------------------------------------------------------------------------------------

    def _dated(self, kind: _Kind, reader: Reader) -> tuple[bytes, bytes, bytes]:
        size = reader.left - DATES_BYTES
        if size not in kind.sizes:
            raise Refusal(Trouble.LENGTH)
        return reader.take(size), reader.date(), reader.date()

    def _add(self, kind: _Kind, reader: Reader) -> Reply:
        """By touch, or with a known number. One that is there already gets new dates (unconfirmed).

        A fingerprint with its template has another length and is refused: such data comes from the maker's own reader.
        """
        if not reader.left:
            self._insist_room(kind)
            self._enrolling, self._touched = kind, 0
            self._turn += 1
            self._wait()
            return with_battery(ADD, ADDING, *([self._settings.touches] if kind is FINGERS else []))
        number, start, end = self._dated(kind, reader)
        self._lock.insist_not_ended(end)
        self._put(kind, number, start, end, template=False)
        status = self._settings.add_status if kind is CARDS else ADDED
        return with_battery(ADD, status, number)

    def _put(self, kind: _Kind, number: bytes, start: bytes, end: bytes, *, template: bool) -> None:
        place = self._find(kind, number)
        if place is not None:
            record = self.records(kind)[place]
            record.start, record.end = start, end
            self._lock.spoil(record)
            return
        self._insist_room(kind)
        if kind is CARDS:
            card = Card(number=number, start=start, end=end)
            self._flash.cards[free_place(self._flash.cards)] = card
            self._lock.spoil(card)
        else:
            finger = Finger(number=number, start=start, end=end, template=template)
            self._flash.fingers[free_place(self._flash.fingers)] = finger
            self._lock.spoil(finger)

    def _insist_room(self, kind: _Kind) -> None:
        room = self._settings.card_room if kind is CARDS else self._settings.finger_room
        if len(self.records(kind)) >= room:
            raise Refusal(Trouble.FULL)

    def _find(self, kind: _Kind, number: bytes) -> int | None:
        return next((place for place, record in self.records(kind).items() if record.number == number), None)

    def _place_of(self, kind: _Kind, number: bytes) -> int:
        if len(number) not in kind.sizes:
            raise Refusal(Trouble.LENGTH)
        place = self._find(kind, number)
        if place is None:
            raise Refusal(kind.unknown)
        return place

    def _drop(self, kind: _Kind, place: int) -> None:
        self._forget_limits(kind, self.records(kind).pop(place).number)

    # ---- enrolling ---------------------------------------------------------------------------------------------------

    def card_came(self, number: bytes) -> bool:
        """Hold a card to the lock; False where none is waited for."""
        if self._enrolling is not CARDS:
            return False
        self._enrolled(CARDS, number)
        return True

    def finger_came(self) -> bool:
        """Touch the sensor; False where none is waited for."""
        if self._enrolling is not FINGERS:
            return False
        self._touched += 1
        touches = self._settings.touches
        if self._touched < touches:
            self._say(FINGERS, PROGRESS, bytes([self._touched, touches]))
            self._turn += 1
            self._wait()
        else:
            self._enrolled(FINGERS, self._lock.new_number(FINGER_BYTES))
        return True

    def _wait(self) -> None:
        """Plan what comes next: a touch, or the end of the patience (section 2.2)."""
        turn = self._turn

        def comes() -> None:
            if turn == self._turn:
                if self._enrolling is CARDS:
                    self.card_came(self._lock.new_number(4))
                else:
                    self.finger_came()

        def gives_up() -> None:
            if turn == self._turn and self._enrolling is not None:
                code = self._enrolling.code
                self.stop()
                self._lock.push_failure(code, Trouble.FAILED)  # that it says so, and how, is unconfirmed

        if self._settings.touches_itself:
            self._lock.after(self._settings.touch_s, comes)
        else:
            self._lock.after(self._settings.enrol_s, gives_up)

    def _enrolled(self, kind: _Kind, number: bytes) -> None:
        self.stop()
        self._put(kind, number, PERMANENT_FROM, PERMANENT_TO, template=True)
        self._lock.note(kind.log, number)
        told = number
        if kind is CARDS and len(number) < self._settings.card_field:
            told = number + b"\xff" * (self._settings.card_field - len(number))
        self._say(kind, ADDED, told)
        self._lock.keep()

    def _say(self, kind: _Kind, status: int, data: bytes) -> None:
        self._lock.push(kind.code, with_battery(ADD, status, data))

    # ---- weekly limits -----------------------------------------------------------------------------------------------

    def _weekly(self, data: bytes) -> Reply:
        """Section 9.1. Nobody knows how to query or to delete a single one, so this lock does not either."""
        reader = Reader(data)
        operation = reader.number(1)
        if operation not in (ADD, CLEAR):
            raise Refusal(Trouble.NOT_SUPPORTED)
        kind = {CARD_KIND: CARDS, FINGER_KIND: FINGERS}.get(reader.number(1))
        number = reader.take(reader.number(1))
        if operation == CLEAR:
            reader.end()
            if kind is None or not self._forget_limits(kind, number or None):
                raise Refusal(Trouble.NO_RECORD)
            self._lock.keep()
            return with_battery(operation)
        when, weekday, zero = reader.take(3)
        start, end, rest = tuple(reader.take(2)), tuple(reader.take(2)), reader.take(4)
        reader.end()
        times = all(hour < 24 and minute < 60 for hour, minute in (start, end))
        if kind is None or when != WEEKLY or not 1 <= weekday <= 7 or zero or any(rest) or not times or start >= end:
            raise Refusal(Trouble.PARAMETER)
        self._place_of(kind, number)
        self._flash.weekly_limits.append(
            WeeklyLimit(
                kind=kind.kind, number=number, weekday=weekday, start=(start[0], start[1]), end=(end[0], end[1])
            )
        )
        self._lock.keep()
        return with_battery(operation)

    def _forget_limits(self, kind: _Kind, number: bytes | None) -> bool:
        """Drop the limits of a number, or of all numbers of a kind; tells whether there were any."""
        limits = self._flash.weekly_limits
        kept = [one for one in limits if one.kind != kind.kind or number not in (None, one.number)]
        changed = len(kept) < len(limits)
        limits[:] = kept
        return changed
