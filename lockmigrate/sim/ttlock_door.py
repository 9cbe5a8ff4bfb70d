"""What a simulated TTLock lock does with its bolt: opening by app, code, card, finger and key, and locking again.

Section numbers are those of the wire reference of the family; where it leaves something open, the choice is marked
"unconfirmed".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lockmigrate.sim.ttlock_frames import Code, Reader, Refusal, Trouble, encode_date, moment_of
from lockmigrate.sim.ttlock_records import (
    CARD_KIND,
    FINGER_KIND,
    ONE_TIME,
    Card,
    Finger,
    Passcode,
    one_code,
    two_codes,
)
from lockmigrate.sim.ttlock_replies import Command, Reply, with_battery

if TYPE_CHECKING:
    from lockmigrate.sim.ttlock_lock import Lock

MANUAL_LOCK_FEATURE: Final = 8
LOW_PERCENT: Final = 5
"""Ours: below it the lock does not open for an app."""
APP_OPENED, APP_LOCKED, CODE_OPENED, CODE_WRONG, CODE_EXPIRED = 1, 26, 4, 7, 11
CARD_OPENED, CARD_REFUSED, FINGER_OPENED, FINGER_REFUSED, KEY_OPENED = 17, 25, 20, 22, 27
"""Section 11: types of log records."""


class Door:
    """The bolt of one lock."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._flash = lock.flash
        self._settings = lock.settings
        self._turn = 0
        """Which opening this is: a timer of an earlier one locks nothing any more."""
        self.dead_locked = False
        self.actions: list[str] = []
        """What an app made the bolt do: a tool for backups never does."""

    def table(self) -> dict[int, Command]:
        """Return the commands that are obeyed here."""
        return {
            Code.UNLOCK: Command(obey=lambda data: self._by_app(data, unlocks=True)),
            Code.LOCK: Command(obey=lambda data: self._by_app(data, unlocks=False), feature=MANUAL_LOCK_FEATURE),
        }

    def _by_app(self, data: bytes, *, unlocks: bool) -> Reply:
        """Section 6: after either login, with the sum again."""
        reader = Reader(data)
        answer, unix = reader.number(4), reader.take(4)
        reader.end()
        self._lock.session.check_sum(answer)
        if self._flash.settings.frozen:
            raise Refusal(Trouble.FROZEN)
        if self.dead_locked and unlocks:
            raise Refusal(Trouble.DEAD_LOCKED)
        if self._lock.battery < LOW_PERCENT:
            raise Refusal(Trouble.BATTERY_LOW)
        uid = self._lock.session.uid.to_bytes(4, "big")
        self.actions.append("unlock" if unlocks else "lock")
        self._lock.note(APP_OPENED if unlocks else APP_LOCKED, uid + unix)
        self._turned(unlocks, uid, unix)
        if self._settings.short_answer:
            return with_battery()
        # Which number is the "unique id" is unconfirmed; a captured push carries the time that the app sent.
        return with_battery(uid, unix, encode_date(self._lock.clock()))

    def _turned(self, unlocked: bool, uid: bytes, record: bytes) -> None:
        """Move the bolt, say so a little later, and lock again by and by."""
        self._flash.unlocked = unlocked
        self._turn += 1
        self._lock.keep()
        moment = encode_date(self._lock.clock())

        def tell() -> None:
            long = with_battery(uid, record, moment)
            self._lock.push(Code.STATUS, long if self._settings.long_push else self._lock.settable.state())

        self._lock.after(self._settings.push_s, tell)
        if unlocked and self._flash.settings.auto_lock_s:
            turn = self._turn
            self._lock.after(self._flash.settings.auto_lock_s, lambda: self._lock_again(turn), always=True)

    def _lock_again(self, turn: int) -> None:
        """Lock by itself. No record is made of it (R)."""
        if turn == self._turn and self._flash.unlocked:
            self._flash.unlocked = False
            self._lock.keep()
            self._lock.push(Code.STATUS, self._lock.settable.state())

    # ---- at the door -------------------------------------------------------------------------------------------------

    def code_typed(self, code: str) -> bool:
        """Type a code; returns whether the door opens. A cyclic code opens at any time: its word is not understood."""
        if code == self._flash.admin_passcode and code:
            return self._opens(CODE_OPENED, two_codes(code, code))
        for place, passcode in self._flash.passcodes.items():
            if passcode.code != code:
                continue
            tail = two_codes(passcode.original, passcode.code)
            if not self._in_window(passcode):
                self._lock.note(CODE_EXPIRED, tail)
                return False
            if passcode.kind == ONE_TIME:
                del self._flash.passcodes[place]
            return self._opens(CODE_OPENED, tail)
        self._lock.note(CODE_WRONG, one_code(code))
        return False

    def card_held(self, number: bytes) -> bool:
        """Hold a card to the lock; returns whether the door opens."""
        card = next((card for card in self._flash.cards.values() if card.number == number), None)
        return self._touched(card, CARD_KIND, number, (CARD_OPENED, CARD_REFUSED))

    def finger_put(self, number: bytes) -> bool:
        """Put a finger on the sensor; returns whether the door opens."""
        finger = next((one for one in self._flash.fingers.values() if one.number == number and one.template), None)
        return self._touched(finger, FINGER_KIND, number, (FINGER_OPENED, FINGER_REFUSED))

    def key_turned(self) -> bool:
        """Turn the mechanical key."""
        return self._opens(KEY_OPENED, b"")

    def _touched(self, record: Card | Finger | None, kind: int, number: bytes, logs: tuple[int, int]) -> bool:
        if record is None or not self._in_window(record) or not self._on_its_day(kind, number):
            self._lock.note(logs[1], number)
            return False
        return self._opens(logs[0], number)

    def _in_window(self, record: Passcode | Card | Finger) -> bool:
        now = self._lock.clock()
        start, end = moment_of(record.start), moment_of(record.end)
        return (start is None or start <= now) and (end is None or now <= end)

    def _on_its_day(self, kind: int, number: bytes) -> bool:
        """Look at the weekly limits; without any, every day is good."""
        limits = [one for one in self._flash.weekly_limits if (one.kind, one.number) == (kind, number)]
        now = self._lock.clock()
        time = now.hour, now.minute
        return not limits or any(one.weekday == now.isoweekday() and one.start <= time < one.end for one in limits)

    def _opens(self, log: int, tail: bytes) -> bool:
        if self._flash.settings.frozen:
            return False
        self._lock.note(log, tail)
        self._turned(True, bytes(4), self._lock.last_record())
        return True
