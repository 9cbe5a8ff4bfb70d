"""What the simulated modules of the families gt511 and f5 share: line, power, awkwardness, state file.

Neither wire reference tells what a module makes of half a frame, of noise or of a power cut; those choices are ours and
the same for both.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final, TypeVar

from lockmigrate.errors import FileTrouble, TargetError
from lockmigrate.profiles import Profile
from lockmigrate.sim.unit import EPSILON_S, Line, Options, SimulatedUnit, unknown, write_state
from lockmigrate.transports import Outgoing

FORGET_S: Final = 1.0
"""After so much silence half a frame, or a data packet that was awaited, is forgotten (ours, unconfirmed)."""
NOISE: Final = b"\xfe"
"""What a host at another speed makes of a byte."""
ALWAYS: Final = 10**9
ONCE: Final = ("torn-store", "readback-differs")
"""Quirks of one id that happen once where no number of times is given."""

Kept = TypeVar("Kept")


class Module:
    """A half-duplex module that takes one frame after the other; a `Device`.

    A family says what a frame is (`next_frame`), obeys it (`obey`) and knows what is lost without power (`power_on`) or
    after a silence (`forget`). `line.baud` is the module's own speed.
    """

    def __init__(self, line: Line, *, ready_s: float) -> None:
        self.line = line
        self.log: list[int] = []
        self.forbidden: list[int] = []
        """Codes received that no host should ever send."""
        self.stopped = False
        """Deaf until the power fails."""
        self._ready_s = ready_s
        self._host_baud: int | None = None
        self._buffer = bytearray()
        self._heard_s = 0.0

    # ---- the family's -------------------------------------------------------------------------------------------

    def next_frame(self, buffer: bytearray) -> bytearray | None:
        """Take the next whole frame out of the buffer."""
        raise NotImplementedError

    def obey(self, frame: bytes, at_s: float) -> list[Outgoing]:
        """Do what a frame asks for."""
        raise NotImplementedError

    def power_on(self) -> None:
        """Forget what only stood in RAM, the speed included."""
        raise NotImplementedError

    def forget(self) -> None:
        """Give up waiting for a data packet."""
        raise NotImplementedError

    # ---- Device -------------------------------------------------------------------------------------------------

    def opened(self, now_s: float) -> list[Outgoing]:
        """A host opened the port; that takes long enough to have half a frame forgotten."""
        self.line.opened(now_s)
        self._drop()
        self._heard_s = now_s
        return []

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
            if self.stopped or not self._understood():
                self._drop()
            else:
                if arrival.data and arrival.start_s - self._heard_s >= FORGET_S - EPSILON_S:
                    self._drop()
                self._buffer += arrival.data
                leaving += self._frames(arrival.start_s, arrival.end_s)
            self._heard_s = max(arrival.end_s, self.line.busy_until_s)
            if arrival.struck is not None and not self.line.dead:
                leaving += self._strike(arrival.struck.kind, arrival.end_s)
        return leaving

    # ---- for the family to call -----------------------------------------------------------------------------------

    def send(self, frames: Iterable[bytes], ready_s: float) -> list[Outgoing]:
        """Send frames; a host at another speed gets noise."""
        if self._host_baud is not None and self._host_baud != self.line.baud:
            scale = min(1.0, self._host_baud / self.line.baud)
            frames = [NOISE * max(1, int(len(frame) * scale)) for frame in frames]
        return self.line.send(frames, ready_s)

    def power_cycle(self, at_s: float) -> list[Outgoing]:
        """The power fails and comes back at once; the module starts again, deaf until it is ready."""
        self.line.power_failed = False
        self.stopped = False
        self.power_on()
        self._drop()
        self.line.busy_until_s = max(at_s, self.line.busy_until_s) + self._ready_s
        return []

    # ---- frames -------------------------------------------------------------------------------------------------

    def _understood(self) -> bool:
        return self._host_baud in (None, self.line.baud)

    def _drop(self) -> None:
        self._buffer.clear()
        self.forget()

    def _frames(self, start_s: float, end_s: float) -> list[Outgoing]:
        leaving: list[Outgoing] = []
        while not self.line.dead and not self.stopped and self._understood():
            frame = self.next_frame(self._buffer)
            if frame is None:
                return leaving
            came_s = at_s = max(start_s, end_s - len(self._buffer) * self.line.byte_s)
            fault = self.line.frame_came()
            if fault is not None and fault.kind in ("cut", "reboot"):
                return leaving + self._strike(fault.kind, at_s)
            if fault is not None and fault.kind == "lose":
                continue
            if fault is not None and fault.kind == "flip":
                frame[len(frame) // 2] ^= 0x10
            if fault is not None and fault.kind == "delay":
                at_s += fault.delay_s
                self.line.busy_until_s = max(self.line.busy_until_s, at_s)
            leaving += self.obey(bytes(frame), at_s)
            if self.line.power_failed:
                leaving += self.power_cycle(at_s)
            # What arrives while an answer is being sent is not heard.
            del self._buffer[: self.line.deaf_bytes(len(self._buffer), came_s)]
        self._buffer.clear()
        return leaving

    def _strike(self, kind: str, at_s: float) -> list[Outgoing]:
        self._drop()
        return [self.line.hang_up(at_s)] if kind == "cut" else self.power_cycle(at_s)


class Quirks:
    """Awkward firmware, read from `NAME,NAME:ID,NAME:ID:TIMES`.

    Args:
        text: The option.
        known: Name to what it does; those whose text begins with `ID` concern one id.

    Raises:
        TargetError: a name is unknown, or its numbers are wrong.
    """

    def __init__(self, text: str, known: Mapping[str, str]) -> None:
        self._plain: set[str] = set()
        self._by_id: dict[tuple[str, int], int] = {}
        for item in filter(None, text.split(",")):
            name, *numbers = item.split(":")
            if name not in known:
                raise unknown("quirk", name, known)
            wants_id = known[name].startswith("ID")
            well = all(number.isascii() and number.isdigit() for number in numbers)
            if not well or len(numbers) not in ((1, 2) if wants_id else (0,)):
                form = f"{name}:ID or {name}:ID:TIMES" if wants_id else name
                raise TargetError(f'quirks: "{item}" is not understood', hint=f"write it as {form}")
            if wants_id:
                usual = 1 if name in ONCE else ALWAYS
                self._by_id[name, int(numbers[0])] = int(numbers[1]) if len(numbers) == 2 else usual
            else:
                self._plain.add(name)

    def __contains__(self, name: str) -> bool:
        return name in self._plain

    def ids(self, name: str) -> set[int]:
        """Return the ids that a quirk concerns."""
        return {number for quirk, number in self._by_id if quirk == name}

    def happens(self, name: str, number: int) -> bool:
        """Tell whether an id's quirk strikes now, and use it up."""
        left = self._by_id.get((name, number), 0)
        if left > 0:
            self._by_id[name, number] = left - 1
        return left > 0


