"""Configuration of Nuki locks: Config and Advanced Config field by field, and back (no I/O).

Section numbers are those of the Nuki reference (9.5). Both grow with the firmware: a lock is sent as many fields as it
gave out itself, never another lock's number of them.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from lockmigrate.errors import FrameError

NAME_BYTES: Final = 32
CONFIG_BYTES: Final = 71
"""The fields up to the hardware revision; all behind them is absent on some firmware (9.5)."""
SET_CONFIG_BYTES: Final = 55
TOTAL_DEGREES_BYTES: Final = 2
"""Begins Advanced Config and is no part of Set Advanced Config."""
LEAST_ADVANCED: Final = 18
"""Older firmware may end after the auto lock time-out (9.5)."""

Kind = Literal["u8", "u16", "i16", "f32", "text", "time"]
_SIZES: Final[Mapping[Kind, int]] = {"u8": 1, "u16": 2, "i16": 2, "f32": 4, "text": NAME_BYTES, "time": 2}
Value = int | str


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a configuration."""

    name: str
    kind: Kind
    at: int
    """Offset in what the lock gives out."""
    set_at: int | None = None
    """Offset in what is written; None where it cannot be."""
    bound: bool = False
    """Measured on this door, or belonging to this unit."""
    unit: str | None = None

    @property
    def end(self) -> int:
        return self.at + _SIZES[self.kind]


CONFIG: Final = (
    Field("name", "text", 4, 0),
    Field("latitude", "f32", 36, 32, unit="degrees"),
    Field("longitude", "f32", 40, 36, unit="degrees"),
    Field("auto_unlatch", "u8", 44, 40),
    Field("pairing_enabled", "u8", 45, 41),
    Field("button_enabled", "u8", 46, 42),
    Field("led_enabled", "u8", 47, 43),
    Field("led_brightness", "u8", 48, 44),
    Field("timezone_offset_min", "i16", 56, 45, unit="min"),
    Field("dst_mode", "u8", 58, 47),
    Field("fob_action_1", "u8", 60, 48),
    Field("fob_action_2", "u8", 61, 49),
    Field("fob_action_3", "u8", 62, 50),
    Field("single_lock", "u8", 63, 51),
    Field("advertising_mode", "u8", 64, 52),
    Field("timezone_id", "u16", 72, 53),
)
"""Fields of Config 0x0015 that Set Config 0x0013 writes. The others are facts about the unit."""
_ADVANCED: Final[tuple[tuple[str, Kind, bool, str | None], ...]] = (
    ("unlocked_offset", "i16", True, "degrees"),
    ("locked_offset", "i16", True, "degrees"),
    ("single_locked_offset", "i16", True, "degrees"),
    ("unlocked_to_locked_offset", "i16", True, "degrees"),
    ("lock_n_go_timeout_s", "u8", False, "s"),
    ("single_button_action", "u8", False, None),
    ("double_button_action", "u8", False, None),
    ("detached_cylinder", "u8", True, None),
    ("battery_type", "u8", False, None),
    ("automatic_battery_type", "u8", False, None),
    ("unlatch_duration_s", "u8", False, "s"),
    ("auto_lock_timeout_s", "u16", False, "s"),
    ("auto_unlock_disabled", "u8", False, None),
    ("night_mode_enabled", "u8", False, None),
    ("night_mode_start", "time", False, None),
    ("night_mode_end", "time", False, None),
    ("night_mode_auto_lock", "u8", False, None),
    ("night_mode_auto_unlock_disabled", "u8", False, None),
    ("night_mode_lock_at_start", "u8", False, None),
    ("auto_lock_enabled", "u8", False, None),
    ("immediate_auto_lock", "u8", False, None),
    ("auto_update_enabled", "u8", False, None),
    ("motor_speed", "u8", False, None),
    ("slow_speed_at_night", "u8", False, None),
)


def _laid_out() -> tuple[Field, ...]:
    at, fields = TOTAL_DEGREES_BYTES, []
    for name, kind, bound, unit in _ADVANCED:
        fields.append(Field(name, kind, at, at - TOTAL_DEGREES_BYTES, bound, unit))
        at += _SIZES[kind]
    return tuple(fields)


ADVANCED: Final = _laid_out()
"""Fields of Advanced Config 0x0037 behind the total degrees, in their order."""
BY_NAME: Final = {item.name: item for item in (*CONFIG, *ADVANCED)}
ZONE_FIELDS: Final = ("timezone_offset_min", "dst_mode", "timezone_id")
"""Without these being right, weekdays and times of day mean other hours (section 7)."""
CYLINDER_FIELDS: Final = tuple(item.name for item in ADVANCED if item.bound)
"""Position offsets and the detached cylinder: right only on the same door and cylinder (section 12)."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What Config says of the unit itself; None where the firmware does not send it."""

    nuki_id: int
    name: bytes
    has_fob: bool
    has_keypad: bool
    has_keypad_2: bool
    firmware: str
    hardware: str
    homekit: int | None
    device_type: int | None
    timezone_offset_min: int
    dst_mode: int
    timezone_id: int | None


