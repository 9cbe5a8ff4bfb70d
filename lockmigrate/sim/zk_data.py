"""What a simulated ZKTeco-style terminal is and holds: its options, its settings, its flash and its state file.

Section numbers are those of the wire reference of the family (ZKTeco standalone terminals).
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lockmigrate.errors import FileTrouble, TargetError
from lockmigrate.profiles import Profile
from lockmigrate.sim.unit import FAULT_KINDS, Options, unknown

STATE_MARK: Final = b"lockmigrate simulated zk 1\n"
ZONES, GROUPS, COMBINATIONS = 50, 100, 10
"""Section 8: how many of each there are."""
FULL_DAY: Final = bytes([0, 0, 23, 59]) * 7
"""Section 8: the default time zone."""
MAX_TEMPLATE_BYTES: Final = {9: 602, 10: 16383}
"""Section 7: version 9 at most 602 bytes, version 10 less than 16 KB."""
STATES: Final = {"none": 0, "enrolling": 1, "identifying": 2, "menu": 3, "busy": 4, "writing": 5}
"""Section 5: the state word."""
POWERLOSS: Final = ("never", "after-1501", "during-110", "after-110", "after-8", "after-87")
"""When the power fails, once: after the last DATA of an upload was answered; with half of what 110 writes; and after a
write was done but not answered."""

OPTIONS: Final[dict[str, str]] = {
    "seed": "another unit with other people",
    "users": "how many users the preset makes",
    "fill": "the same, by the name that other families give it",
    "fingers": "how many templates each of them has, 0 to 10",
    "width": "bytes of a user record: 72 or 28",
    "fp": "version of its templates: 10 or 9",
    "comm_key": "the comm key; 0 is none",
    "session": "every session gets this number",
    "bulk": "one: a part of a table comes in one DATA packet; split: in packets of 1008 bytes (UDP: always 1024)",
    "pace": "milliseconds between the packets of a split reply",
    "small": "0: no short cut for tables of 1 KB",
    "capacity": "how many users fit",
    "template_capacity": "how many templates fit",
    "capacity_bytes": "length of the capacity table: 80 or 92",
    "names": "utf-8, gbk or junk (bytes that are neither)",
    "access": "mixed, or plain: everybody in the first group, no time zones or ways of verifying of their own",
    "holes": "1: the uids have holes and exceed the number of users",
    "duress": "1: one finger has the duress flag",
    "zones": "0: commands 21 to 30 are unknown",
    "verify": "0: commands 79 and 80 are unknown",
    "attendance": "how many lines the attendance log has",
    "att": "bytes of one of them: 8, 16 or 40",
    "firmware": "what GET_VERSION answers",
    "serial": "the serial number",
    "platform": "the platform name",
    "dribble": "1: TCP answers leave a few bytes at a time",
    "events": "an event after every so many packets, once the host has registered for events",
    "unasked": "1: and before that, too",
    "busy": "enrolling, identifying, menu, busy or writing; with :N only until N commands were refused",
    "lag": "1: the counters of the capacity table change only with REFRESHDATA",
    "duplicates": "uid or userid: two records of the user table have the same",
    "orphan": "1: one template's user is not in the table",
    "count_off": "the capacity table counts so many users and templates too many",
    "closing_session": "1: the OK that closes a split reply carries the session, not the last packet's number",
    "size10": "whole: the size in command 10 counts its six bytes of head; bare: it does not",
    "nineteen": "one: command 19 deletes one template; all: every template of the user",
    "powerloss": "when the power fails, once: " + ", ".join(POWERLOSS[1:]),
    "quirks": "awkward firmware, see QUIRKS",
    "transport": "tcp or udp",
    **dict.fromkeys(FAULT_KINDS, "a fault of the line, such as out:frame:12"),
}
"""Option to what it does."""
OPTION_NAMES: Final = tuple(OPTIONS)
QUIRKS: Final = {
    "no-1503": "PREPARE_BUFFER answers ERROR: old firmware",
    "no-88": "GET_USERTEMP is unknown",
    "no-87": "TMP_WRITE is unknown",
    "no-110": "SAVE_USERTEMPS is unknown",
    "no-134": "DEL_USER_TEMP is unknown",
    "no-119": "CHECKSUM_BUFFER is unknown",
    "needs-119": "TMP_WRITE without CHECKSUM_BUFFER before it answers ERROR",
    "no-seconds": "DISABLEDEVICE with seconds answers ERROR",
    "no-50": "GET_FREE_SIZES answers ERROR",
    "no-options": "OPTIONS_RRQ answers ERROR to every name but ~SerialNumber",
    "stray-byte": "the answer to CONNECT carries one byte of data",
    "two-segments": "a DATA packet leaves as 112 bytes and the rest, as on a K20",
    "repeat": "a packet with a wrong sum is answered with REPEAT instead of nothing",
    "silent-unknown": "an unknown command gets no answer at all",
    "free-lost": "FREE_DATA gets no answer",
    "refuse-put": "UID[:TIMES] writing this user or a template of it answers ERROR",
    "readback-differs": "UID[:TIMES] a damaged copy of this user's template is kept",
    "user-differs": "UID[:TIMES] this user is kept with another group",
}
"""Awkward firmware: name to what it does; `UID[:TIMES]` follows some after a colon, always without TIMES for refuse-put
and once for the others."""


@dataclass(frozen=True, slots=True)
class Record:
    """Where things stand in a user record (section 7)."""

    bytes: int
    password_bytes: int
    name_at: int
    name_bytes: int
    card_at: int
    group_at: int
    user_id_at: int


RECORDS: Final = {
    72: Record(72, 8, 11, 24, 35, 39, 48),
    28: Record(28, 5, 8, 8, 16, 21, 24),
}
PRIVILEGE_AT, PASSWORD_AT = 2, 3
"""The same in both."""


def user_id_of(record: bytes) -> bytes:
    """Return a user id as text without its padding (section 7)."""
    at = RECORDS[len(record)].user_id_at
    if len(record) == 28:
        return str(int.from_bytes(record[at:], "little")).encode()
    return record[at:].split(b"\0")[0]


@dataclass(kw_only=True)
class Settings:
    """What a terminal is: never changed by a command."""

    seed: int
    width: int
    fp: int
    session: int | None
    split: bool
    pace_s: float
    small: bool
    user_capacity: int
    template_capacity: int
    attendance_capacity: int
    capacity_bytes: int
    attendance_bytes: int
    zones: bool
    verify: bool
    dribble: bool
    events: int
    unasked: bool
    state: int
    refusals: int
    lag: bool
    count_off: int
    closing_session: bool
    size10_whole: bool
    nineteen_all: bool
    powerloss: str
    datagrams: bool
    serial: str
    firmware: str
    quirks: set[str]
    uid_quirks: dict[tuple[str, int], int]
    """Quirk and uid to how many times it is still to happen."""

    @property
    def record(self) -> Record:
        """Where things stand in its user records."""
        return RECORDS[self.width]

    def happens(self, quirk: str, uid: int) -> bool:
        """Tell whether a user's quirk strikes now, and use it up."""
        left = self.uid_quirks.get((quirk, uid), 0)
        if left > 0:
            self.uid_quirks[quirk, uid] = left - 1
        return left > 0


