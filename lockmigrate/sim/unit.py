"""What every simulated unit shares: its options, the faults on its line, and the clock of that line.

Nothing here knows a frame or a family. A family's state machine passes time in, asks `Line` what arrives and when, and
hands it whole frames to send; `Line` answers with `Outgoing`s that are already late, damaged, lost or cut as asked for.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, cast, get_args

from lockmigrate.errors import FileTrouble, TargetError
from lockmigrate.profiles import Profile
from lockmigrate.transports import Device, Outgoing
from lockmigrate.transports.gatt import GattDevice

BITS_PER_BYTE: Final = 10
"""8N1: a start bit, eight data bits, a stop bit (reference, section 1)."""
EPSILON_S: Final = 1e-6
"""Two times closer than this are the same instant: event loops may wake a nanosecond early."""

FaultKind = Literal["cut", "lose", "delay", "flip", "reboot"]
Side = Literal["in", "out"]
Counted = Literal["byte", "frame"]
FAULT_KINDS: Final[tuple[FaultKind, ...]] = get_args(FaultKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong once. `in` is from the host to the unit, `out` from the unit to the host.

    The numbered byte or frame (from 1, over the life of the unit) is the one that suffers. `cut` and `reboot` strike in
    the middle of a frame, but just after a byte.
    """

    kind: FaultKind
    side: Side
    counted: Counted
    number: int
    delay_s: float = 0.0


def parse_faults(kind: FaultKind, text: str) -> list[Fault]:
    """Read `out:frame:12`, `in:byte:300`, for a delay `out:frame:2:1.5` (seconds); several are separated by commas.

    Raises:
        TargetError: it is written differently.
    """
    faults = []
    for item in text.split(","):
        parts = item.split(":")
        try:
            side, counted, number = parts[:3]
            delay_s = float(parts[3]) if kind == "delay" else 0.0
            well = side in get_args(Side) and counted in get_args(Counted) and int(number) > 0
            well = well and math.isfinite(delay_s) and delay_s >= 0 and len(parts) == (4 if kind == "delay" else 3)
        except (ValueError, IndexError):
            well = False
        if not well:
            example = "out:frame:2:1.5" if kind == "delay" else "out:frame:12"
            raise TargetError(f'{kind}: "{item}" is not a fault', hint=f"write it like {kind}={example} or in:byte:300")
        side, counted = cast("Side", side), cast("Counted", counted)
        faults.append(Fault(kind=kind, side=side, counted=counted, number=int(number), delay_s=delay_s))
    return faults


