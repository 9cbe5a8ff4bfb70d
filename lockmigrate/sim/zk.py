"""A ZKTeco-style terminal, simulated from the wire reference of the family alone.

This half knows wrappers, datagrams, faults and power; what a packet does stands in `zk_commands`. Section numbers are
those of the reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from lockmigrate.profiles import Profile
from lockmigrate.sim.unit import Arrival, Line, Options, SimulatedUnit, flip_index, write_state
from lockmigrate.sim.zk_commands import Terminal
from lockmigrate.sim.zk_data import OPTION_NAMES, Flash, Settings, load_state, settings_of, state_of, user_id_of
from lockmigrate.sim.zk_packets import (
    DATAGRAM_DATA_BYTES,
    HEAD,
    MAGIC,
    MAX_PACKET_BYTES,
    WRAP,
    Code,
    Packet,
    Received,
    build,
    parse,
)
from lockmigrate.sim.zk_presets import flash_of
from lockmigrate.sim.zk_tables import Session
from lockmigrate.transports import Outgoing

DRIBBLE: Final = (1, 7, 2, 9, 3, 5)
"""How many bytes leave at a time, in turn, when answers dribble."""
K20_SEGMENT_BYTES: Final = 112
"""Section 11, number 7."""
EVENT_ATTENDANCE, EVENT_SCORE = 1, 256


class NetworkLine(Line):
    """A network waits until the terminal has time; a serial line does not."""

    def deaf_bytes(self, count: int, start_s: float) -> int:
        """Nothing is lost because the terminal is busy."""
        return 0


class _Plug:
    """What TCP and UDP have in common: a session, and what is sent for a packet."""

    def __init__(self, terminal: Terminal, line: Line, *, datagrams: bool) -> None:
        self.terminal = terminal
        self.settings = terminal.settings
        self.line = line
        self.session = Session(datagrams)
        terminal.sessions.append(self.session)
        self._since_event = 0
        self._events_sent = 0

    def opened(self, now_s: float) -> list[Outgoing]:
        """A host connected (TCP) or sends its first datagram."""
        self.line.opened(now_s)
        self.session.end()
        return []

    def closed(self) -> None:
        """The host is gone: so is its session, but a disabled terminal stays disabled."""
        self.session.end()

    def set_host_baud(self, baud: int | None) -> None:
        """A network has no speed."""

    def _dress(self, packet: bytes) -> bytes:
        """Wrap a packet for the medium."""
        raise NotImplementedError

    def _power_cycle(self, at_s: float) -> list[Outgoing]:
        """Lose everything that is not in flash."""
        self.line.power_failed = False
        self.terminal.power_on()
        return []

    def _heard(self, raw: bytes, at_s: float) -> list[Outgoing]:
        """Deal with one whole packet."""
        fault = self.line.frame_came()
        kind = fault.kind if fault is not None else None
        if kind == "cut":
            return [self.line.hang_up(at_s)]
        if kind == "reboot":
            return self._power_cycle(at_s)
        if kind == "lose":
            return []
        if kind == "flip":
            at = flip_index(len(raw))
            raw = raw[:at] + bytes([raw[at] ^ 0x10]) + raw[at + 1 :]
        if kind == "delay" and fault is not None:
            at_s += fault.delay_s
        received = parse(raw)
        if received is None:
            return self._damaged(raw, at_s)
        answer = self.terminal.handle(self.session, received, at_s)
        leaving = self._send(answer, received, at_s) if self.terminal.answers else []
        if self.terminal.power_fails or self.line.power_failed:
            leaving += self._power_cycle(self.line.busy_until_s)
        return leaving

    def _damaged(self, raw: bytes, at_s: float) -> list[Outgoing]:
        """Section 2 does not say what a terminal does with a wrong sum: nothing, unless a quirk asks for REPEAT."""
        if "repeat" not in self.settings.quirks or len(raw) < HEAD.size:
            return []
        _, _, session, reply = HEAD.unpack_from(raw)
        return self.line.send([self._dress(build(Code.REPEAT, session, reply, b""))], at_s)

    def _send(self, answer: list[Packet], received: Received, at_s: float) -> list[Outgoing]:
        own = self.session.number or 0
        split = len(answer) > 1
        leaving: list[Outgoing] = []
        clock_s = at_s
        for count, packet in enumerate(answer):
            if self.line.dead or self.line.power_failed:
                break
            clock_s += self.settings.pace_s if split and count else 0.0
            number = own if packet.session is None else packet.session
            frame = self._dress(build(packet.code, number, received.reply, packet.data))
            leaving += self._cut_up(packet, frame, self.line.send([frame], clock_s))
            leaving += self._event(clock_s)
        return leaving

    def _cut_up(self, packet: Packet, frame: bytes, leaving: list[Outgoing]) -> list[Outgoing]:
        """Return what leaves of a packet in the pieces that the medium makes of it."""
        raise NotImplementedError

    def _event(self, at_s: float) -> list[Outgoing]:
        """Section 2: an event may come between any two packets; its session field is its code, its number 0."""
        mask = self.session.events | (EVENT_SCORE if self.settings.unasked else 0)
        if not self.settings.events or not mask & (EVENT_ATTENDANCE | EVENT_SCORE):
            return []
        self._since_event += 1
        if self._since_event < self.settings.events or self.line.dead or self.line.power_failed:
            return []
        self._since_event = 0
        self._events_sent += 1
        code, data = EVENT_SCORE, b"\x64"
        if mask & EVENT_ATTENDANCE and (self._events_sent % 2 or not mask & EVENT_SCORE):
            code, data = EVENT_ATTENDANCE, self._attendance()
        return self.line.send([self._dress(build(Code.REG_EVENT, code, 0, data))], at_s)

    def _attendance(self) -> bytes:
        """Make an attendance event: user id, state, verify, six bytes of time. Its layout is pyzk's (unconfirmed)."""
        record = next(iter(self.terminal.flash.users.values()), b"")
        user_id = user_id_of(record) if record else b"1"
        now = self.terminal.clock()
        return user_id.ljust(24, b"\0") + bytes(
            [0, 1, now.year - 2000, now.month, now.day, now.hour, now.minute, now.second]
        )