@dataclass(kw_only=True)
class Settings:
    """What a module of either family is: never changed by a command."""

    slots: int
    template_bytes: int
    seed: int
    slow: bool
    finger: int | None
    quirks: Quirks

    def made_up(self, number: int) -> bytes:
        """Return the template of the finger that a preset enrols under this id."""
        raise NotImplementedError

    def pressed(self) -> bytes | None:
        """Return the template of the finger that lies on the sensor."""
        return None if self.finger is None else self.made_up(self.finger)

    def written(self, number: int, template: bytes) -> tuple[bytes, bool]:
        """Return what flash holds after a template was written, and whether the power failed meanwhile."""
        middle = len(template) // 2
        if self.quirks.happens("torn-store", number):
            return template[:middle].ljust(len(template), b"\xff"), True
        if self.quirks.happens("readback-differs", number):
            return template[:middle] + bytes([template[middle] ^ 0x01]) + template[middle + 1 :], False
        return template, False

    def head(self) -> dict[str, Any]:
        """Return what a state file has to say beside the flash."""
        return {"slots": self.slots, "template_bytes": self.template_bytes}

    def take(self, head: Mapping[str, Any]) -> None:
        """Become what a state file says; KeyError, TypeError or ValueError where it does not."""
        self.slots, self.template_bytes = int(head["slots"]), int(head["template_bytes"])


class ModuleUnit(SimulatedUnit):
    """A simulated module of either family with its flash."""

    settings: Settings

    def __init__(self, profile: Profile, preset: str, state: Path | None, device: Module) -> None:
        self.profile = profile
        self.preset = preset
        self.state = state
        self.serial = None
        self.device = device
        self.line = device.line
        self.log = device.log
        self.forbidden = device.forbidden
        """Codes received that no host should ever send."""

    @property
    def credential(self) -> dict[str, str]:
        """Nothing: these modules have no password."""
        return {}

    def image(self) -> bytes:
        """Return the whole flash as bytes; equal contents give equal bytes, whatever the module's serial number."""
        image: bytes = self.flash.image()
        return image

    def save(self) -> None:
        """Write the flash to the state file, if there is one."""
        if self.state is not None:
            image = self.image()
            head = {**self.settings.head(), "crc": zlib.crc32(image), "profile": self.profile.name}
            write_state(self.state, _mark(self.profile) + json.dumps(head, sort_keys=True).encode() + b"\n" + image)