_ENTRY: Final = struct.Struct("<HBBH")


@dataclass(kw_only=True)
class Flash:
    """What a terminal keeps. The tables come out in the order of these dictionaries."""

    users: dict[int, bytes] = field(default_factory=dict)
    """uid to the raw record."""
    doubles: list[bytes] = field(default_factory=list)
    """Records at the end of the user table whose uid stands in `users` as well: a damaged table."""
    templates: dict[tuple[int, int], tuple[int, bytes]] = field(default_factory=dict)
    """uid and finger to flag and template."""
    zones: dict[int, bytes] = field(default_factory=dict)
    """Time zone to its 28 bytes."""
    groups: dict[int, bytes] = field(default_factory=dict)
    """Group to its 8 bytes, the number included."""
    combinations: dict[int, bytes] = field(default_factory=dict)
    """Unlock combination to its 8 bytes, the number included."""
    verify: dict[int, int] = field(default_factory=dict)
    """uid to verify style as on the wire; 0, the group's, is not kept."""
    attlog: list[bytes] = field(default_factory=list)
    oplog: list[bytes] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)
    comm_key: int = 0
    time_offset_s: int = 0
    """How far SET_TIME has moved the clock."""
    enabled: bool = True
    disabled_until_s: float | None = None
    """On the caller's clock, where DISABLEDEVICE named a time."""

    def reset_access(self) -> None:
        """Set time zones, groups and combinations as from the factory (section 8)."""
        self.zones = dict.fromkeys(range(1, ZONES + 1), FULL_DAY)
        self.groups = {n: bytes([n, int(n == 1), 0, 0, 0, 0, 0, 0]) for n in range(1, GROUPS + 1)}
        self.combinations = {n: bytes([n, 0, 0, 0, 0, 0, 0, 0]) for n in range(1, COMBINATIONS + 1)}
        self.combinations[1] = bytes([1, 1, 0, 0, 0, 0, 1, 0])

    def delete_user(self, uid: int) -> None:
        """Remove a user with its templates and its verify style."""
        self.users.pop(uid, None)
        self.doubles = [record for record in self.doubles if _uid(record) != uid]
        self.verify.pop(uid, None)
        for key in [key for key in self.templates if key[0] == uid]:
            del self.templates[key]

    def image(self) -> bytes:
        """Return everything about users and doors, whatever the order of the tables: a line of JSON, the records."""
        head = {
            "combinations": _hexed(self.combinations),
            "doubles": len(self.doubles),
            "groups": _hexed(self.groups),
            "users": len(self.users),
            "verify": {str(uid): style for uid, style in sorted(self.verify.items())},
            "width": len(next(iter(self.users.values()), b"")),
            "zones": _hexed(self.zones),
        }
        records = [record for _, record in sorted(self.users.items())] + sorted(self.doubles)
        entries = [
            _ENTRY.pack(uid, finger, flag, len(template)) + template
            for (uid, finger), (flag, template) in sorted(self.templates.items())
        ]
        return _line(head) + b"".join(records) + b"".join(entries)

    @classmethod
    def of_image(cls, image: bytes) -> Flash:
        """Read what `image` wrote; ValueError, KeyError, TypeError or struct.error where it did not."""
        line, _, rest = image.partition(b"\n")
        head = json.loads(line)
        flash = cls(
            zones=_unhexed(head["zones"]),
            groups=_unhexed(head["groups"]),
            combinations=_unhexed(head["combinations"]),
            verify={int(uid): int(style) for uid, style in head["verify"].items()},
        )
        width, users = int(head["width"]), int(head["users"])
        at = width * (users + int(head["doubles"]))
        records = [rest[start : start + width] for start in range(0, at, width)] if width else []
        flash.users = {_uid(record): record for record in records[:users]}
        flash.doubles = records[users:]
        while at < len(rest):
            uid, finger, flag, size = _ENTRY.unpack_from(rest, at)
            at += _ENTRY.size + size
            flash.templates[uid, finger] = flag, rest[at - size : at]
        if at != len(rest):
            raise ValueError("cut short")
        return flash


