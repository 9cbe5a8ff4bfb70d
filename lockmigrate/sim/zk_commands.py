"""What a simulated ZKTeco-style terminal does with a packet: sessions, identity, users, clearing.

Tables and uploads stand in `zk_tables`, access control in `zk_access`. Section numbers are those of the wire reference
of the family; where the public papers leave something open, the choice is marked "unconfirmed".
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from typing import Final

from lockmigrate.sim.zk_access import Access
from lockmigrate.sim.zk_data import PASSWORD_AT, PRIVILEGE_AT, Flash, Settings
from lockmigrate.sim.zk_packets import Code, Packet, Received, decode_time, encode_time, proves
from lockmigrate.sim.zk_tables import ERROR, OK, UNKNOWN, Answer, Session, Tables

EPOCH: Final = datetime(2025, 3, 10, 8, 0, 0)  # noqa: DTZ001 - units know no zone
"""What a terminal's clock shows when it is first spoken to."""
FREE_WORDS: Final = 20
"""Section 5: the capacity table without faces."""
ADMIN_BITS: Final = 0x0E
"""Section 7: bits 3-1 of the privilege."""
HARMLESS: Final = (
    *(Code.REFRESHOPTION, Code.ENABLE_CLOCK, Code.STARTVERIFY, Code.STARTENROLL, Code.CANCELCAPTURE),
    *(Code.WRITE_LCD, Code.CLEAR_LCD, Code.SLEEP, Code.RESUME, Code.TESTVOICE),
)
"""Commands that answer OK and do nothing here."""

Command = Callable[[Session, bytes], Answer]


