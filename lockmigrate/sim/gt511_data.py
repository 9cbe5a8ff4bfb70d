"""What a simulated GT-511 or GT-521 is and holds: its settings, its flash, and made-up templates.

Section headings are those of the wire reference of the family (GT-511 / GT-521 UART fingerprint modules).
"""

from __future__ import annotations

import string
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lockmigrate.errors import TargetError
from lockmigrate.profiles import Profile
from lockmigrate.sim.slot_module import (
    Settings,
    chosen_ids,
    common_settings,
    made_up_template,
    packed,
    unpacked,
)
from lockmigrate.sim.unit import FAULT_KINDS, Options

POWER_ON_BAUD: Final = 9600
"""Link: the speed after power-on, always."""
SPEEDS: Final = (9600, 19200, 38400, 57600, 115200)
"""Commands, 04: 9600..115200; that only the usual steps between are taken is unconfirmed."""
TEMPLATE_BYTES: Final = 498
"""Ids, sizes, models."""
SLOTS: Final = 200
"""Ids, sizes, models: a GT-511C3."""
SLOTS_LIMIT: Final = 0x1000
"""Packets: a NACK below the id limit is a duplicate's id, so ids end where the error codes begin."""
HUGE_SLOTS: Final = 3000
"""Ids, sizes, models: a GT-521F52, the largest."""
LEVELS: Final = (1, 5)
"""Commands, F0 / F1."""
LEVEL: Final = 3
"""The level from the factory; ours, the reference gives none."""
FIRMWARE: Final = "20130410"
"""Worked frames."""
SERIAL_BYTES: Final = 16
FAKE_FRAMES: Final = bytes.fromhex("55aa01000000000030003001 5aa50100")
"""A whole ACK and the start of a data packet, to be found inside of templates: nothing is escaped (Packets)."""

OPTION_NAMES: Final = (
    *("seed", "slots", "fill", "twins", "template_size", "firmware", "iso", "serial", "security", "baud", "baud_ack"),
    *("garbage", "pace", "flash", "finger", "quirks"),
    *FAULT_KINDS,
)
QUIRKS: Final = {
    "count-off": "GetEnrollCount answers one more than there are",
    "delete-checks": "DeleteID answers 1004 for an id that is not used",
    "needs-open": "every command before the first Open is answered with 100F",
    "no-skip": "SetTemplate checks for duplicates whatever the high word says",
    "no-unused": "GetTemplate answers 100F instead of 1004 for an id that is not used",
    "set-checks": "SetTemplate answers 1005 for an id that is used",
    "store-fails": "ID[:TIMES] SetTemplate answers 100F after the data",
    "torn-store": "ID[:TIMES] the power fails while SetTemplate writes",
    "readback-differs": "ID[:TIMES] SetTemplate keeps a damaged copy and says nothing",
    "unreadable": "ID CheckEnrolled says it is used, GetTemplate answers 100F",
}
"""Awkward firmware: name to what it does; without TIMES torn-store and readback-differs happen once, store-fails
always."""


@dataclass(kw_only=True)
class Gt511Settings(Settings):
    """What a module is: never changed by a command."""

    firmware: int
    iso_area_bytes: int
    serial: bytes
    has_level: bool
    """Whether Set- and GetSecurityLevel are known (Commands: unconfirmed on older units)."""
    ack_at_new_speed: bool
    hunts: bool
    """Whether it looks for the start of a command among garbage, or takes any twelve bytes for one (unconfirmed)."""

    def made_up(self, number: int) -> bytes:
        """Return the template of the finger that a preset enrols as `number`."""
        return made_up_template("gt511", self.seed, number, self.template_bytes, FAKE_FRAMES)

    def head(self) -> dict[str, Any]:
        """Return what a state file has to say beside the flash."""
        return {**super().head(), "serial": self.serial.hex()}

    def take(self, head: Mapping[str, Any]) -> None:
        """Become what a state file says; KeyError, TypeError or ValueError where it does not."""
        serial = bytes.fromhex(head["serial"])
        if len(serial) != SERIAL_BYTES:
            raise ValueError("not a serial number")
        super().take(head)
        self.serial = serial


@dataclass(kw_only=True)
class Flash:
    """What a module keeps without power."""

    templates: dict[int, bytes] = field(default_factory=dict)
    """Id to template; ids start at 0."""
    torn: set[int] = field(default_factory=set)
    """Used ids that GetTemplate cannot read."""
    level: int = LEVEL
    """The security level; that it outlives the power is unconfirmed."""

    def image(self) -> bytes:
        """Return all of it: the settings, then each id (2, big-endian) and template, in the order of ids."""
        entries = (number.to_bytes(2, "big") + template for number, template in sorted(self.templates.items()))
        return packed({"level": self.level, "torn": sorted(self.torn)}, entries)

    @classmethod
    def of_image(cls, image: bytes) -> Flash:
        """Read what `image` wrote; ValueError, KeyError or TypeError where it did not."""
        head, entries = unpacked(image)
        templates = {int.from_bytes(entry[:2], "big"): entry[2:] for entry in entries}
        return cls(templates=templates, torn={int(number) for number in head["torn"]}, level=int(head["level"]))


def settings_of(profile: Profile, preset: str, options: Options) -> Gt511Settings:
    """Work out what the module is: an option, else the profile, else a default.

    Raises:
        TargetError: an option has an impossible value.
    """
    common = common_settings(
        profile,
        preset,
        options,
        usual=(SLOTS, TEMPLATE_BYTES),
        huge=(HUGE_SLOTS, TEMPLATE_BYTES),
        last_id=SLOTS_LIMIT,
        quirks=QUIRKS,
    )
    known = profile.simulated
    serial = _serial(str(known.get("serial", "00" * SERIAL_BYTES)), preset, common["seed"])
    return Gt511Settings(
        **common,
        firmware=_firmware(options.text("firmware", str(known.get("firmware", FIRMWARE)))),
        iso_area_bytes=options.integer("iso", 0, low=0, high=2**32 - 1),
        serial=options.octets("serial", serial),
        has_level=options.integer("security", LEVEL, low=0, high=LEVELS[1]) > 0,
        ack_at_new_speed=options.choice("baud_ack", "old", ("old", "new")) == "new",
        hunts=options.choice("garbage", "nack", ("nack", "silent")) == "silent",
    )


def flash_of(preset: str, options: Options, settings: Gt511Settings) -> Flash:
    """Fill a module as its preset and options want it.

    Raises:
        TargetError: an option has an impossible value.
    """
    chosen, twins = chosen_ids(preset, options, settings, first=0)
    return Flash(
        templates={number: settings.made_up(twins.get(number, number)) for number in chosen},
        torn=settings.quirks.ids("unreadable") & set(chosen),
        level=options.integer("security", LEVEL, low=0, high=LEVELS[1]) or LEVEL,
    )


def is_firmware(text: str) -> bool:
    """Tell whether a text can be a version: eight digits that stand on the wire as they are written (Worked frames)."""
    return len(text) == 8 and set(text) <= set(string.hexdigits)


def _firmware(text: str) -> int:
    if not is_firmware(text):
        raise TargetError(f'firmware: "{text}" is not eight hexadecimal digits', hint=f"write it like {FIRMWARE}")
    return int(text, 16)


def _serial(base: str, preset: str, seed: int) -> bytes:
    """Give every preset and seed a number of its own; all zero stays all zero."""
    serial = bytes.fromhex(base)
    if (preset, seed) == ("full", 1) or not any(serial):
        return serial
    return serial[:-4] + zlib.crc32(f"{base} {preset} {seed}".encode()).to_bytes(4, "big")
