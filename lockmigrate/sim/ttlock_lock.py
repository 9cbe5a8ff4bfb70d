"""A simulated TTLock lock without its radio: what comes of a request, when it speaks by itself, how it counts time.

Section numbers are those of the wire reference of the family; where it leaves something open, the choice is marked
"unconfirmed".
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Final

from lockmigrate.sim.ttlock_codes import Codes
from lockmigrate.sim.ttlock_door import Door
from lockmigrate.sim.ttlock_frames import (
    ANSWERED,
    DEFAULT_KEY,
    PUSHED,
    Code,
    Refusal,
    Request,
    Trouble,
    clean,
    encode_date,
    frame,
    marked,
    moment_of,
    seal,
    unseal,
)
from lockmigrate.sim.ttlock_keys import new_key, well_logged
from lockmigrate.sim.ttlock_records import Card, Finger, Flash, LogEntry, Passcode
from lockmigrate.sim.ttlock_replies import Command, Cursors, Reply
from lockmigrate.sim.ttlock_session import Session, factory_flash, restore
from lockmigrate.sim.ttlock_settings import Settings
from lockmigrate.sim.ttlock_switches import Settable
from lockmigrate.sim.ttlock_touch import Touch
from lockmigrate.sim.unit import EPSILON_S

DONE, FAILED = 1, 0
"""Section 3, "Answer plaintext"."""
LAST_LOG_NUMBER: Final = 0xFFF0
SPOILT: Final = bytes([98, 2, 3, 4, 5])
"""A date that nobody asked for."""
NEARBY: Final = {"avoid": 9, "allow": 1, "force": 100}
"""How many battery levels are tried, from the true one on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One frame that the lock says."""

    raw: bytes
    pushed: bool = False
    hangs_up: bool = False


@dataclass(kw_only=True)
class _Plan:
    """Something that happens later."""

    at_s: float
    act: Callable[[], None]
    always: bool
    """Whether it happens without a link too."""


class Lock:
    """One lock with its RAM; knows no radio and no faults of it."""

    def __init__(self, settings: Settings, flash: Flash, on_change: Callable[[], None]) -> None:
        self.settings = settings
        self.flash = flash
        self.battery = settings.battery
        self.log: list[int] = []
        """The codes of all requests that the lock could read, in order."""
        self.draw: Callable[[int], bytes] = Random(f"ttlock {settings.seed} {settings.mac}").randbytes
        """Where keys, tokens and numbers come from: seeded, so that runs repeat. A real lock must not do that."""
        self.now_s = 0.0
        self.unreadable = 0
        """How many payloads were under another key."""
        self._started_s: float | None = None
        self._plans: list[_Plan] = []
        self._said: list[Said] = []
        self._answers = 0
        self._changes = 0
        self._heard: dict[int, int] = {}
        self._on_change = on_change
        self.cursors = Cursors(settings)
        self.session = Session(self)
        self.settable = Settable(self)
        self.codes = Codes(self)
        self.touch = Touch(self)
        self.door = Door(self)
        parts = (self.session, self.settable, self.codes, self.touch, self.door)
        self.table: dict[int, Command] = {code: one for part in parts for code, one in part.table().items()}

    # ---- time --------------------------------------------------------------------------------------------------------

    def tick(self, now_s: float) -> list[Said]:
        """Learn what time it is on the caller's clock; do and say what was planned for it."""
        if self._started_s is None:
            self._started_s = now_s
        self.now_s = max(self.now_s, now_s)
        while self._plans and (due := min(self._plans, key=lambda plan: plan.at_s)).at_s <= now_s + EPSILON_S:
            self._plans.remove(due)
            due.act()
        said, self._said = self._said, []
        return said

    def due_s(self) -> float | None:
        """When the next thing is planned, or is to be said."""
        if self._said:
            return self.now_s
        soonest_s = min((plan.at_s for plan in self._plans), default=math.inf)
        return None if math.isinf(soonest_s) else soonest_s

    def after(self, seconds: float, act: Callable[[], None], *, always: bool = False) -> None:
        """Plan something; it is dropped when the link ends, unless it happens always."""
        self._plans.append(_Plan(at_s=self.now_s + seconds, act=act, always=always))

    def clock(self) -> datetime:
        """Return what the lock's clock shows: wall time without a zone."""
        elapsed_s = 0 if self._started_s is None else int(self.now_s - self._started_s + EPSILON_S)
        return self.settings.local + timedelta(seconds=elapsed_s + self.flash.clock_offset_s)

    def link_ended(self) -> None:
        """Forget what belongs to a connection."""
        self.session.end()
        self.cursors.forget()
        self.touch.stop()
        self._plans = [plan for plan in self._plans if plan.always]
        self._said.clear()

    def keep(self) -> None:
        """Keep what has changed, before its answer leaves; nothing is kept while a pairing goes on (section 5)."""
        if self.session.pairing is None:
            self._on_change()

    def factory_reset(self) -> None:
        """Forget everybody and everything; the clock goes on."""
        self.session.pairing = None
        fresh = factory_flash()
        fresh.clock_offset_s = self.flash.clock_offset_s
        restore(self.flash, fresh)
        self.session.end()
        self._plans.clear()
        self.keep()

    # ---- a request ---------------------------------------------------------------------------------------------------

    def hear(self, request: Request) -> list[Said]:
        """Obey one request; returns what the lock says to it."""
        code = request.command
        if not request.intact:
            return [self._answer(self._failed(code, Trouble.CRC), code)] if self.settings.answers_crc else []
        # The first key is asked for under the default key, whatever holds (unconfirmed for a paired lock).
        key = DEFAULT_KEY if code == Code.GET_AES_KEY else self.session.key
        data = unseal(key, request.payload) if request.payload else b""
        if data is None:
            self.unreadable += 1
            return self._foreign(code)
        self.log.append(code)
        said = self._obeyed(code, data)
        if self.settings.pushes and (self._answers + 1) % self.settings.pushes == 0:
            self.push(Code.STATUS, self.settable.state())
        pushed, self._said = self._said, []
        self._answers += 1
        return [*pushed, said]

    def _foreign(self, code: int) -> list[Said]:
        """Section 3: a client sees an empty payload, or one that it cannot decrypt, and knows that its key is none."""
        if self.settings.on_key == "silent":
            return []
        if self.settings.on_key == "foreign":
            return [self._answer(self._failed(code, Trouble.NO_PERMISSION), code)]
        return [Said(raw=self._frame(code, b""))]

    def _obeyed(self, code: int, data: bytes) -> Said:
        try:
            self._refuse_as_told(code)
            command = self._known(code)
            self.session.insist(code, "none" if data and data[0] in command.free else command.login)
            reply = command.obey(data)
        except Refusal as refusal:
            return self._answer(self._failed(code, refusal.trouble, data), code)
        if reply.bare:
            return Said(raw=self._frame(code, b""), hangs_up=reply.hangs_up)
        raw = self._chosen(code, reply, pushed=False)
        return Said(raw=raw, hangs_up=reply.hangs_up)

    def _known(self, code: int) -> Command:
        command = self.table.get(code)
        if command is None or (command.feature is not None and not self.settings.has(command.feature)):
            raise Refusal(Trouble.NOT_SUPPORTED)
        return command

    def _refuse_as_told(self, code: int) -> None:
        count = self._heard[code] = self._heard.get(code, 0) + 1
        for nth, trouble in self.settings.refusals.get(code, ()):
            if nth in (0, count):
                raise Refusal(trouble)

    def _failed(self, code: int, trouble: int, data: bytes = b"") -> bytes:
        """Section 3: passcode commands repeat the operation behind the code; ADD_ADMIN has none."""
        if trouble < 0:
            return bytes([code, FAILED])
        return bytes([code, FAILED, trouble]) + (data[:1] if code == Code.PASSCODE else b"")

    # ---- saying something --------------------------------------------------------------------------------------------

    def push(self, code: int, reply: Reply) -> None:
        """Say something unasked, at once."""
        self._said.append(Said(raw=self._chosen(code, reply, pushed=True), pushed=True))

    def push_failure(self, code: int, trouble: int) -> None:
        """Say unasked that something failed."""
        self._said.append(Said(raw=self._sealed(code, self._failed(code, trouble), pushed=True), pushed=True))

    def _answer(self, plain: bytes, code: int) -> Said:
        return Said(raw=self._sealed(code, plain))

    def _chosen(self, code: int, reply: Reply, *, pushed: bool) -> bytes:
        """Frame a reply; of all that says the same, take what a client that cuts at the terminator can live with."""
        wanted = marked if self.settings.crlf == "force" else clean
        first: tuple[bytes, bytes] | None = None
        for battery, data in self._variants(reply):
            plain = bytes([code, DONE]) + (bytes([battery]) if reply.battery else b"") + data
            raw = self._sealed(code, plain, pushed=pushed)
            first = first or (raw, data)
            if self.settings.crlf == "allow" or wanted(raw):
                first = raw, data
                break
        raw, data = first or (self._frame(code, b""), b"")
        if reply.chosen is not None:
            reply.chosen(data)
        return raw

    def _variants(self, reply: Reply) -> Iterator[tuple[int, bytes]]:
        """Yield the battery and the data of a reply; the true ones first, then other data, then a battery nearby."""
        yield self.battery, reply.data
        if reply.others is not None:
            for data in reply.others():
                yield self.battery, data
        if reply.battery:
            down = range(self.battery - 1, -1, -1)
            nearby = itertools.chain(down, range(self.battery + 1, 101))
            for battery in itertools.islice(nearby, NEARBY[self.settings.crlf]):
                yield battery, reply.data

    def _sealed(self, code: int, plain: bytes, *, pushed: bool = False) -> bytes:
        key = DEFAULT_KEY if code == Code.GET_AES_KEY else self.session.key
        return self._frame(code, seal(key, plain), pushed=pushed)

    def _frame(self, code: int, payload: bytes, *, pushed: bool = False) -> bytes:
        """Section 3: everything that a lock sends is a response, but the first key comes under its own command."""
        command = code if code == Code.GET_AES_KEY else Code.RESPONSE
        return frame(self.settings.place, command, PUSHED if pushed else ANSWERED, payload)

    # ---- what the parts share ----------------------------------------------------------------------------------------

    def new_key(self) -> bytes:
        """Make an AES key."""
        return new_key(self.draw, self.settings)

    def new_number(self, size: int) -> bytes:
        """Make the number of a card or finger that nobody has."""
        known = {card.number for card in self.flash.cards.values()}
        known |= {finger.number for finger in self.flash.fingers.values()}
        while (number := self.draw(size)) in known:
            pass
        return number

    def new_digits(self, count: int) -> str:
        """Make a code."""
        return "".join(str(byte % 10) for byte in self.draw(count))

    def insist_not_ended(self, end: bytes) -> None:
        """Refuse a window that has ended, where that was asked for; whether locks do is unconfirmed."""
        moment = moment_of(end)
        if self.settings.refuse_ended and moment is not None and moment < self.clock():
            raise Refusal(Trouble.EXPIRED)

    def spoil(self, record: Passcode | Card | Finger) -> None:
        """Count a record that was added or changed, and keep it wrong without a word where that was asked for."""
        self._changes += 1
        if self._changes != self.settings.keeps_wrong:
            return
        if record.end:
            record.end = SPOILT
        else:
            record.start = SPOILT

    def note(self, kind: int, tail: bytes = b"") -> None:
        """Add a record to the log."""
        if self.flash.next_log_number > LAST_LOG_NUMBER:
            self.flash.log.clear()
            self.flash.next_log_number = self.flash.next_unread = 0
        entry = LogEntry(
            number=self.flash.next_log_number,
            kind=kind,
            date=encode_date(self.clock()),
            battery=self.battery,
            tail=tail,
        )
        well_logged(entry, self.session.key, self.settings)
        self.flash.log.append(entry)
        self.flash.next_log_number += 1
        self.keep()

    def last_record(self) -> bytes:
        """Return the number of the last record, as four bytes."""
        return max(0, self.flash.next_log_number - 1).to_bytes(4, "big")

    @property
    def has_unread(self) -> bool:
        """Whether there are records that nobody has asked for as unread."""
        return self.flash.next_unread < self.flash.next_log_number
