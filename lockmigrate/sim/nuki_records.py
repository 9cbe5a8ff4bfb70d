"""What a simulated Nuki lock remembers, and how each record looks on the wire.

Names are kept as the bytes that came, without the zeros behind them; limits as the 19 bytes of the time-limit tail, or
none. Section numbers are those of the wire reference of the family.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Final

from msgspec import Meta

DATE_BYTES: Final = 7
NO_DATE: Final = bytes(DATE_BYTES)
LIMIT_BYTES: Final = 19
"""Section 7: allowed from date, until date, weekdays, from time, until time."""
NAME_BYTES: Final = 32
CODE_NAME_BYTES: Final = 20
"""Section 11: names of keypad codes and fingerprints."""
ALL_DAYS: Final = 0x7F

U8 = Annotated[int, Meta(ge=0, le=0xFF)]
U16 = Annotated[int, Meta(ge=0, le=0xFFFF)]
U32 = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]
I16 = Annotated[int, Meta(ge=-0x8000, le=0x7FFF)]
Date = Annotated[bytes, Meta(min_length=DATE_BYTES, max_length=DATE_BYTES)]
Pair = Annotated[bytes, Meta(min_length=2, max_length=2)]
Key = Annotated[bytes, Meta(min_length=32, max_length=32)]
Name = Annotated[bytes, Meta(max_length=NAME_BYTES)]
CodeName = Annotated[bytes, Meta(max_length=CODE_NAME_BYTES)]
Limits = Annotated[bytes, Meta(max_length=LIMIT_BYTES)]
"""What a state file may hold; whoever changes the memory of a running unit keeps to it too."""


@dataclass(kw_only=True)
class User:
    """An authorisation (section 9.2)."""

    authorization_id: U32
    id_type: U8
    """0 app, 1 bridge, 2 fob, 3 keypad."""
    app_id: U32
    """The client's own number, from its pairing; 0 for an invited one."""
    name: Name
    key: Key = field(repr=False)
    enabled: bool = True
    remote: bool = True
    created: Date = NO_DATE
    last_active: Date = NO_DATE
    lock_count: U16 = 0
    limits: Limits = b""


@dataclass(kw_only=True)
class KeypadCode:
    """A code for the keypad (section 9.3)."""

    code_id: U16
    code: U32 = field(repr=False)
    name: CodeName
    enabled: bool = True
    created: Date = NO_DATE
    last_active: Date = NO_DATE
    lock_count: U16 = 0
    limits: Limits = b""


@dataclass(kw_only=True)
class Timer:
    """A time control entry (section 9.4)."""

    entry_id: U8
    enabled: bool = True
    weekdays: U8 = 0
    hour: U8 = 0
    minute: U8 = 0
    action: U8 = 2


@dataclass(kw_only=True)
class Fingerprint:
    """A reference to a finger in the keypad (section 9.3)."""

    finger_id: Key
    code_id: U16
    name: CodeName


@dataclass(kw_only=True)
class LogEntry:
    """A line of the log (section 9.6)."""

    index: U32
    date: Date
    authorization_id: U32
    name: Name
    """Up to 32 bytes; a Keypad 2 leaves rubbish behind the terminator."""
    kind: U8
    data: bytes


@dataclass(kw_only=True)
class Config:
    """The configuration (section 9.5), of a lock and of an Opener. Not in it: numbers that the lock is born with."""

    name: Name
    latitude: float = 0.0
    longitude: float = 0.0
    auto_unlatch: U8 = 0
    pairing_enabled: U8 = 1
    button_enabled: U8 = 1
    led_enabled: U8 = 1
    led_brightness: U8 = 3
    timezone_offset: I16 = 60
    """Minutes."""
    dst_mode: U8 = 1
    has_fob: U8 = 0
    fob_action_1: U8 = 1
    fob_action_2: U8 = 2
    fob_action_3: U8 = 3
    single_lock: U8 = 0
    operating_mode: U8 = 0
    """An Opener's."""
    advertising_mode: U8 = 0
    has_keypad: U8 = 0
    homekit: U8 = 1
    timezone_id: U16 = 37
    device_type: U8 = 0
    capabilities: U8 = 0
    has_keypad_2: U8 = 0
    matter: U8 = 0
    product_variant: U8 = 0


