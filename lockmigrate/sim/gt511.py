"""The module's side of the GT-511 / GT-521 protocol, written from the wire reference of the family alone.

This half knows packets, time and power; what a command does stands in `gt511_commands`. Section headings are those of
the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from lockmigrate.profiles import Profile
from lockmigrate.sim.gt511_commands import NEVER, Answer, Commands
from lockmigrate.sim.gt511_data import (
    LEVELS,
    OPTION_NAMES,
    POWER_ON_BAUD,
    SPEEDS,
    Flash,
    Gt511Settings,
    flash_of,
    is_firmware,
    settings_of,
)
from lockmigrate.sim.slot_module import Module, ModuleUnit, load_state, take
from lockmigrate.sim.unit import Line, Options
from lockmigrate.transports import Outgoing

COMMAND_START: Final = b"\x55\xaa"
DATA_START: Final = b"\x5a\xa5"
DEVICE_ID: Final = b"\x01\x00"
ACK, NACK = 0x30, 0x31
COMMAND_BYTES: Final = 12
DATA_EXTRA_BYTES: Final = 6
"""Packets: start codes, device id and checksum around the N bytes of a data packet."""
SLOW_FLASH_S: Final = {0x40: 0.1, 0x41: 0.5, 0x71: 0.2, 0xF0: 0.1}
"""With `flash=slow`: command code to how long its last answer takes; ours, the reference names no times."""


class Gt511Module(Module):
    """The state machine; a `Device`."""

    def __init__(self, settings: Gt511Settings, flash: Flash, line: Line, on_flash_change: Callable[[], None]) -> None:
        super().__init__(line, ready_s=0.0)
        self.settings = settings
        self.commands = Commands(settings, flash, on_flash_change)
        self.commands.ram.baud = line.baud
        self._code = 0
        """The command that is being obeyed."""

    def next_frame(self, buffer: bytearray) -> bytearray | None:
        """Take exactly 12 bytes, or exactly N + 6 where data is due (Packets)."""
        if self.commands.ram.awaits is not None:
            return take(buffer, self.settings.template_bytes + DATA_EXTRA_BYTES)
        if self.settings.hunts:
            at = buffer.find(COMMAND_START)
            del buffer[: at if at >= 0 else len(buffer) - buffer.endswith(COMMAND_START[:1])]
        return take(buffer, COMMAND_BYTES)

    def obey(self, frame: bytes, at_s: float) -> list[Outgoing]:
        """Do what a packet asks for. A foreign device id counts as damage (unconfirmed)."""
        if self.commands.ram.awaits is not None:
            return self._reply(self.commands.take_data(frame[4:-2] if _whole(frame, DATA_START) else None), at_s)
        if not _whole(frame, COMMAND_START):
            return self.send([_answer(Answer(0x1006, ok=False))], at_s)
        self._code = int.from_bytes(frame[8:10], "little")
        self.log.append(self._code)
        if self._code in NEVER:
            self.forbidden.append(self._code)
        return self._reply(self.commands.answer(self._code, int.from_bytes(frame[4:8], "little")), at_s)

    def power_on(self) -> None:
        """Link: the speed falls back."""
        self.commands.power_on()
        self.line.baud = POWER_ON_BAUD

    def forget(self) -> None:
        """Give up waiting for a data packet."""
        self.commands.ram.awaits = None

    def _reply(self, answer: Answer, at_s: float) -> list[Outgoing]:
        if self.commands.power_failed:
            self.commands.power_failed = False
            return self.power_cycle(at_s)
        waits = self.settings.slow and self.commands.ram.awaits is None
        ready_s = at_s + (SLOW_FLASH_S.get(self._code, 0.0) if waits else 0.0)
        # Commands, 04: that the ACK still has the old speed is unconfirmed, hence the option.
        if self.settings.ack_at_new_speed:
            self.line.baud = self.commands.ram.baud
        frames = [_answer(answer)]
        if answer.data is not None:
            frames.append(_packet(DATA_START, answer.data))
        leaving = self.send(frames, ready_s)
        self.line.baud = self.commands.ram.baud
        self.stopped = self.commands.ram.loader
        return leaving


class Gt511Unit(ModuleUnit):
    """One simulated module with its flash."""

    flash: Flash
    device: Gt511Module

    def __init__(self, profile: Profile, preset: str, options: Options, state: Path | None) -> None:
        settings = settings_of(profile, preset, options)
        kept = load_state(state, profile, settings, Flash.of_image)
        self.settings = settings
        self.flash = flash_of(preset, options, settings) if kept is None else kept
        baud = int(options.choice("baud", str(POWER_ON_BAUD), [str(speed) for speed in SPEEDS]))
        line = Line(baud=baud, paced=options.flag("pace"), faults=options.faults())
        super().__init__(profile, preset, state, Gt511Module(settings, self.flash, line, self.save))
        # Commands, 01: all zero says nothing.
        self.serial = settings.serial.hex() if any(settings.serial) else None
        if kept is None:
            self.save()


def open_unit(profile: Profile, preset: str, options: Mapping[str, str], *, state: Path | None) -> Gt511Unit:
    """Make a simulated module; see `lockmigrate.sim.open_unit`."""
    return Gt511Unit(profile, preset, Options(options, known=OPTION_NAMES), state)


def stand_in_options(facts: Mapping[str, object]) -> dict[str, str]:
    """Return options for a module like the one a backup came from; see `lockmigrate.sim.stand_in_options`."""
    names = {"slots": "slots", "template_size": "template_size_bytes", "iso": "iso_area_max"}
    numbers = {option: facts.get(name) for option, name in names.items()}
    level, firmware = facts.get("security_level"), str(facts.get("firmware"))
    numbers["security"] = level if level in range(LEVELS[1] + 1) else None
    found = {option: str(value) for option, value in numbers.items() if isinstance(value, int)}
    return {**found, "firmware": firmware} if is_firmware(firmware) else found


def _whole(frame: bytes, start: bytes) -> bool:
    """Packets: start codes, device id 0001 and the sum of everything before the checksum."""
    good = sum(frame[:-2]) & 0xFFFF == int.from_bytes(frame[-2:], "little")
    return good and frame.startswith(start + DEVICE_ID)


def _packet(start: bytes, content: bytes) -> bytes:
    packet = start + DEVICE_ID + content
    return packet + (sum(packet) & 0xFFFF).to_bytes(2, "little")


def _answer(answer: Answer) -> bytes:
    code = ACK if answer.ok else NACK
    return _packet(COMMAND_START, answer.parameter.to_bytes(4, "little") + code.to_bytes(2, "little"))