def settings_of(profile: Profile, preset: str, options: Options) -> Settings:
    """Work out what the terminal is: an option, else the profile's `[simulated]`, else a default.

    Raises:
        TargetError: an option has an impossible value.
    """
    known = profile.simulated
    quirks, uid_quirks = _quirks(options.text("quirks", ""))
    seed = options.integer("seed", 1, low=0, high=2**63)
    width = int(options.choice("width", str(known.get("user_bytes", 72)), ("72", "28")))
    modern = "1" if width == 72 else "0"
    huge = preset == "huge"
    state, refusals = _busy(options.text("busy", "none"))
    settings = Settings(
        seed=seed,
        width=width,
        fp=int(options.choice("fp", str(known.get("fp_version", 10)), ("9", "10"))),
        session=options.integer("session", 0, low=1, high=65535) if "session" in options else None,
        split=options.choice("bulk", "one", ("one", "split")) == "split",
        pace_s=options.integer("pace", 0, low=0, high=10000) / 1000,
        small=options.flag("small", default=True),
        user_capacity=options.integer("capacity", _room(known, "user_capacity", huge, 3000), low=0, high=65535),
        template_capacity=options.integer(
            "template_capacity", _room(known, "template_capacity", huge, 3000), low=0, high=655350
        ),
        attendance_capacity=int(known.get("attendance_capacity", 100000)),
        capacity_bytes=int(options.choice("capacity_bytes", str(known.get("capacity_bytes", 92)), ("80", "92"))),
        attendance_bytes=int(options.choice("att", str(known.get("attendance_bytes", 40)), ("8", "16", "40"))),
        zones=options.choice("zones", modern, ("0", "1")) == "1",
        verify=options.choice("verify", modern, ("0", "1")) == "1",
        dribble=options.flag("dribble"),
        events=options.integer("events", 0, low=0, high=100000),
        unasked=options.flag("unasked"),
        state=state,
        refusals=refusals,
        lag=options.flag("lag"),
        count_off=options.integer("count_off", 0, low=0, high=1000),
        closing_session=options.flag("closing_session"),
        size10_whole=options.choice("size10", "whole", ("whole", "bare")) == "whole",
        nineteen_all=options.choice("nineteen", "one", ("one", "all")) == "all",
        powerloss=options.choice("powerloss", "never", POWERLOSS),
        datagrams=options.choice("transport", "tcp", ("tcp", "udp")) == "udp",
        serial=options.text("serial", _serial(str(known.get("serial", "SIM0000000001")), preset, seed)),
        firmware=options.text("firmware", str(known.get("firmware", "Ver 6.60 Simulated"))),
        quirks=quirks,
        uid_quirks=uid_quirks,
    )
    if not (settings.serial.isascii() and settings.firmware.isascii()):
        raise TargetError("serial and firmware: only ASCII is told on the wire")
    return settings


_KEPT: Final = ("serial", "width", "fp", "user_capacity", "template_capacity", "attendance_bytes")


