"""The lists of a simulated Nuki lock: authorisations, keypad codes, fingerprints, time control, log.

Section numbers are those of the wire reference of the family; where it leaves something open, the choice is marked
"unconfirmed".
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lockmigrate.sim.nuki_frames import Code, Message, Refusal, Trouble, status
from lockmigrate.sim.nuki_records import (
    ALL_DAYS,
    LIMIT_BYTES,
    KeypadCode,
    Timer,
    User,
    code_entry,
    cut_name,
    encode_date,
    fingerprint_entry,
    has_ended,
    log_entry,
    timer_entry,
    user_entry,
    well_limited,
    well_timed,
)

if TYPE_CHECKING:
    from lockmigrate.sim.nuki_lock import Lock

MAX_ID_TYPE: Final = 3
BRIDGE: Final = 1
LOCK_ACTIONS: Final = frozenset({1, 2, 3, 4, 5, 6, 0x81, 0x82, 0x83})
"""Section 10.1."""
LAST_CODE_ID, LAST_TIMER_ID = 0xFFFF, 0xFF
RUNS: Final = "123456789", "987654321"

Handler = Callable[[User, bytes], list[Message]]


@dataclass(frozen=True, slots=True)
class Command:
    """How a command is called, and what it does (section 8)."""

    sizes: tuple[int, ...] | None
    """Lengths of its payload without nonce and PIN; None where any will do."""
    nonce: bool
    pin: bool
    obey: Handler


class Lists:
    """What one lock keeps in numbers, and the commands about it."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._settings = lock.settings
        self._added = 0
        """Keypad codes that somebody asked to add."""
        self._written = 0
        """Keypad codes added or updated."""

    def table(self) -> dict[int, Command]:
        """Command code to what obeys it (section 8)."""
        rows: dict[int, tuple[int, Handler]] = {
            Code.REQUEST_USERS: (4, self._users),
            Code.INVITE: (86, self._invite),
            Code.UPDATE_USER: (58, self._update_user),
            Code.REMOVE_USER: (4, self._remove_user),
            Code.REQUEST_CODES: (4, self._codes),
            Code.ADD_CODE: (44, self._add_code),
            Code.UPDATE_CODE: (47, self._update_code),
            Code.REMOVE_CODE: (2, self._remove_code),
            Code.REQUEST_FINGERPRINTS: (0, self._fingerprints),
            Code.REQUEST_TIMERS: (0, self._timers),
            Code.ADD_TIMER: (4, self._add_timer),
            Code.UPDATE_TIMER: (6, self._update_timer),
            Code.REMOVE_TIMER: (1, self._remove_timer),
            Code.REQUEST_LOG: (8, self._log),
        }
        return {code: Command((size,), True, True, obey) for code, (size, obey) in rows.items()}

    def _listed(self, count: Message | None, entries: list[Message], *, log: bool = False) -> list[Message]:
        """Section 6: count, entries, Status. Whether the last follows every list is unconfirmed."""
        ends = self._settings.status_after_list == "1" or (log and self._settings.status_after_list == "0")
        return [*([count] if count is not None else []), *entries, *([status()] if ends else [])]

    def _count(self, whole: int, sent: int) -> int:
        """Return what a count message says; section 6 calls it the total."""
        return (whole if self._settings.counts_total else sent) + self._settings.count_off

    def _limits(self, limited: int, tail: bytes) -> bytes:
        """Read flag and tail of a request; without the flag the tail means nothing."""
        if limited > 1 or not well_limited(tail):
            raise Refusal(Trouble.BAD_PARAMETER)
        return tail if limited else b""

    def _now(self) -> bytes:
        return encode_date(self._lock.clock())

    # ---- authorisations (section 9.2) --------------------------------------------------------------------------------

    def put_user(self, user: User) -> None:
        """Keep a new authorisation; a lock knows one bridge, and the new one replaces the old (section 4)."""
        flash = self._lock.flash
        if user.id_type == BRIDGE:
            for number in [other.authorization_id for other in flash.users.values() if other.id_type == BRIDGE]:
                del flash.users[number]
        flash.users[user.authorization_id] = user
        flash.next_user_id = max(flash.next_user_id, user.authorization_id + 1)
        if flash.own_id not in flash.users:
            flash.own_id = user.authorization_id
        self._lock.changed()

    def has_room_for_user(self, id_type: int) -> bool:
        """Tell whether one more authorisation fits."""
        users = self._lock.flash.users.values()
        return sum(1 for user in users if id_type != BRIDGE or user.id_type != BRIDGE) < self._settings.user_room

    def _users(self, user: User, payload: bytes) -> list[Message]:
        """The caller's own entry comes first."""
        offset, wanted = struct.unpack("<HH", payload)
        users = self._lock.flash.users
        others = [users[number] for number in sorted(users) if number != user.authorization_id]
        part = [user, *others][offset : offset + wanted]
        told = {"first": offset == 0, "always": True, "never": False}[self._settings.user_count]
        count = Message(code=Code.USER_COUNT, payload=struct.pack("<H", self._count(len(users), len(part))))
        always = self._settings.tail_always
        entries = [Message(code=Code.USER, payload=user_entry(each, always=always)) for each in part]
        return self._listed(count if told else None, entries)

    def _invite(self, _: User, payload: bytes) -> list[Message]:
        name, id_type, key, remote, limited, tail = struct.unpack(f"<32sB32sBB{LIMIT_BYTES}s", payload)
        limits = self._limits(limited, tail)
        if id_type > MAX_ID_TYPE or remote > 1:
            raise Refusal(Trouble.BAD_PARAMETER)
        if not self.has_room_for_user(id_type):
            raise Refusal(Trouble.TOO_MANY_ENTRIES)
        number, created = self._lock.flash.next_user_id, self._now()
        self.put_user(
            User(
                authorization_id=number,
                id_type=id_type,
                app_id=0,
                name=cut_name(name),
                key=key,
                remote=bool(remote),
                created=created,
                limits=limits,
            )
        )
        return [Message(code=Code.INVITE_ID, payload=struct.pack("<I", number) + created)]

    def _update_user(self, _: User, payload: bytes) -> list[Message]:
        number, name, enabled, remote, limited, tail = struct.unpack(f"<I32sBBB{LIMIT_BYTES}s", payload)
        known = self._lock.flash.users.get(number)
        if known is None:
            raise Refusal(Trouble.INVALID_AUTH_ID)
        limits = self._limits(limited, tail)
        if enabled > 1 or remote > 1:
            raise Refusal(Trouble.BAD_PARAMETER)
        known.name, known.enabled, known.remote, known.limits = cut_name(name), bool(enabled), bool(remote), limits
        self._lock.changed()
        return self._lock.done()

    def _remove_user(self, _: User, payload: bytes) -> list[Message]:
        users = self._lock.flash.users
        if users.pop(int.from_bytes(payload, "little"), None) is None:
            raise Refusal(Trouble.INVALID_AUTH_ID)
        self._lock.changed()
        return self._lock.done()

    # ---- keypad codes and fingerprints (section 9.3) -----------------------------------------------------------------

    def _codes(self, _: User, payload: bytes) -> list[Message]:
        offset, wanted = struct.unpack("<HH", payload)
        codes = self._lock.flash.codes
        part = [codes[number] for number in sorted(codes)][offset : offset + wanted]
        count = Message(code=Code.CODE_COUNT, payload=struct.pack("<H", self._count(len(codes), len(part))))
        always = self._settings.tail_always
        entries = [Message(code=Code.KEYPAD_CODE, payload=code_entry(each, always=always)) for each in part]
        return self._listed(count, entries)

    def _well_coded(self, code: int, limits: bytes) -> bool:
        """Section 11: six digits from 1 to 9, not beginning with 12; the rest is an option of ours."""
        digits = str(code)
        if len(digits) != 6 or "0" in digits or digits.startswith("12"):
            return False
        if self._settings.weak and (len(set(digits)) == 1 or any(digits in run for run in RUNS)):
            return False
        return not (self._settings.refuse_ended and has_ended(limits, self._lock.clock()))

    def _put_code(self, known: KeypadCode, code: int, name: bytes, limits: bytes) -> None:
        """Write what add and update have in common; which error a wrong value gets is unconfirmed (section 10.2)."""
        if not self._well_coded(code, limits):
            raise Refusal(Trouble.BAD_PARAMETER)
        others = self._lock.flash.codes.values()
        if any(other.code == code and other.code_id != known.code_id for other in others):
            raise Refusal(Trouble.CODE_ALREADY_EXISTS)
        self._written += 1
        wrong = self._written == self._settings.keeps_wrong
        known.code, known.name, known.limits = code, cut_name(name), b"" if wrong else limits

    def _add_code(self, _: User, payload: bytes) -> list[Message]:
        self._added += 1
        code, name, limited, tail = struct.unpack(f"<I20sB{LIMIT_BYTES}s", payload)
        limits = self._limits(limited, tail)
        flash, created = self._lock.flash, self._now()
        known = KeypadCode(code_id=flash.next_code_id, code=0, name=b"", created=created)
        if self._added == self._settings.refuse_add:
            raise Refusal(Trouble.BAD_PARAMETER)
        if len(flash.codes) >= self._settings.code_room or known.code_id > LAST_CODE_ID:
            raise Refusal(Trouble.TOO_MANY_ENTRIES)
        self._put_code(known, code, name, limits)
        flash.codes[known.code_id] = known
        flash.next_code_id += 1
        self._lock.changed()
        return self._numbered(Code.CODE_ID, struct.pack("<H", known.code_id) + created)

    def _update_code(self, _: User, payload: bytes) -> list[Message]:
        number, code, name, enabled, limited, tail = struct.unpack(f"<HI20sBB{LIMIT_BYTES}s", payload)
        limits = self._limits(limited, tail)
        known = self._lock.flash.codes.get(number)
        if known is None or enabled > 1:
            raise Refusal(Trouble.BAD_PARAMETER)
        self._put_code(known, code, name, limits)
        known.enabled = bool(enabled)
        self._lock.changed()
        return self._lock.done()

    def _remove_code(self, _: User, payload: bytes) -> list[Message]:
        """Deleting a code deletes its fingerprints."""
        flash, number = self._lock.flash, int.from_bytes(payload, "little")
        if flash.codes.pop(number, None) is None:
            raise Refusal(Trouble.BAD_PARAMETER)
        flash.fingerprints = [finger for finger in flash.fingerprints if finger.code_id != number]
        self._lock.changed()
        return self._lock.done()

    def _fingerprints(self, _: User, __: bytes) -> list[Message]:
        """Undocumented (B). That a lock without a Keypad 2 does not know the command is unconfirmed."""
        flash = self._lock.flash
        if not flash.config.has_keypad_2:
            raise Refusal(Trouble.UNKNOWN)
        return self._listed(
            None, [Message(code=Code.FINGERPRINT, payload=fingerprint_entry(each)) for each in flash.fingerprints]
        )

    def _numbered(self, code: Code, payload: bytes) -> list[Message]:
        """Section 9.3: the new id; a Status may follow (unconfirmed)."""
        return [Message(code=code, payload=payload), *([status()] if self._settings.status_after_id else [])]

    # ---- time control (section 9.4) ----------------------------------------------------------------------------------

    def _timers(self, _: User, __: bytes) -> list[Message]:
        timers = self._lock.flash.timers
        number = min(self._count(len(timers), len(timers)), 0xFF)
        count = Message(code=Code.TIMER_COUNT, payload=bytes([number]))
        entries = [Message(code=Code.TIMER, payload=timer_entry(timers[each])) for each in sorted(timers)]
        return self._listed(count, entries)

    def _put_timer(self, known: Timer, weekdays: int, hour: int, minute: int, action: int) -> None:
        if weekdays > ALL_DAYS or not well_timed(hour, minute) or action not in LOCK_ACTIONS:
            raise Refusal(Trouble.BAD_PARAMETER)
        known.weekdays, known.hour, known.minute, known.action = weekdays, hour, minute, action

    def _add_timer(self, _: User, payload: bytes) -> list[Message]:
        flash = self._lock.flash
        known = Timer(entry_id=flash.next_timer_id)
        if len(flash.timers) >= self._settings.timer_room or known.entry_id > LAST_TIMER_ID:
            raise Refusal(Trouble.TOO_MANY_ENTRIES)
        self._put_timer(known, *payload)
        flash.timers[known.entry_id] = known
        flash.next_timer_id += 1
        self._lock.changed()
        return self._numbered(Code.TIMER_ID, bytes([known.entry_id]))

    def _update_timer(self, _: User, payload: bytes) -> list[Message]:
        number, enabled, *rest = payload
        known = self._lock.flash.timers.get(number)
        if known is None or enabled > 1:
            raise Refusal(Trouble.BAD_PARAMETER)
        self._put_timer(known, *rest)
        known.enabled = bool(enabled)
        self._lock.changed()
        return self._lock.done()

    def _remove_timer(self, _: User, payload: bytes) -> list[Message]:
        if self._lock.flash.timers.pop(payload[0], None) is None:
            raise Refusal(Trouble.BAD_PARAMETER)
        self._lock.changed()
        return self._lock.done()

    # ---- log (section 9.6) -------------------------------------------------------------------------------------------

    def _log(self, _: User, payload: bytes) -> list[Message]:
        """Start index exclusive; 0 is from the newest or the oldest end."""
        start, wanted, order, totals = struct.unpack("<IHBB", payload)
        if order > 1 or totals > 1:
            raise Refusal(Trouble.BAD_PARAMETER)
        flash = self._lock.flash
        if order:
            lines = [each for each in reversed(flash.log) if not start or each.index < start][:wanted]
        else:
            lines = [each for each in flash.log if each.index > start][:wanted]
        number = min(self._count(len(flash.log), len(lines)), 0xFFFF)
        head = struct.pack("<BHBB", flash.logging, number, flash.door_sensor, flash.door_sensor_logging)
        count = Message(code=Code.LOG_COUNT, payload=head[: self._settings.log_count_bytes])
        size = self._settings.log_data_bytes
        entries = [Message(code=Code.LOG_ENTRY, payload=log_entry(each, padded_to=size)) for each in lines]
        return self._listed(count if totals else None, entries, log=True)