@dataclass(kw_only=True)
class Advanced:
    """The advanced configuration of a lock (section 9.5), and of an Opener (section 9.7, unconfirmed)."""

    total_degrees: U16 = 0
    """From the calibration, never written by a client."""
    unlocked_offset: I16 = 0
    locked_offset: I16 = 0
    single_locked_offset: I16 = 0
    unlocked_to_locked_offset: I16 = 0
    lock_n_go_timeout: U8 = 20
    single_button: U8 = 1
    double_button: U8 = 5
    detached_cylinder: U8 = 0
    battery_type: U8 = 0
    automatic_battery_type: U8 = 1
    unlatch_duration: U8 = 3
    auto_lock_timeout: U16 = 0
    auto_unlock_disabled: U8 = 0
    night_mode: U8 = 0
    night_start: Pair = bytes([22, 0])
    night_end: Pair = bytes([6, 0])
    night_auto_lock: U8 = 0
    night_auto_unlock_disabled: U8 = 0
    night_lock_at_start: U8 = 0
    auto_lock: U8 = 0
    immediate_auto_lock: U8 = 0
    auto_update: U8 = 1
    motor_speed: U8 = 0
    night_slow_speed: U8 = 0
    intercom: Annotated[bytes, Meta(min_length=21, max_length=21)] = bytes(21)
    """An Opener's own settings, never looked into: sources disagree about what they are."""


@dataclass(kw_only=True)
class Flash:
    """What the lock remembers without power."""

    uuid: Annotated[bytes, Meta(min_length=16, max_length=16)]
    """Random, until the next factory reset (section 4)."""
    private_key: Key = field(repr=False)
    pin: U32 = field(default=0, repr=False)
    """0: none set."""
    config: Config
    advanced: Advanced
    users: dict[int, User] = field(default_factory=dict)
    codes: dict[int, KeypadCode] = field(default_factory=dict)
    timers: dict[int, Timer] = field(default_factory=dict)
    fingerprints: list[Fingerprint] = field(default_factory=list)
    log: list[LogEntry] = field(default_factory=list)
    """Oldest first."""
    logging: bool = True
    door_sensor: bool = False
    door_sensor_logging: bool = False
    own_id: int | None = None
    """Whose credential the simulator hands out."""
    next_user_id: U32 = 1
    next_code_id: U16 = 1
    next_timer_id: U16 = 0
    next_log_index: U32 = 1
    update_count: U8 = 0
    clock_offset_s: int = 0
    """How far Update Time has moved the clock."""
    lock_state: U8 = 1
    trigger: U8 = 0
    last_action: Annotated[bytes, Meta(min_length=3, max_length=3)] = bytes([2, 0, 0])
    """Lock action, its trigger, its completion (section 9.1)."""


# ---- dates and limits ------------------------------------------------------------------------------------------------


def encode_date(moment: datetime) -> bytes:
    """Return a date as section 7 lays it out."""
    return struct.pack("<H5B", *moment.timetuple()[:6])


def decode_date(raw: bytes) -> datetime | None:
    """Return what a date says; None where it is not set or none that the calendar knows."""
    try:
        return datetime(*struct.unpack("<H5B", raw))  # noqa: DTZ001 - the wire names no zone
    except ValueError:
        return None


def limits_of(
    since: datetime | None = None,
    until: datetime | None = None,
    weekdays: int = 0,
    start: tuple[int, int] = (0, 0),
    end: tuple[int, int] = (0, 0),
) -> bytes:
    """Build a time-limit tail."""
    dates = [NO_DATE if moment is None else encode_date(moment) for moment in (since, until)]
    return b"".join(dates) + bytes([weekdays, *start, *end])


def well_limited(tail: bytes) -> bool:
    """Tell whether a tail is one that means something. That a lock looks at all of this is unconfirmed."""
    dates = tail[:DATE_BYTES], tail[DATE_BYTES : 2 * DATE_BYTES]
    weekdays, *times = tail[2 * DATE_BYTES :]
    dated = all(date == NO_DATE or decode_date(date) is not None for date in dates)
    return dated and weekdays <= ALL_DAYS and well_timed(*times[:2]) and well_timed(*times[2:])


def well_timed(hour: int, minute: int) -> bool:
    """Tell whether this is a time of day."""
    return hour < 24 and minute < 60


def has_ended(limits: bytes, now: datetime) -> bool:
    """Tell whether limits lie in the past for good."""
    until = decode_date(limits[DATE_BYTES : 2 * DATE_BYTES]) if limits else None
    return until is not None and until < now