def parse_facts(raw: bytes) -> Facts:
    """Read what a lock's Config says of it (offsets of 9.5).

    Raises:
        FrameError: it is shorter than any firmware's.
    """
    if len(raw) < CONFIG_BYTES:
        raise FrameError(f"a configuration of {len(raw)} bytes")
    return Facts(
        nuki_id=int.from_bytes(raw[:4], "little"),
        name=raw[4:36],
        has_fob=raw[59] != 0,
        has_keypad=raw[65] != 0,
        has_keypad_2=len(raw) > 76 and raw[76] != 0,
        firmware=".".join(str(part) for part in raw[66:69]),
        hardware=".".join(str(part) for part in raw[69:71]),
        homekit=raw[71] if len(raw) > 71 else None,
        device_type=raw[74] if len(raw) > 74 else None,
        timezone_offset_min=int.from_bytes(raw[56:58], "little", signed=True),
        dst_mode=raw[58],
        timezone_id=int.from_bytes(raw[72:74], "little") if len(raw) >= 74 else None,
    )


def values_of(raw: bytes, fields: tuple[Field, ...]) -> dict[str, Value]:
    """Return each field that this firmware sends, by its name."""
    return {item.name: _read(raw, item) for item in fields if item.end <= len(raw)}


def _read(raw: bytes, item: Field) -> Value:
    data = raw[item.at : item.end]
    if item.kind == "text":
        text = data.rstrip(b"\x00")
        try:
            return f"hex:{data.hex()}" if b"\x00" in text or text.startswith(b"hex:") else text.decode("utf-8")
        except UnicodeDecodeError:
            return f"hex:{data.hex()}"
    if item.kind == "f32":
        return f"{struct.unpack('<f', data)[0]:.9g}"  # nine digits give the same four bytes again
    if item.kind == "time":
        return f"{data[0]:02}:{data[1]:02}"
    return int.from_bytes(data, "little", signed=item.kind == "i16")


def _written(item: Field, value: Value) -> bytes:
    try:
        if item.kind == "text":
            text = str(value)
            data = bytes.fromhex(text[4:]) if text.startswith("hex:") else text.encode("utf-8")
        elif item.kind == "f32":
            data = struct.pack("<f", float(value))
        elif item.kind == "time":
            data = bytes(int(part) for part in str(value).split(":"))
        else:
            data = int(value).to_bytes(_SIZES[item.kind], "little", signed=item.kind == "i16")
    except (ValueError, OverflowError):
        data = bytes(NAME_BYTES + 1)
    if item.kind == "text":
        data = data + bytes(max(0, NAME_BYTES - len(data)))
    if len(data) != _SIZES[item.kind]:
        raise FrameError(f"{item.name} cannot hold this value")
    return data


def set_config(current: bytes, changes: Mapping[str, Value]) -> bytes:
    """Return the payload of Set Config, 55 bytes: what the lock has now, with some fields changed.

    Raises:
        FrameError: a value does not fit its field, or this firmware has no such field.
    """
    if len(current) < 74:
        raise FrameError("a lock with so old a firmware takes no configuration that we know")
    payload = bytearray(SET_CONFIG_BYTES)
    for item in CONFIG:
        assert item.set_at is not None  # noqa: S101 - all of CONFIG can be set
        payload[item.set_at : item.set_at + _SIZES[item.kind]] = current[item.at : item.end]
    return _changed(payload, CONFIG, changes)


def set_advanced(current: bytes, changes: Mapping[str, Value]) -> bytes:
    """Return the payload of Set Advanced Config: as many bytes as the lock gave out itself, less the total degrees.

    Raises:
        FrameError: a value does not fit its field, or this firmware has no such field.
    """
    return _changed(bytearray(current[TOTAL_DEGREES_BYTES:]), ADVANCED, changes)


def _changed(payload: bytearray, fields: tuple[Field, ...], changes: Mapping[str, Value]) -> bytes:
    known = {item.name: item for item in fields}
    for name, value in changes.items():
        item = known.get(name)
        end = None if item is None or item.set_at is None else item.set_at + _SIZES[item.kind]
        if item is None or end is None or end > len(payload):
            raise FrameError(f"this firmware has no setting {name}")
        payload[item.set_at : end] = _written(item, value)
    return bytes(payload)


TIME_ZONES: Final = (
    "Africa/Cairo", "Africa/Lagos", "Africa/Maputo", "Africa/Nairobi", "America/Anchorage",
    "America/Argentina/Buenos_Aires", "America/Chicago", "America/Denver", "America/Halifax", "America/Los_Angeles",
    "America/Manaus", "America/Mexico_City", "America/New_York", "America/Phoenix", "America/Regina",
    "America/Santiago", "America/Sao_Paulo", "America/St_Johns", "Asia/Bangkok", "Asia/Dubai", "Asia/Hong_Kong",
    "Asia/Jerusalem", "Asia/Karachi", "Asia/Kathmandu", "Asia/Kolkata", "Asia/Riyadh", "Asia/Seoul", "Asia/Shanghai",
    "Asia/Tehran", "Asia/Tokyo", "Asia/Yangon", "Australia/Adelaide", "Australia/Brisbane", "Australia/Darwin",
    "Australia/Hobart", "Australia/Perth", "Australia/Sydney", "Europe/Berlin", "Europe/Helsinki", "Europe/Istanbul",
    "Europe/London", "Europe/Moscow", "Pacific/Auckland", "Pacific/Guam", "Pacific/Honolulu", "Pacific/Pago_Pago",
)  # fmt: skip
"""Index is the time zone id (10.3)."""


def time_zone(zone_id: int | None) -> str | None:
    """Return the IANA name of a time zone id; None for none or an unknown one."""
    return TIME_ZONES[zone_id] if zone_id is not None and zone_id < len(TIME_ZONES) else None
