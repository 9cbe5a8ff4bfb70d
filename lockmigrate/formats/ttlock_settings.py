"""Settings of TTLock locks: the answers to their queries field by field, and the requests that set them (no I/O).

Section 10 of the TTLock reference. A query's answer is kept without its battery byte, which changes by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from lockmigrate.errors import FrameError
from lockmigrate.formats.lists import split_list
from lockmigrate.formats.ttlock import Cmd, Feature
from lockmigrate.model.records import RawRef, Setting

PREFIX: Final = "setting/ttlock."
QUERIES: Final[tuple[tuple[Cmd, Feature | None], ...]] = (
    (Cmd.AUTO_LOCK, Feature.AUTO_LOCK),
    (Cmd.AUDIO, Feature.AUDIO),
    (Cmd.SHOW_PASSCODE, Feature.SHOW_PASSCODE),
    (Cmd.REMOTE_UNLOCK, Feature.REMOTE_UNLOCK),
    (Cmd.LAMP, Feature.LAMP),
    (Cmd.SWITCH, None),
)
"""Command to the feature that says a lock has it; switches are asked for in any case (section 5, step 6)."""
QUERY, SET = 1, 2
SWITCHES: Final[Mapping[int, str]] = {0: "tamper_alert", 1: "reset_button", 2: "privacy_lock"}
"""Bit of the switch word to its name; the others are numbered."""


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    at: int
    size: int
    unit: str | None = None
    bound: bool = False


_PARTS: Final[Mapping[int, tuple[_Part, ...]]] = {
    Cmd.AUTO_LOCK: (
        _Part("auto_lock_s", 0, 2, "s"),
        _Part("auto_lock_least_s", 2, 2, "s", bound=True),
        _Part("auto_lock_most_s", 4, 2, "s", bound=True),
        _Part("door_sensor", 6, 1),
    ),
    Cmd.AUDIO: (_Part("audio", 0, 1), _Part("audio_volume", 1, 1)),
    Cmd.SHOW_PASSCODE: (_Part("show_passcode", 0, 1),),
    Cmd.REMOTE_UNLOCK: (_Part("remote_unlock", 0, 1),),
    Cmd.LAMP: (_Part("lamp_s", 0, 2, "s"),),
}


def decode_settings(table: bytes | None, attachment: str) -> Iterator[Setting]:
    """Yield the settings of a table of queries.

    Raises:
        FrameError: the table is cut short, or names a query twice.
    """
    seen: set[int] = set()
    for at, raw in split_list(table) if table is not None else ():
        if not raw or raw[0] in seen:
            raise FrameError("the table of settings names a query twice, or none")
        seen.add(raw[0])
        for part, value in _values(raw[0], raw[1:]):
            yield Setting(
                key=PREFIX + part.name,
                value=value,
                unit=part.unit,
                portable=not part.bound,
                device_bound=part.bound,
                raw=(RawRef(attachment=attachment, offset=at + 1 + part.at, size=part.size),),
            )


def values_of(answers: Mapping[int, bytes]) -> dict[str, int]:
    """Return every setting by its name, from command to the answer of its query."""
    return {part.name: value for command, raw in answers.items() for part, value in _values(command, raw)}


def _values(command: int, raw: bytes) -> Iterator[tuple[_Part, int]]:
    if command == Cmd.SWITCH:
        mask, value = int.from_bytes(raw[:4], "big"), int.from_bytes(raw[4:8], "big")
        if len(raw) >= 8:
            for bit in range(32):
                if mask >> bit & 1:
                    yield _Part(SWITCHES.get(bit, f"switch_{bit}"), 4, 4), value >> bit & 1
        return
    for part in _PARTS.get(command, ()):
        if part.at + part.size <= len(raw):
            yield part, int.from_bytes(raw[part.at : part.at + part.size], "big")


def command_of(name: str) -> Cmd | None:
    """Return which command a setting belongs to; None for one that we do not know."""
    for command, parts in _PARTS.items():
        if any(part.name == name for part in parts):
            return Cmd(command)
    return Cmd.SWITCH if name in SWITCHES.values() or name.startswith("switch_") else None


def set_request(command: Cmd, current: bytes, changes: Iterable[tuple[str, int]]) -> bytes:
    """Return the plaintext that sets some settings of one command, everything else as it is.

    Args:
        command: whose settings they are.
        current: the answer to its query, now.
        changes: (name, value).

    Raises:
        FrameError: the lock has no such setting, or the value does not fit.
    """
    wanted = dict(changes)
    if command == Cmd.SWITCH:
        return bytes([SET]) + _switches(current, wanted)
    values = {part.name: value for part, value in _values(command, current)} | wanted
    parts = {part.name: part for part in _PARTS[command] if part.at + part.size <= len(current)}
    if not wanted.keys() <= {name for name, part in parts.items() if not part.bound}:
        raise FrameError("this lock has no such setting")
    try:
        fields = [values[name].to_bytes(part.size, "big") for name, part in parts.items() if not part.bound]
    except OverflowError:
        raise FrameError("a setting does not fit its field") from None
    # After a volume a language follows, of which 0 keeps what is set.
    language = b"\x00" if command == Cmd.AUDIO and len(fields) > 1 else b""
    return bytes([SET]) + b"".join(fields) + language


def _switches(current: bytes, wanted: Mapping[str, int]) -> bytes:
    """Read first, change the bits, send the whole."""
    if len(current) < 8:
        raise FrameError("this lock has no switches")
    mask, value = int.from_bytes(current[:4], "big"), int.from_bytes(current[4:8], "big")
    bits = {SWITCHES.get(bit, f"switch_{bit}"): bit for bit in range(32) if mask >> bit & 1}
    for name, on in wanted.items():
        if name not in bits:
            raise FrameError("this lock has no such switch")
        value = value | 1 << bits[name] if on else value & ~(1 << bits[name])
    return current[:4] + value.to_bytes(4, "big")