# ---- entries ---------------------------------------------------------------------------------------------------------


def _tail(limits: bytes, *, always: bool) -> bytes:
    """Section 7: the tail stands there only if the record is limited, or always (unconfirmed)."""
    return bytes([bool(limits)]) + (limits or (bytes(LIMIT_BYTES) if always else b""))


def user_entry(user: User, *, always: bool) -> bytes:
    """Section 9.2: 56 or 75 bytes."""
    head = struct.pack("<IB32sBB", user.authorization_id, user.id_type, user.name, user.enabled, user.remote)
    dates = user.created + user.last_active
    return head + dates + struct.pack("<H", user.lock_count) + _tail(user.limits, always=always)


def code_entry(code: KeypadCode, *, always: bool) -> bytes:
    """Section 9.3: 44 or 63 bytes."""
    head = struct.pack("<HI20sB", code.code_id, code.code, code.name, code.enabled)
    dates = code.created + code.last_active
    return head + dates + struct.pack("<H", code.lock_count) + _tail(code.limits, always=always)


def timer_entry(timer: Timer) -> bytes:
    """Section 9.4: 6 bytes."""
    return bytes([timer.entry_id, timer.enabled, timer.weekdays, timer.hour, timer.minute, timer.action])


def fingerprint_entry(finger: Fingerprint) -> bytes:
    """Section 9.3: 54 bytes."""
    return struct.pack("<32sH20s", finger.finger_id, finger.code_id, finger.name)


def log_entry(entry: LogEntry, *, padded_to: int) -> bytes:
    """Section 9.6: 48 bytes and the data, on some firmware with zeros behind it."""
    who = struct.pack("<I32sB", entry.authorization_id, entry.name, entry.kind)
    return struct.pack("<I", entry.index) + entry.date + who + entry.data.ljust(padded_to, b"\0")


def cut_name(raw: bytes) -> bytes:
    """Return a name field without the zeros that fill it up."""
    return raw.rstrip(b"\0")


# ---- configuration ---------------------------------------------------------------------------------------------------

Layout = tuple[tuple[str, str], ...]
"""Names of fields in the order of the wire, each with the form that `struct` calls it by."""

LOCK_CONFIG: Final[Layout] = (
    ("nuki_id", "I"), ("name", "32s"), ("latitude", "f"), ("longitude", "f"), ("auto_unlatch", "B"),
    ("pairing_enabled", "B"), ("button_enabled", "B"), ("led_enabled", "B"), ("led_brightness", "B"),
    ("current_time", "7s"), ("timezone_offset", "h"), ("dst_mode", "B"), ("has_fob", "B"), ("fob_action_1", "B"),
    ("fob_action_2", "B"), ("fob_action_3", "B"), ("single_lock", "B"), ("advertising_mode", "B"), ("has_keypad", "B"),
    ("firmware", "3s"), ("hardware", "2s"), ("homekit", "B"), ("timezone_id", "H"), ("device_type", "B"),
    ("capabilities", "B"), ("has_keypad_2", "B"), ("matter", "B"), ("product_variant", "B"),
)  # fmt: skip
"""Section 9.5."""
OPENER_CONFIG: Final[Layout] = (
    ("nuki_id", "I"), ("name", "32s"), ("latitude", "f"), ("longitude", "f"), ("capabilities", "B"),
    ("pairing_enabled", "B"), ("button_enabled", "B"), ("led_enabled", "B"), ("current_time", "7s"),
    ("timezone_offset", "h"), ("dst_mode", "B"), ("has_fob", "B"), ("fob_action_1", "B"), ("fob_action_2", "B"),
    ("fob_action_3", "B"), ("operating_mode", "B"), ("advertising_mode", "B"), ("has_keypad", "B"), ("firmware", "3s"),
    ("hardware", "2s"), ("timezone_id", "H"), ("has_keypad_2", "B"),
)  # fmt: skip
"""Section 9.7."""
_NOT_SET: Final = frozenset(
    {"nuki_id", "current_time", "has_fob", "has_keypad", "firmware", "hardware", "homekit", "device_type"}
    | {"has_keypad_2", "matter", "product_variant"}
)
"""Section 9.5: fields that Set Config does not have, and `capabilities` of a lock."""
LOCK_SETTINGS: Final[Layout] = tuple(item for item in LOCK_CONFIG if item[0] not in _NOT_SET | {"capabilities"})
OPENER_SETTINGS: Final[Layout] = tuple(item for item in OPENER_CONFIG if item[0] not in _NOT_SET)
LOCK_ADVANCED: Final[Layout] = (
    ("total_degrees", "H"), ("unlocked_offset", "h"), ("locked_offset", "h"), ("single_locked_offset", "h"),
    ("unlocked_to_locked_offset", "h"), ("lock_n_go_timeout", "B"), ("single_button", "B"), ("double_button", "B"),
    ("detached_cylinder", "B"), ("battery_type", "B"), ("automatic_battery_type", "B"), ("unlatch_duration", "B"),
    ("auto_lock_timeout", "H"), ("auto_unlock_disabled", "B"), ("night_mode", "B"), ("night_start", "2s"),
    ("night_end", "2s"), ("night_auto_lock", "B"), ("night_auto_unlock_disabled", "B"), ("night_lock_at_start", "B"),
    ("auto_lock", "B"), ("immediate_auto_lock", "B"), ("auto_update", "B"), ("motor_speed", "B"),
    ("night_slow_speed", "B"),
)  # fmt: skip
"""Section 9.5; the first of them is left out when they are set."""
OPENER_ADVANCED: Final[Layout] = (
    ("intercom", "21s"), ("single_button", "B"), ("double_button", "B"), ("battery_type", "B"),
    ("automatic_battery_type", "B"), ("auto_update", "B"),
)  # fmt: skip
"""Section 9.7, as NukiBleEsp32 has it (with its unknown byte); unconfirmed."""