class ZkStream(_Plug):
    """The terminal on TCP: a `Device`. One host at a time."""

    def __init__(self, terminal: Terminal, line: Line) -> None:
        super().__init__(terminal, line, datagrams=False)
        self._buffer = bytearray()
        self._dribbled = 0

    def opened(self, now_s: float) -> list[Outgoing]:
        """A host connected."""
        self._buffer.clear()
        return super().opened(now_s)

    def closed(self) -> None:
        """The host is gone."""
        self._buffer.clear()
        super().closed()

    def receive(self, data: bytes, now_s: float) -> list[Outgoing]:
        """Take bytes, cut anyhow."""
        leaving: list[Outgoing] = []
        for arrival in self.line.arrive(data, now_s):
            if self.line.dead:
                break
            self._buffer += arrival.data
            leaving += self._packets(arrival.end_s)
            if arrival.struck is not None and not self.line.dead:
                cut = arrival.struck.kind == "cut"
                leaving += [self.line.hang_up(arrival.end_s)] if cut else self._power_cycle(arrival.end_s)
        return self._dribble(leaving) if self.settings.dribble else leaving

    def _packets(self, at_s: float) -> list[Outgoing]:
        """Section 1: eight bytes, then exactly as many as they say; the magic is never searched for."""
        leaving: list[Outgoing] = []
        while not self.line.dead and len(self._buffer) >= WRAP.size:
            magic, size = WRAP.unpack_from(self._buffer)
            if magic != MAGIC or not HEAD.size <= size <= MAX_PACKET_BYTES:
                self._buffer.clear()
                return [*leaving, self.line.hang_up(at_s)]
            end = WRAP.size + size
            if len(self._buffer) < end:
                break
            raw = bytes(self._buffer[WRAP.size : end])
            del self._buffer[:end]
            leaving += self._heard(raw, at_s)
        return leaving

    def _dress(self, packet: bytes) -> bytes:
        return WRAP.pack(MAGIC, len(packet)) + packet

    def _power_cycle(self, at_s: float) -> list[Outgoing]:
        self._buffer.clear()
        super()._power_cycle(at_s)
        return [self.line.hang_up(at_s)]

    def _cut_up(self, packet: Packet, frame: bytes, leaving: list[Outgoing]) -> list[Outgoing]:
        if packet.code != Code.DATA or "two-segments" not in self.settings.quirks or not leaving:
            return leaving
        first, *rest = leaving
        whole = first.data
        pieces = [replace(first, data=whole[:K20_SEGMENT_BYTES], hangup=False)]
        return [*pieces, replace(first, data=whole[K20_SEGMENT_BYTES:]), *rest]

    def _dribble(self, leaving: list[Outgoing]) -> list[Outgoing]:
        """Cut what leaves at one time into a few bytes each, across the borders of packets."""
        dribbled: list[Outgoing] = []
        at = 0
        while at < len(leaving):
            end = at + 1
            while end < len(leaving) and leaving[end].at_s == leaving[at].at_s and not leaving[end - 1].hangup:
                end += 1
            data = b"".join(piece.data for piece in leaving[at:end])
            while data:
                size = DRIBBLE[self._dribbled % len(DRIBBLE)]
                self._dribbled += 1
                dribbled.append(Outgoing(at_s=leaving[at].at_s, data=data[:size]))
                data = data[size:]
            if leaving[end - 1].hangup:
                dribbled.append(Outgoing(at_s=leaving[at].at_s, hangup=True))
            at = end
        return dribbled