def load_state(path: Path, profile: Profile, settings: Settings) -> Flash | None:
    """Read a state file into a flash, and what the unit is into `settings`; None where there is no file.

    Raises:
        FileTrouble: it cannot be read.
        TargetError: it is not ours, or another model's.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FileTrouble(f"cannot read the state file {path}: {error.strerror or 'it cannot be opened'}") from None
    try:
        mark, head_line, image = content[: len(STATE_MARK)], *content[len(STATE_MARK) :].split(b"\n", 1)
        head = json.loads(head_line)
        flash = Flash.of_image(image)
        flash.users = {uid: flash.users[uid] for uid in head["user_order"]}
        flash.templates = {(uid, finger): flash.templates[uid, finger] for uid, finger in head["template_order"]}
        flash.attlog = [bytes.fromhex(text) for text in head["attlog"]]
        flash.oplog = [bytes.fromhex(text) for text in head["oplog"]]
        flash.options = {str(key): str(value) for key, value in head["options"].items()}
        flash.comm_key, flash.time_offset_s = int(head["comm_key"]), int(head["time_offset_s"])
        name, kept = str(head["profile"]), {key: head["settings"][key] for key in _KEPT}
        well = mark == STATE_MARK and head["crc"] == zlib.crc32(image)
    except (ValueError, KeyError, TypeError, ArithmeticError, AttributeError, struct.error):
        well = False
    if not well:
        raise TargetError(f"{path}: not the state of a simulated zk unit")
    if name != profile.name:
        raise TargetError(f'{path}: this is the state of a simulated "{name}"', hint="name another file with --state")
    for key, value in kept.items():
        setattr(settings, key, value)
    return flash


def state_of(profile: Profile, settings: Settings, flash: Flash) -> bytes:
    """Return what `load_state` reads."""
    image = flash.image()
    head = {
        "attlog": [line.hex() for line in flash.attlog],
        "comm_key": flash.comm_key,
        "crc": zlib.crc32(image),
        "oplog": [line.hex() for line in flash.oplog],
        "options": flash.options,
        "profile": profile.name,
        "settings": {key: getattr(settings, key) for key in _KEPT},
        "template_order": list(flash.templates),
        "time_offset_s": flash.time_offset_s,
        "user_order": list(flash.users),
    }
    return STATE_MARK + _line(head) + image


def _line(head: Mapping[str, Any]) -> bytes:
    return json.dumps(head, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _hexed(table: Mapping[int, bytes]) -> dict[str, str]:
    return {str(number): table[number].hex() for number in sorted(table)}


def _unhexed(table: Mapping[str, str]) -> dict[int, bytes]:
    return {int(number): bytes.fromhex(text) for number, text in sorted(table.items(), key=lambda item: int(item[0]))}


def _uid(record: bytes) -> int:
    return int.from_bytes(record[:2], "little")


def _room(known: Mapping[str, Any], name: str, huge: bool, usual: int) -> int:
    """Return a capacity; a huge unit has more."""
    room = int(known.get(name, usual))
    return max(room, 5000) if huge else room


def _busy(text: str) -> tuple[int, int]:
    """Return the state word, and how many commands are refused because of it."""
    word, colon, times = text.partition(":")
    if word not in STATES:
        raise unknown("state", word, STATES)
    if colon and not (times.isascii() and times.isdigit()):
        raise TargetError(f'busy: "{text}" is not understood', hint="write it like menu or menu:2")
    return STATES[word], (int(times) if colon else 10**9)


def _serial(base: str, preset: str, seed: int) -> str:
    """Give every preset and seed a number of its own, of the length that the profile shows."""
    if (preset, seed) == ("full", 1):
        return base
    digits = min(6, len(base))
    return base[: len(base) - digits] + f"{zlib.crc32(f'{base} {preset} {seed}'.encode()) % 10**digits:0{digits}d}"


def _quirks(text: str) -> tuple[set[str], dict[tuple[str, int], int]]:
    plain: set[str] = set()
    by_uid: dict[tuple[str, int], int] = {}
    for item in filter(None, text.split(",")):
        name, *numbers = item.split(":")
        if name not in QUIRKS:
            raise unknown("quirk", name, QUIRKS)
        wants_uid = "UID" in QUIRKS[name]
        well = all(number.isascii() and number.isdigit() for number in numbers)
        if not well or len(numbers) not in ((1, 2) if wants_uid else (0,)):
            form = f"{name}:UID or {name}:UID:TIMES" if wants_uid else name
            raise TargetError(f'quirks: "{item}" is not understood', hint=f"write it as {form}")
        if wants_uid:
            usual = 10**9 if name == "refuse-put" else 1
            by_uid[name, int(numbers[0])] = int(numbers[1]) if len(numbers) == 2 else usual
        else:
            plain.add(name)
    return plain, by_uid