class Options:
    """The options of a `sim://` target, read with their types; every complaint is a `TargetError` naming the option."""

    def __init__(self, values: Mapping[str, str], *, known: Iterable[str]) -> None:
        self._values = dict(values)
        names = sorted(known)
        for name in self._values:
            if name not in names:
                raise unknown("simulator option", name, names)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str, default: str) -> str:
        """Return the option as it stands."""
        return self._values.get(name, default)

    def integer(self, name: str, default: int, *, low: int, high: int) -> int:
        """Return a decimal number within `low`…`high`."""
        text = self._values.get(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise TargetError(f'{name}: "{text}" is not a number from {low} to {high}')
        return int(text)

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return a switch: 1 or 0."""
        return self.choice(name, "1" if default else "0", ("0", "1")) == "1"

    def choice(self, name: str, default: str, choices: Iterable[str]) -> str:
        """Return one of a few words."""
        text = self._values.get(name, default)
        if text not in (listed := sorted(choices)):
            raise TargetError(f'{name}: "{text}" is not one of {", ".join(listed)}')
        return text

    def octets(self, name: str, default: bytes) -> bytes:
        """Return as many bytes as the default has, from hexadecimal digits."""
        text = self._values.get(name)
        try:
            value = default if text is None else bytes.fromhex(text)
        except ValueError:
            value = b""
        if len(value) != len(default):
            # The value is not repeated: it may be a password.
            raise TargetError(f"{name}: {2 * len(default)} hexadecimal digits are needed")
        return value

    def faults(self) -> list[Fault]:
        """Return every fault that the options ask for."""
        return [fault for kind in FAULT_KINDS if kind in self for fault in parse_faults(kind, self._values[kind])]


def unknown(what: str, name: str, known: Iterable[str]) -> TargetError:
    """Build the complaint about a name that is not known, with the nearest that is."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(names)}"
    return TargetError(f'no {what} is called "{name}"', hint=hint)


@dataclass(frozen=True, slots=True)
class Arrival:
    """Bytes that reached the unit, when their first bit began and their last one ended, and what strikes after them."""

    data: bytes
    start_s: float
    end_s: float
    struck: Fault | None


@dataclass(kw_only=True)
class Line:
    """The two wires of a half-duplex serial unit: what passes, when, and what goes wrong with it.

    Unpaced, every byte takes no time. Paced, a byte takes ten bit times at `baud`, whichever way it goes.
    """

    baud: int
    paced: bool = False
    faults: list[Fault] = field(default_factory=list)
    bytes_in: int = 0
    bytes_out: int = 0
    frames_in: int = 0
    frames_out: int = 0
    busy_until_s: float = -math.inf
    """Until then the unit works or sends, and hears nothing."""
    dead: bool = False
    """The cable is pulled; the next `opened` plugs it in again."""
    power_failed: bool = False
    """The last `send` ran into a power failure; whoever sees it clears it."""
    _in_free_s: float = -math.inf
    _last_at_s: float = -math.inf

    @property
    def byte_s(self) -> float:
        """How long one byte takes, in seconds."""
        return BITS_PER_BYTE / self.baud if self.paced else 0.0

    def opened(self, now_s: float) -> None:
        """Begin a connection: the clock of an earlier one means nothing any more."""
        self.dead = False
        self.busy_until_s = self._in_free_s = self._last_at_s = now_s

    def arrive(self, data: bytes, now_s: float) -> Iterator[Arrival]:
        """Yield what the unit hears of `data`; the caller deals with each piece before it asks for the next."""
        rest = data
        while rest:
            first = self.bytes_in + 1
            counted = (fault for fault in self.faults if fault.side == "in" and fault.counted == "byte")
            hits = [fault for fault in counted if 0 <= fault.number - first < len(rest)]
            fault = min(hits, key=lambda f: f.number, default=None)
            piece, rest = (rest, b"") if fault is None else _split(rest, fault.number - first + 1)
            self.bytes_in += len(piece)
            start_s = max(now_s, self._in_free_s)
            if fault is not None:
                self.faults.remove(fault)
                if fault.kind == "flip":
                    piece = piece[:-1] + bytes([piece[-1] ^ 0x10])
                elif fault.kind == "delay":
                    start_s += fault.delay_s
            end_s = self._in_free_s = start_s + len(piece) * self.byte_s
            if fault is not None and fault.kind == "lose":
                piece, end_s = piece[:-1], end_s - self.byte_s
            deaf = self.deaf_bytes(len(piece), start_s)
            struck = fault if fault is not None and fault.kind in ("cut", "reboot") else None
            yield Arrival(piece[deaf:], start_s + deaf * self.byte_s, end_s, struck)

    def deaf_bytes(self, count: int, start_s: float) -> int:
        """Return how many of `count` bytes that begin at `start_s` are not heard because the unit is busy."""
        late_s = self.busy_until_s - start_s
        if late_s <= EPSILON_S:
            return 0
        return count if not self.byte_s else min(count, math.ceil((late_s - EPSILON_S) / self.byte_s))

    def frame_came(self) -> Fault | None:
        """Count a whole frame from the host and return the fault that strikes it."""
        self.frames_in += 1
        return self._strikes("in", self.frames_in)

    def send(self, frames: Iterable[bytes], ready_s: float) -> list[Outgoing]:
        """Send frames back to back, the first not before `ready_s`; the unit is busy until the last bit has left."""
        leaving: list[Outgoing] = []
        clock_s = max(ready_s, self.busy_until_s)
        for frame in frames:
            if self.dead or self.power_failed:
                break
            clock_s += len(frame) * self.byte_s
            leaving += self._pass(frame, clock_s)
        self.busy_until_s = clock_s
        return leaving

    def hang_up(self, at_s: float) -> Outgoing:
        """Pull the cable."""
        self.dead = True
        return self._outgoing(at_s, b"", hangup=True)

    def _pass(self, frame: bytes, at_s: float) -> list[Outgoing]:
        self.frames_out += 1
        data = bytearray(frame)
        lost: set[int] = set()
        struck = self._strikes("out", self.frames_out)
        hits = [] if struck is None else [(struck, flip_index(len(frame)))]
        for fault in [f for f in self.faults if f.side == "out" and f.counted == "byte"]:
            if 0 < fault.number - self.bytes_out <= len(frame):
                self.faults.remove(fault)
                hits.append((fault, fault.number - self.bytes_out - 1))
        self.bytes_out += len(frame)
        end = len(data)
        cut = False
        for fault, index in hits:
            whole = fault.counted == "frame"
            if fault.kind == "flip":
                data[index] ^= 0x10
            elif fault.kind == "lose":
                lost |= set(range(len(data))) if whole else {index}
            elif fault.kind == "delay":
                at_s += fault.delay_s
            else:
                end = min(end, len(data) // 2 if whole else index + 1)
                cut |= fault.kind == "cut"
                self.power_failed |= fault.kind == "reboot"
        left = bytes(byte for index, byte in enumerate(data[:end]) if index not in lost) if lost else bytes(data[:end])
        self.dead |= cut
        return [self._outgoing(at_s, left, hangup=cut)] if left or cut else []

    def _outgoing(self, at_s: float, data: bytes, *, hangup: bool) -> Outgoing:
        self._last_at_s = max(self._last_at_s, at_s)
        return Outgoing(at_s=self._last_at_s, data=data, hangup=hangup)

    def _strikes(self, side: Side, number: int) -> Fault | None:
        for fault in self.faults:
            if (fault.side, fault.counted, fault.number) == (side, "frame", number):
                self.faults.remove(fault)
                return fault
        return None


def flip_index(size: int) -> int:
    """Return which byte of a frame of `size` bytes a flip strikes: beyond any header, so that frames stay frames."""
    return max(0, size - 3) if size < 24 else size // 2 + 4


def _split(data: bytes, size: int) -> tuple[bytes, bytes]:
    return data[:size], data[size:]


class SimulatedUnit:
    """One simulated unit: what a link talks to (`device`), and what a test may look at behind its back."""

    profile: Profile
    preset: str
    serial: str | None
    """The serial number that the unit tells on its wire; None where its model tells none."""
    device: Device
    flash: Any
    """The family's non-volatile memory, as a test may read and change it."""
    line: Line
    log: list[int]
    """The codes of every command received, in order."""
    state: Path | None = None
    datagram_device: Device | None = None
    """The same unit on UDP, where its model has that: every `receive` and every `Outgoing` is one datagram."""
    gatt_device: GattDevice | None = None
    """The unit's radio, where its family speaks Bluetooth LE; it then has no serial line and `device` is never used."""
    on_terminal: bool = True
    """Whether it has a serial line, which a pseudo terminal can stand for."""
    in_pieces: bool = False
    """Whether it matters in which pieces its bytes leave; else those that are due at one time may leave together."""

    @property
    def credential(self) -> dict[str, Any]:
        """The table of a credential file that opens it, as it is at the moment."""
        raise NotImplementedError

    @property
    def wire_bytes_in(self) -> int:
        """Bytes that the host has sent, heard or not."""
        return self.line.bytes_in

    @property
    def wire_bytes_out(self) -> int:
        """Bytes that the unit has sent, arrived or not."""
        return self.line.bytes_out

    @property
    def frames_in(self) -> int:
        """Whole frames that the unit has heard."""
        return self.line.frames_in

    @property
    def frames_out(self) -> int:
        """Frames that the unit has sent."""
        return self.line.frames_out

    def image(self) -> bytes:
        """Return the whole non-volatile memory as bytes; equal memories give equal bytes."""
        raise NotImplementedError

    def save(self) -> None:
        """Write the memory to the state file, if there is one: whole or not at all.

        Raises:
            FileTrouble: it cannot be written.
        """
        raise NotImplementedError


def write_state(path: Path, content: bytes) -> None:
    """Replace a state file in one step, so that a killed process leaves the old one or the new one.

    Raises:
        FileTrouble: it cannot be written.
    """
    fresh = path.with_name(path.name + ".new")
    try:
        fresh.write_bytes(content)
        fresh.replace(path)
    except OSError as error:
        raise FileTrouble(f"cannot write the state file {path}: {error.strerror or 'it cannot be opened'}") from None