class ZkDatagrams(_Plug):
    """The terminal on UDP: a `Device` whose every `receive` and every `Outgoing` is one datagram."""

    def __init__(self, terminal: Terminal, line: Line) -> None:
        super().__init__(terminal, line, datagrams=True)

    def receive(self, data: bytes, now_s: float) -> list[Outgoing]:
        """Take one datagram. One with more than 1024 bytes of data is ignored (section 7: "failed silently")."""
        pieces: list[Arrival] = []
        for arrival in self.line.arrive(data, now_s):
            if not self.line.dead:
                pieces.append(arrival)
            if arrival.struck is not None and not self.line.dead:
                cut = arrival.struck.kind == "cut"
                return [self.line.hang_up(arrival.end_s)] if cut else self._power_cycle(arrival.end_s)
        raw = b"".join(piece.data for piece in pieces)
        if not pieces or len(raw) > HEAD.size + DATAGRAM_DATA_BYTES:
            return []
        return self._heard(raw, pieces[-1].end_s)

    def _dress(self, packet: bytes) -> bytes:
        return packet

    def _cut_up(self, packet: Packet, frame: bytes, leaving: list[Outgoing]) -> list[Outgoing]:
        """A datagram comes whole or not at all."""
        whole = [piece if len(piece.data) == len(frame) else replace(piece, data=b"") for piece in leaving]
        return [piece for piece in whole if piece.data or piece.hangup]


class ZkUnit(SimulatedUnit):
    """One simulated terminal with its flash, on TCP and on UDP."""

    flash: Flash
    device: ZkStream | ZkDatagrams
    on_terminal = False

    def __init__(self, profile: Profile, preset: str, options: Options, state: Path | None) -> None:
        settings = settings_of(profile, preset, options)
        kept = None if state is None else load_state(state, profile, settings)
        self.profile = profile
        self.preset = preset
        self.state = state
        self.flash = flash_of(profile, preset, options, settings) if kept is None else kept
        self.settings: Settings = settings
        self.serial = settings.serial
        self.line = NetworkLine(baud=1, faults=options.faults())
        self.terminal = Terminal(settings, self.flash, self.save)
        self.log = self.terminal.log
        self.stream_device = ZkStream(self.terminal, self.line)
        self.datagram_device = ZkDatagrams(self.terminal, self.line)
        self.device = self.datagram_device if settings.datagrams else self.stream_device
        self.in_pieces = settings.dribble or "two-segments" in settings.quirks
        if kept is None:
            self.save()

    @property
    def credential(self) -> dict[str, Any]:
        """The `[zk]` table of a credential file; empty where no comm key is set."""
        return {"comm_key": self.flash.comm_key} if self.flash.comm_key else {}

    @property
    def unlocked(self) -> int:
        """How often the door was told to open."""
        return self.terminal.unlocked

    def image(self) -> bytes:
        """Return all users, templates and doors as bytes; not serial number, clock, options and logs."""
        return self.flash.image()

    def save(self) -> None:
        """Write the flash to the state file, if there is one."""
        if self.state is not None:
            write_state(self.state, state_of(self.profile, self.settings, self.flash))


def open_unit(profile: Profile, preset: str, options: Mapping[str, str], *, state: Path | None) -> ZkUnit:
    """Make a simulated terminal; see `lockmigrate.sim.open_unit`."""
    return ZkUnit(profile, preset, Options(options, known=OPTION_NAMES), state)


def stand_in_options(facts: Mapping[str, object]) -> dict[str, str]:
    """Return options for a terminal like the one a backup came from; see `lockmigrate.sim.stand_in_options`."""
    found = {
        "width": facts.get("record_bytes") if facts.get("record_bytes") in (28, 72) else None,
        "fp": facts.get("fp_version"),
        "capacity": facts.get("users"),
        "template_capacity": facts.get("slots"),
        "capacity_bytes": facts.get("capacity_bytes"),
        "firmware": facts.get("firmware"),
        "platform": facts.get("platform"),
        "zones": facts.get("zones"),
        "verify": facts.get("verify"),
    }
    told = {name: str(int(value) if isinstance(value, bool) else value) for name, value in found.items()}
    return {name: told[name] for name, value in found.items() if value is not None}