HIGHEST: Final = {
    **dict.fromkeys(("auto_unlatch", "pairing_enabled", "button_enabled", "led_enabled", "dst_mode", "single_lock"), 1),
    **dict.fromkeys(("detached_cylinder", "automatic_battery_type", "auto_unlock_disabled", "night_mode"), 1),
    **dict.fromkeys(("night_auto_lock", "night_auto_unlock_disabled", "night_lock_at_start", "auto_lock"), 1),
    **dict.fromkeys(("immediate_auto_lock", "auto_update", "night_slow_speed"), 1),
    **dict.fromkeys(("fob_action_1", "fob_action_2", "fob_action_3"), 4),
    "led_brightness": 5,
    "advertising_mode": 3,
    "battery_type": 2,
    "motor_speed": 2,
}
"""Highest value of a field that is set; which of them a lock checks is unconfirmed."""
LAST_TIMEZONE: Final = 45
NO_TIMEZONE: Final = 0xFFFF
"""Section 10.3."""


def cut_layout(layout: Layout, size: int) -> Layout:
    """Return as many fields as fit into so many bytes."""
    kept: list[tuple[str, str]] = []
    for item in layout:
        size -= struct.calcsize("<" + item[1])
        if size < 0:
            break
        kept.append(item)
    return tuple(kept)


def size_of(layout: Layout) -> int:
    """Return how many bytes a layout has."""
    return struct.calcsize("<" + "".join(form for _, form in layout))


def packed(layout: Layout, values: Mapping[str, Any]) -> bytes:
    """Lay fields out."""
    return struct.pack("<" + "".join(form for _, form in layout), *(values[name] for name, _ in layout))


def unpacked(layout: Layout, raw: bytes) -> dict[str, Any]:
    """Read fields; names without the zeros behind them."""
    found = struct.unpack("<" + "".join(form for _, form in layout), raw)
    values = dict(zip((name for name, _ in layout), found, strict=True))
    if "name" in values:
        values["name"] = cut_name(values["name"])
    return values


def well_set(values: Mapping[str, Any], *, opener: bool) -> bool:
    """Tell whether a unit takes these settings; an Opener knows one button action more."""
    highest = HIGHEST | dict.fromkeys(("single_button", "double_button"), 7 if opener else 6)
    if any(value > highest.get(name, value) for name, value in values.items() if isinstance(value, int)):
        return False
    zone = values.get("timezone_id", 0)
    latitude, longitude = values.get("latitude", 0.0), values.get("longitude", 0.0)
    placed = -90 <= latitude <= 90 and -180 <= longitude <= 180
    times = [values[name] for name in ("night_start", "night_end") if name in values]
    return placed and (zone <= LAST_TIMEZONE or zone == NO_TIMEZONE) and all(well_timed(*time) for time in times)