class Terminal:
    """One terminal with its RAM; knows no wrappers and no faults of the line."""

    def __init__(self, settings: Settings, flash: Flash, on_flash_change: Callable[[], None]) -> None:
        self.settings = settings
        self.flash = flash
        self.log: list[int] = []
        self.sessions: list[Session] = []
        """One per medium."""
        self.unlocked = 0
        """How often the door was told to open: a tool for backups never does that."""
        self.power_fails = False
        """The power fails as soon as the answer has left; whoever sees it clears it."""
        self.answers = True
        """False where the power fails before the answer leaves."""
        self.powerloss = settings.powerloss
        self._now_s = 0.0
        self._started_s: float | None = None
        self._refusals = settings.refusals if settings.state else 0
        self._random = Random(f"zk sessions {settings.seed} {settings.serial}")
        self._on_flash_change = on_flash_change
        self.tables = Tables(self)
        self.access = Access(self)
        self.counts = self._count()
        self.table = self._without_quirks(self._table() | self.tables.table() | self.access.table())

    # ---- sessions ------------------------------------------------------------------------------------------------

    def handle(self, session: Session, received: Received, now_s: float) -> Answer:
        """Obey one packet and return what is to be sent. Sections 2 and 3."""
        self._tick(now_s)
        code, number, _, data = received
        self.log.append(code)
        if code == Code.OK:
            return []  # section 2: the host's answer to an event
        if code == Code.CONNECT:
            return self._connect(session)
        if session.number is None or number != session.number:
            return [Packet(Code.ERROR, session=number)]
        if code == Code.AUTH:
            session.trusted |= self.flash.comm_key == 0 or proves(data, self.flash.comm_key, number)
            return OK if session.trusted else [Packet(Code.UNAUTH)]
        if code == Code.EXIT:
            session.end()
            return [Packet(Code.OK, session=number)]
        if not session.trusted:
            return [Packet(Code.UNAUTH)]
        obey = self.table.get(code)
        if obey is None:
            return [] if "silent-unknown" in self.settings.quirks else UNKNOWN
        try:
            return obey(session, data)
        except (struct.error, IndexError):
            return ERROR  # too short

    def power_on(self) -> None:
        """Forget what is not in flash, every session included."""
        for session in self.sessions:
            session.end()
        self.power_fails = False
        self.answers = True
        self.flash.enabled, self.flash.disabled_until_s = True, None
        self.counts = self._count()

    def strikes(self, when: str, *, answered: bool = True) -> bool:
        """Let the power fail now if it was asked for, once."""
        if self.powerloss != when:
            return False
        self.powerloss = "never"
        self.power_fails, self.answers = True, answered
        return True

    def changed(self) -> None:
        """Keep what a command has changed, before its answer leaves."""
        self._on_flash_change()

    def refused_as_busy(self) -> bool:
        """Tell whether a command is refused because somebody uses the terminal (section 5's state word)."""
        if self._refusals > 0:
            self._refusals -= 1
            return True
        return False

    def clock(self) -> datetime:
        """Return what the terminal's clock shows."""
        elapsed_s = int(self._now_s - (self._started_s or 0.0))
        return EPOCH + timedelta(seconds=elapsed_s + self.flash.time_offset_s)

    def _tick(self, now_s: float) -> None:
        self._now_s = now_s
        if self._started_s is None:
            self._started_s = now_s
        until_s = self.flash.disabled_until_s
        if until_s is not None and now_s >= until_s:
            self.flash.enabled, self.flash.disabled_until_s = True, None

    def _connect(self, session: Session) -> Answer:
        session.end()
        fixed = self.settings.session
        session.number = self._random.randrange(1, 0xFFFF) if fixed is None else fixed
        session.trusted = self.flash.comm_key == 0
        data = b"\x01" if "stray-byte" in self.settings.quirks else b""
        return [Packet(Code.OK if session.trusted else Code.UNAUTH, data)]

    # ---- commands --------------------------------------------------------------------------------------------------

    def _table(self) -> dict[int, Command]:
        """Command code to what obeys it."""

        def done(_: Session, __: bytes) -> Answer:
            return OK

        table: dict[int, Command] = {
            Code.OPTIONS_RRQ: self._read_option,
            Code.OPTIONS_WRQ: self._write_option,
            Code.GET_VERSION: lambda _, __: [Packet(Code.OK, self.settings.firmware.encode("ascii") + b"\0")],
            Code.GET_PINWIDTH: self._pin_width,
            Code.GET_FREE_SIZES: self._free_sizes,
            Code.GET_TIME: lambda _, __: [Packet(Code.OK, encode_time(self.clock()).to_bytes(4, "little"))],
            Code.SET_TIME: self._set_time,
            Code.STATE_RRQ: lambda _, __: [Packet(Code.OK, session=self.settings.state if self._refusals else 0)],
            Code.DOORSTATE_RRQ: lambda _, __: [Packet(Code.OK, b"\0")],
            Code.ENABLEDEVICE: self._enable,
            Code.DISABLEDEVICE: self._disable,
            Code.USER_WRQ: self._write_user,
            Code.DELETE_USER: self._delete_user,
            Code.CLEAR_DATA: self._clear,
            Code.CLEAR_ATTLOG: lambda session, _: self._clear(session, b"\x01"),
            Code.CLEAR_OPLOG: lambda session, _: self._clear(session, b"\x04"),
            Code.CLEAR_ADMIN: self._clear_admin,
            Code.UNLOCK: self._unlock,
            Code.REG_EVENT: self._register,
            Code.REFRESHDATA: self._refresh,
            Code.RESTART: self._restart,
            Code.POWEROFF: self._power_off,
        }
        return dict.fromkeys(HARMLESS, done) | table

    def _without_quirks(self, table: dict[int, Command]) -> dict[int, Command]:
        gone = {int(quirk[3:]) for quirk in self.settings.quirks if quirk[:3] == "no-" and quirk[3:].isdigit()}
        for code in gone & {Code.PREPARE_BUFFER, Code.GET_FREE_SIZES}:
            table[code] = lambda _, __: ERROR
        return {code: obey for code, obey in table.items() if code not in gone - {1503, 50}}

    def _read_option(self, _: Session, data: bytes) -> Answer:
        name = data.split(b"\0")[0].decode("latin-1")
        value = self.flash.options.get(name)
        if value is None or ("no-options" in self.settings.quirks and name != "~SerialNumber"):
            return ERROR
        return [Packet(Code.OK, f"{name}={value}\0".encode("latin-1"))]

    def _write_option(self, _: Session, data: bytes) -> Answer:
        """Section 5: names that begin with ~ are read-only by convention; that others may be new is unconfirmed."""
        name, equals, value = data.split(b"\0")[0].decode("latin-1").partition("=")
        if not equals or not name or name.startswith("~"):
            return ERROR
        self.flash.options[name] = value
        self.changed()
        return OK

    def _pin_width(self, _: Session, __: bytes) -> Answer:
        return [Packet(Code.OK, bytes([int(self.flash.options.get("~PIN2Width", "9"))]))]

    def _count(self) -> tuple[int, ...]:
        flash = self.flash
        records = [*flash.users.values(), *flash.doubles]
        admins = sum(1 for record in records if record[PRIVILEGE_AT] & ADMIN_BITS)
        passwords = sum(1 for record in records if record[PASSWORD_AT])
        return len(records), len(flash.templates), len(flash.attlog), len(flash.oplog), admins, passwords

    def _free_sizes(self, _: Session, __: bytes) -> Answer:
        """Section 5: the capacity table."""
        settings = self.settings
        users, templates, *rest = self.counts if settings.lag else self._count()
        users, templates = users + settings.count_off, templates + settings.count_off
        words = [0] * FREE_WORDS
        for at, number in zip((4, 6, 8, 10, 12, 13), (users, templates, *rest), strict=True):
            words[at] = number
        rooms = (settings.template_capacity, settings.user_capacity, settings.attendance_capacity)
        words[14:17] = rooms
        words[17:20] = [max(0, a - b) for a, b in zip(rooms, (templates, users, rest[0]), strict=True)]
        words += [0] * ((settings.capacity_bytes - 4 * FREE_WORDS) // 4)
        return [Packet(Code.OK, struct.pack(f"<{len(words)}I", *words))]

    def _set_time(self, _: Session, data: bytes) -> Answer:
        moment = decode_time(int.from_bytes(data[:4], "little"))
        if moment is None or len(data) < 4:
            return ERROR
        self.flash.time_offset_s += int((moment - self.clock()).total_seconds())
        self.changed()
        return OK

    def _enable(self, _: Session, __: bytes) -> Answer:
        self.flash.enabled, self.flash.disabled_until_s = True, None
        return OK

    def _disable(self, _: Session, data: bytes) -> Answer:
        """Section 4: with seconds the terminal comes back by itself. That it is refused in a menu is unconfirmed."""
        if self.refused_as_busy() or (data and "no-seconds" in self.settings.quirks):
            return ERROR
        self.flash.enabled = False
        seconds = int.from_bytes(data[:4], "little")
        self.flash.disabled_until_s = self._now_s + seconds if seconds else None
        return OK

    def _register(self, session: Session, data: bytes) -> Answer:
        session.events = int.from_bytes(data[:4], "little")
        return OK

    def _refresh(self, _: Session, __: bytes) -> Answer:
        self.counts = self._count()
        return OK

    def _unlock(self, _: Session, __: bytes) -> Answer:
        self.unlocked += 1
        return OK

    def _restart(self, _: Session, __: bytes) -> Answer:
        """Section 4: often unanswered."""
        self.power_fails, self.answers = True, False
        return OK

    def _power_off(self, _: Session, __: bytes) -> Answer:
        self.power_fails = True
        return OK

    # ---- users -------------------------------------------------------------------------------------------------------

    def put_user(self, record: bytes) -> bool:
        """Create or overwrite by uid (section 7); False where that is refused. The caller calls `changed`."""
        uid = int.from_bytes(record[:2], "little")
        if not self.takes_user(record, len(self.flash.users)):
            return False
        if self.settings.happens("user-differs", uid):
            at = self.settings.record.group_at
            record = record[:at] + bytes([record[at] ^ 1]) + record[at + 1 :]
        self.flash.users[uid] = record
        self.flash.doubles = [double for double in self.flash.doubles if double[:2] != record[:2]]
        return True

    def takes_user(self, record: bytes, users: int) -> bool:
        """Tell whether a record is one of ours and, beside `users` others, fits."""
        uid = int.from_bytes(record[:2], "little")
        known = uid in self.flash.users
        fits = known or users < self.settings.user_capacity
        return len(record) == self.settings.width and uid != 0 and fits and not self.refuses_put(uid)

    def refuses_put(self, uid: int) -> bool:
        """Tell whether writing anything of this user is refused, and use the quirk up."""
        return self.settings.happens("refuse-put", uid)

    def _write_user(self, _: Session, data: bytes) -> Answer:
        if not self.put_user(data):
            return ERROR
        self.changed()
        self.strikes("after-8", answered=False)
        return OK

    def _delete_user(self, _: Session, data: bytes) -> Answer:
        uid = int.from_bytes(data[:2], "little")
        if len(data) != 2 or uid not in self.flash.users:
            return ERROR
        self.flash.delete_user(uid)
        self.changed()
        return OK

    def _clear(self, _: Session, data: bytes) -> Answer:
        """Section 7. That "everything" includes the access control tables is unconfirmed; options stay."""
        flash = self.flash
        if len(data) > 1 or (data and data[0] not in (1, 2, 4, 5)):
            return ERROR
        if not data:
            flash.reset_access()
        if not data or data[0] == 5:
            flash.users.clear()
            flash.doubles.clear()
            flash.verify.clear()
        if not data or data[0] in (2, 5):
            flash.templates.clear()
        if not data or data[0] == 1:
            flash.attlog.clear()
        if not data or data[0] == 4:
            flash.oplog.clear()
        self.changed()
        return OK

    def _clear_admin(self, _: Session, __: bytes) -> Answer:
        at = PRIVILEGE_AT
        for uid, record in self.flash.users.items():
            self.flash.users[uid] = record[:at] + bytes([record[at] & ~ADMIN_BITS]) + record[at + 1 :]
        self.changed()
        return OK
