"""The module's side of the 0xEF01 protocol, both dialects, written from the wire reference of the family alone.

This half knows frames, time and power; what a command does stands in `ef01_commands`. Section numbers are those of the
reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from lockmigrate.profiles import Profile
from lockmigrate.sim.ef01_commands import Answer, Commands
from lockmigrate.sim.ef01_data import (
    OPTION_NAMES,
    SPEED_STEP,
    Flash,
    Settings,
    flash_of,
    load_state,
    settings_of,
    state_of,
)
from lockmigrate.sim.unit import Line, Options, SimulatedUnit, write_state
from lockmigrate.transports import Outgoing

START: Final = b"\xef\x01"
COMMAND, DATA, ACK, END = 0x01, 0x02, 0x07, 0x08
"""Packet identifiers, section 2."""
HEAD_BYTES: Final = 9
LEN_RANGE: Final = (3, 258)
"""Section 2: what LEN may be; it counts the two bytes of the sum."""
FORGET_S: Final = 1.0
"""Section 9: half a frame is forgotten after about this silence."""
POWER_BYTE: Final = b"\x55"
SLOW_FLASH_S: Final = {0x06: 0.12, 0x07: 0.04, 0x0C: 0.12, 0x0D: 1.0, 0x0E: 0.12, 0x12: 0.12, 0x15: 0.12, 0x18: 0.12}
"""Section 7.4, the "slow flash" setting: command code to seconds. Store, LoadChar and Empty are the reference's, the
others are taken to be as slow as Store."""


class Ef01Module:
    """The state machine; a `Device`."""

    def __init__(self, settings: Settings, flash: Flash, line: Line, on_flash_change: Callable[[], None]) -> None:
        self.settings = settings
        self.flash = flash
        self.line = line
        self.log: list[int] = []
        self.commands = Commands(settings, flash, on_flash_change)
        self._host_baud: int | None = None
        self._buffer = bytearray()
        self._heard_s = 0.0
        self._greets = settings.boot55
        line.baud = flash.speed_n * SPEED_STEP

    # ---- Device --------------------------------------------------------------------------------------------------

    def opened(self, now_s: float) -> list[Outgoing]:
        """A host opened the port; with `boot55` that gives the module its power the first time."""
        self.line.opened(now_s)
        self._buffer.clear()
        self._heard_s = now_s
        if not self._greets:
            return []
        self._greets = False
        return self._boot(now_s, greets=True)

    def closed(self) -> None:
        """The host closed the port: the module does not notice."""

    def set_host_baud(self, baud: int | None) -> None:
        """Anything but the module's own speed is noise to it."""
        self._host_baud = baud

    def receive(self, data: bytes, now_s: float) -> list[Outgoing]:
        """Take bytes from the host."""
        leaving: list[Outgoing] = []
        for arrival in self.line.arrive(data, now_s):
            if self.line.dead:
                break
            if self.commands.ram.stopped or not self._understood():
                self._buffer.clear()
            else:
                if arrival.data and arrival.start_s - self._heard_s > FORGET_S:
                    self._buffer.clear()
                self._buffer += arrival.data
                leaving += self._frames(arrival.start_s, arrival.end_s)
            self._heard_s = arrival.end_s
            if arrival.struck is not None and not self.line.dead:
                leaving += self._strike(arrival.struck.kind, arrival.end_s)
        return leaving

    # ---- frames in ---------------------------------------------------------------------------------------------------

    def _understood(self) -> bool:
        return self._host_baud in (None, self.commands.ram.speed_n * SPEED_STEP)

    def _frames(self, start_s: float, end_s: float) -> list[Outgoing]:
        leaving: list[Outgoing] = []
        while not self.line.dead and not self.commands.ram.stopped and (frame := self._next_frame()) is not None:
            came_s = at_s = max(start_s, end_s - len(self._buffer) * self.line.byte_s)
            fault = self.line.frame_came()
            if fault is not None and fault.kind in ("cut", "reboot"):
                return leaving + self._strike(fault.kind, at_s)
            if fault is not None and fault.kind == "lose":
                continue
            if fault is not None and fault.kind == "flip":
                frame[HEAD_BYTES + (len(frame) - HEAD_BYTES - 2) // 2] ^= 0x10
            if fault is not None and fault.kind == "delay":
                at_s += fault.delay_s
                self.line.busy_until_s = max(self.line.busy_until_s, at_s)
            leaving += self._obey(bytes(frame), at_s)
            if self.line.power_failed:
                leaving += self._power_cycle(at_s)
            # Section 9: what arrives while an answer is being sent is dropped.
            del self._buffer[: self.line.deaf_bytes(len(self._buffer), came_s)]
        return leaving

    def _next_frame(self) -> bytearray | None:
        """Take the next frame out of the buffer; scan for its start, never split on one inside (section 2)."""
        buffer = self._buffer
        while True:
            at = buffer.find(START)
            if at < 0:
                del buffer[: len(buffer) - buffer.endswith(START[:1])]
                return None
            del buffer[:at]
            if len(buffer) < HEAD_BYTES:
                return None
            length = int.from_bytes(buffer[7:9], "big")
            if not LEN_RANGE[0] <= length <= LEN_RANGE[1]:
                del buffer[: len(START)]
                continue
            if len(buffer) < HEAD_BYTES + length:
                return None
            frame = buffer[: HEAD_BYTES + length]
            del buffer[: HEAD_BYTES + length]
            return frame

    def _obey(self, frame: bytes, at_s: float) -> list[Outgoing]:
        if frame[2:6] != self.flash.address:
            return []
        kind, content = frame[6], frame[HEAD_BYTES:-2]
        good = sum(frame[6:-2]) & 0xFFFF == int.from_bytes(frame[-2:], "big")
        if self.commands.ram.transfer is not None and (kind != COMMAND or not good):
            fine = self.commands.take_data(content, good=good and kind in (DATA, END), last=kind == END)
            return [] if fine else self._acknowledge((0x01, b""), at_s)
        if not good:
            # A damaged data packet outside a transfer is a leftover of one, and no business of ours.
            return [] if kind in (DATA, END) else self._acknowledge((0x01, b""), at_s)
        if kind != COMMAND:
            return []
        self.commands.end_transfer()
        return self._command(content[0], content[1:], at_s)

    # ---- frames out --------------------------------------------------------------------------------------------------

    def _acknowledge(self, answer: Answer, ready_s: float, data: bytes | None = None) -> list[Outgoing]:
        frames = [_frame(self.flash.address, ACK, bytes([answer[0]]) + answer[1])]
        if data is not None:
            # Section 7.2: the rest is not padded, and a last full packet is the end packet.
            size = self.flash.packet_bytes
            for at in range(0, len(data), size):
                kind = DATA if at + size < len(data) else END
                frames.append(_frame(self.flash.address, kind, data[at : at + size]))
        return self.line.send(frames, ready_s)

    # ---- power -------------------------------------------------------------------------------------------------------

    def _strike(self, kind: str, at_s: float) -> list[Outgoing]:
        self._buffer.clear()
        return [self.line.hang_up(at_s)] if kind == "cut" else self._power_cycle(at_s)

    def _power_cycle(self, at_s: float) -> list[Outgoing]:
        self.line.power_failed = False
        return self._boot(max(at_s, self.line.busy_until_s), greets=self.settings.boot55)

    def _boot(self, at_s: float, *, greets: bool) -> list[Outgoing]:
        self.commands.power_on()
        self._buffer.clear()
        self.line.baud = self.flash.speed_n * SPEED_STEP
        ready_s = at_s + self.settings.ready_s
        self.line.busy_until_s = ready_s
        return self.line.send([POWER_BYTE], ready_s) if greets and self._understood() else []

    # ---- commands ----------------------------------------------------------------------------------------------------

    def _command(self, code: int, parameters: bytes, at_s: float) -> list[Outgoing]:
        self.log.append(code)
        ready_s = at_s + (SLOW_FLASH_S.get(code, 0.0) if self.settings.slow else 0.0)
        speed_n = self.flash.speed_n
        if self.commands.power_fails_during(code, parameters):
            return self._power_cycle(ready_s)
        answer = self.commands.answer(code, parameters)
        if answer is None:
            return []
        data = self.commands.upload(code, parameters) if answer[0] == 0 else None
        leaving = self._acknowledge(answer, ready_s, data)
        if self.flash.speed_n != speed_n and self.commands.new_speed_at_once() and not self.line.power_failed:
            self.commands.ram.speed_n = self.flash.speed_n
            self.line.baud = self.flash.speed_n * SPEED_STEP
        if code == 0x3D and self.settings.r50x and answer[0] == 0 and not self.line.dead:
            leaving += self._boot(self.line.busy_until_s, greets=True)
        return leaving


class Ef01Unit(SimulatedUnit):
    """One simulated module with its flash."""

    flash: Flash
    device: Ef01Module

    def __init__(self, profile: Profile, preset: str, options: Options, state: Path | None) -> None:
        settings = settings_of(profile, preset, options)
        kept = None if state is None else load_state(state, profile, settings)
        self.profile = profile
        self.preset = preset
        self.state = state
        self.flash = flash_of(profile, preset, options, settings) if kept is None else kept
        self.settings = settings
        self.line = Line(baud=self.flash.speed_n * SPEED_STEP, paced=options.flag("pace"), faults=options.faults())
        self.device = Ef01Module(settings, self.flash, self.line, self.save)
        self.log = self.device.log
        self.serial = settings.serial if settings.hilink or 0x3C in self.device.commands.table else None
        if kept is None:
            self.save()

    @property
    def credential(self) -> dict[str, str]:
        """The `[ef01]` table of a credential file, as the module is at the moment."""
        return {"password": self.flash.password.hex(), "address": self.flash.address.hex()}

    def image(self) -> bytes:
        """Return the whole flash as bytes; equal contents give equal bytes, whatever the module's serial number."""
        return self.flash.image()

    def save(self) -> None:
        """Write the flash to the state file, if there is one."""
        if self.state is not None:
            write_state(self.state, state_of(self.profile, self.settings, self.flash))


def open_unit(profile: Profile, preset: str, options: Mapping[str, str], *, state: Path | None) -> Ef01Unit:
    """Make a simulated module; see `lockmigrate.sim.open_unit`."""
    return Ef01Unit(profile, preset, Options(options, known=OPTION_NAMES), state)


def stand_in_options(facts: Mapping[str, object]) -> dict[str, str]:
    """Return options for a module like the one a backup came from; see `lockmigrate.sim.stand_in_options`."""
    system_id = facts.get("system_id")
    found = {
        "slots": facts.get("slots"),
        "template_size": facts.get("template_size_bytes"),
        "firmware": facts.get("firmware"),
        "algorithm": facts.get("algorithm"),
        "system_id": int(system_id, 16) if isinstance(system_id, str) else None,
    }
    return {name: str(value) for name, value in found.items() if value is not None}


def _frame(address: bytes, kind: int, content: bytes) -> bytes:
    """Section 2: the sum runs from the packet identifier to the last byte of the content."""
    summed = bytes([kind]) + (len(content) + 2).to_bytes(2, "big") + content
    return START + address + summed + (sum(summed) & 0xFFFF).to_bytes(2, "big")