def common_settings(
    profile: Profile,
    preset: str,
    options: Options,
    *,
    usual: tuple[int, int],
    huge: tuple[int, int],
    last_id: int,
    quirks: Mapping[str, str],
) -> dict[str, Any]:
    """Work out the fields of `Settings`: an option, else the profile, else a default.

    Args:
        profile: The model.
        preset: What is in the unit.
        options: The options.
        usual: Slots and template size where the profile names none.
        huge: Both of the preset of that name.
        last_id: The highest id of the family.
        quirks: The family's.

    Raises:
        TargetError: an option has an impossible value.
    """
    finger = profile.capabilities.credentials.fingerprint
    known = {**profile.variant, **profile.simulated}
    slots = (finger and finger.slots) or known.get("slots", usual[0])
    size = (finger and finger.template_size_bytes) or known.get("template_size", usual[1])
    if preset == "huge":
        slots, size = huge
    return {
        "slots": options.integer("slots", int(slots), low=1, high=last_id),
        "template_bytes": options.integer("template_size", int(size), low=64, high=16384),
        "seed": options.integer("seed", 1, low=0, high=2**63),
        "slow": options.choice("flash", "none", ("none", "slow")) == "slow",
        "finger": options.integer("finger", 0, low=0, high=last_id) if "finger" in options else None,
        "quirks": Quirks(options.text("quirks", ""), quirks),
    }


def chosen_ids(preset: str, options: Options, settings: Settings, *, first: int) -> tuple[list[int], dict[int, int]]:
    """Return the ids that a preset fills, in order, and which of them hold the same finger as which other.

    Raises:
        TargetError: an option has an impossible value.
    """
    fills = {"empty": 0, "half": settings.slots // 2}
    fill = options.integer("fill", fills.get(preset, settings.slots), low=0, high=settings.slots)
    drawn = Random(f"ids {settings.seed} {settings.slots}").sample(range(first, settings.slots + first), fill)
    chosen = sorted(drawn)
    twins = options.integer("twins", 0, low=0, high=fill // 2)
    return chosen, dict(zip(chosen[fill - twins :], chosen[:twins], strict=True))


def made_up_template(family: str, seed: int, number: int, size_bytes: int, fake_frames: bytes) -> bytes:
    """Make a template: drawn from a generator, nobody's finger. No two ids give the same.

    Nobody has published what a real one looks like. Every eighth holds whole frames of its family.
    """
    body = bytearray(Random(f"{family} {seed} {number} {size_bytes}").randbytes(size_bytes))
    body[:2] = number.to_bytes(2, "little")
    if number % 8 == 5:
        at = size_bytes // 3
        body[at : at + len(fake_frames)] = fake_frames
    return bytes(body)


def packed(head: Mapping[str, Any], entries: Iterable[bytes]) -> bytes:
    """Return a flash as bytes: a line of JSON, then each entry behind its size (4 bytes)."""
    line = json.dumps(head, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    return line + b"".join(len(entry).to_bytes(4, "big") + entry for entry in entries)


def unpacked(image: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Read what `packed` wrote; ValueError where it did not."""
    line, rest = image.split(b"\n", 1)
    entries = []
    while rest:
        size = int.from_bytes(rest[:4], "big")
        entry, rest = rest[4 : 4 + size], rest[4 + size :]
        if len(entry) != size:
            raise ValueError("cut short")
        entries.append(entry)
    head: dict[str, Any] = json.loads(line)
    return head, entries


def find(templates: Iterable[tuple[int, bytes]], wanted: bytes, *, but: Container[int | None]) -> int | None:
    """Return the lowest id, but for some, that holds a template."""
    return min((number for number, held in templates if held == wanted and number not in but), default=None)


def load_state(
    path: Path | None, profile: Profile, settings: Settings, of_image: Callable[[bytes], Kept]
) -> Kept | None:
    """Read a state file into a flash and into `settings`; None where there is none.

    Args:
        path: The file.
        profile: The model that it must be of.
        settings: What the module is; what the file says of it counts.
        of_image: Makes a flash of its image; raises ValueError, KeyError or TypeError where that is wrong.

    Raises:
        FileTrouble: it cannot be read.
        TargetError: it is not ours, or another model's.
    """
    if path is None:
        return None
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FileTrouble(f"cannot read the state file {path}: {error.strerror or 'it cannot be opened'}") from None
    mark = _mark(profile)
    try:
        line, image = content[len(mark) :].split(b"\n", 1)
        head = json.loads(line)
        well = content.startswith(mark) and head["crc"] == zlib.crc32(image)
        flash = of_image(image) if well else None
        name = str(head["profile"])
        if name == profile.name:
            settings.take(head)
    except (ValueError, KeyError, TypeError, AttributeError):
        flash, name = None, ""
    if flash is None:
        raise TargetError(f"{path}: not the state of a simulated {profile.family} unit")
    if name != profile.name:
        raise TargetError(f'{path}: this is the state of a simulated "{name}"', hint="name another file with --state")
    return flash


def take(buffer: bytearray, size: int) -> bytearray | None:
    """Take exactly so many bytes out of a buffer, or none."""
    if len(buffer) < size:
        return None
    frame = buffer[:size]
    del buffer[:size]
    return frame


def _mark(profile: Profile) -> bytes:
    return f"lockmigrate simulated {profile.family} 1\n".encode()
