"""A Nuki Smart Lock, simulated from the wire reference of the family alone.

This half knows the radio: characteristics, advertising, indications, faults and hang-ups; what a message does stands in
`nuki_lock`, `nuki_lists` and `nuki_pairing`. Section numbers are those of the reference.
"""

from __future__ import annotations

import math
import uuid as uuids
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from lockmigrate.profiles import Profile
from lockmigrate.sim.nuki_crypto import NONCE_BYTES
from lockmigrate.sim.nuki_frames import (
    CRC_BYTES,
    DEVICE_INFORMATION,
    ENTRIES,
    FIRMWARE,
    HARDWARE,
    SERIAL_NUMBER,
    Answer,
    Message,
    in_clear,
    in_secret,
    pieces,
)
from lockmigrate.sim.nuki_lock import Lock
from lockmigrate.sim.nuki_pairing import Pairing
from lockmigrate.sim.nuki_presets import factory_flash, flash_of
from lockmigrate.sim.nuki_records import Flash
from lockmigrate.sim.nuki_settings import (
    OPTIONS,
    Settings,
    image_of,
    load_state,
    settings_of,
    stand_in_options,
    state_of,
)
from lockmigrate.sim.unit import EPSILON_S, Line, Options, SimulatedUnit, flip_index, write_state
from lockmigrate.transports import Outgoing
from lockmigrate.transports.gatt import (
    ATT_HEADER_BYTES,
    DEFAULT_MTU,
    Emitted,
    GattCharacteristic,
    GattRefusal,
    GattService,
    Property,
)

__all__ = ["NukiRadio", "NukiUnit", "open_unit", "stand_in_options"]

PIECE_BYTES: Final = 20
"""Section 1.1: what the document gives for one indication."""
MAX_VALUE_BYTES: Final = 512
"""The longest attribute value (Bluetooth Core 5.4, Vol 3 Part F, 3.2.9)."""
READ_NOT_PERMITTED, WRITE_NOT_PERMITTED, NO_SUCH_ATTRIBUTE, TOO_LONG = 0x02, 0x03, 0x0A, 0x0D
"""ATT errors (Core 5.4, Vol 3 Part F, 3.4.1.1)."""
FLAGS: Final = bytes([2, 0x01, 0x06])
"""AD structure: general discoverable, no classic Bluetooth (Core Specification Supplement, Part A, 1.3)."""
APPLE: Final = 0x004C
BEACON: Final = b"\x02\x15"
SERVICE_DATA: Final = 0x21
MANUFACTURER_DATA: Final = 0xFF
TX_POWER: Final = 0xC8
"""Section 1.2; bit 0 is set where the state has changed since a client read it."""
DATA: Final[frozenset[Property]] = frozenset({"write", "indicate"})


class RadioLine(Line):
    """Counters and faults of the radio: a frame is a write, or an indication. Nothing is lost because a lock works."""

    def deaf_bytes(self, count: int, start_s: float) -> int:
        """Hear everything."""
        return 0


class NukiRadio:
    """The lock as its radio sees it: a `GattDevice`."""

    def __init__(self, lock: Lock, line: Line) -> None:
        self.lock = lock
        self.line = line
        self.settings: Settings = lock.settings
        self.address = self.settings.address
        self.name = f"Nuki_{'Opener_' if self.settings.opener else ''}{self.settings.serial}"
        self.max_mtu = self.settings.max_mtu
        self.services = tuple(_services(lock))
        self.pairing = Pairing(lock)
        self._properties = {each.uuid: each.properties for service in self.services for each in service.characteristics}
        self._subscribed: set[str] = set()
        self._mtu = DEFAULT_MTU
        self._connected = False
        self._active_s = 0.0
        self._answers = 0
        self._entries = 0

    # ---- what is told without asking ---------------------------------------------------------------------------------

    def advertisement(self) -> bytes:
        """Section 1.2. While somebody is connected the same: whether a lock then falls silent is the host's matter."""
        places = self.lock.places
        number = self.settings.nuki_id.to_bytes(4, "big")
        new = not self.lock.flash.users and places.initial is not None
        if self.lock.in_pairing_mode() or new:
            service = places.pairing if self.lock.in_pairing_mode() or places.initial is None else places.initial
            return FLAGS + _structure(SERVICE_DATA, uuids.UUID(service).bytes[::-1] + number)
        beacon = BEACON + uuids.UUID(places.beacon).bytes + number + bytes([TX_POWER | self.lock.touched])
        return FLAGS + _structure(MANUFACTURER_DATA, APPLE.to_bytes(2, "little") + beacon)

    def read(self, uuid: str) -> bytes:
        """Only the Device Information can be read (section 1)."""
        if uuid not in self._properties:
            raise GattRefusal(NO_SUCH_ATTRIBUTE)
        hardware = ".".join(str(byte) for byte in self.settings.hardware)
        told = {SERIAL_NUMBER: self.settings.serial, FIRMWARE: self.settings.firmware, HARDWARE: hardware}
        if uuid not in told:
            raise GattRefusal(READ_NOT_PERMITTED)
        return told[uuid].encode("ascii")

    # ---- the connection ----------------------------------------------------------------------------------------------

    def connected(self, now_s: float) -> list[Emitted]:
        """A client came. Subscriptions are not remembered from one connection to the next (section 1)."""
        self._end()
        self.lock.tick(now_s)
        self.line.opened(now_s)
        self._mtu = DEFAULT_MTU
        self._connected = True
        self._active_s = now_s
        return []

    def mtu(self, mtu: int) -> None:
        """Client and lock agreed on an MTU."""
        self._mtu = max(DEFAULT_MTU, min(mtu, self.max_mtu))

    def subscribed(self, uuid: str, on: bool) -> None:
        """The client wrote a configuration descriptor."""
        if on:
            self._subscribed.add(uuid)
        else:
            self._subscribed.discard(uuid)

    def disconnected(self) -> None:
        """The client is gone."""
        self._end()

    def _end(self) -> None:
        self._connected = False
        self._subscribed.clear()
        self.lock.link_ended()
        self.pairing.link_ended()

    def due_s(self) -> float | None:
        """When an idle link ends, or pairing mode."""
        dates = [self.lock.pairing_until_s] if self.lock.in_pairing_mode() else []
        if self._connected and self.settings.idle_s and not self.line.dead:
            dates.append(self._active_s + self.settings.idle_s)
        soonest_s = min(dates, default=math.inf)
        return None if math.isinf(soonest_s) else soonest_s

    def tick(self, now_s: float) -> list[Emitted]:
        """Hang up an idle link (section 1.2)."""
        self.lock.tick(now_s)
        idle_s = self.settings.idle_s
        if not (self._connected and idle_s and not self.line.dead and now_s + EPSILON_S >= self._active_s + idle_s):
            return []
        return [self._emitted(self.line.hang_up(now_s), "", lost=False)]

    # ---- messages ----------------------------------------------------------------------------------------------------

    def write(self, uuid: str, data: bytes, now_s: float) -> list[Emitted]:
        """Take one write; each is a whole message (section 1.1)."""
        if uuid not in self._properties:
            raise GattRefusal(NO_SUCH_ATTRIBUTE)
        if not self._properties[uuid] & {"write", "write-without-response"}:
            raise GattRefusal(WRITE_NOT_PERMITTED)
        if len(data) > MAX_VALUE_BYTES:
            raise GattRefusal(TOO_LONG)
        self.lock.tick(now_s)
        self._active_s = max(self._active_s, now_s)
        heard, at_s = b"", now_s
        for arrival in self.line.arrive(data, now_s):
            if self.line.dead:
                return []
            heard, at_s = heard + arrival.data, arrival.end_s
            if arrival.struck is not None:
                # Half a long write is never executed (Core 5.4, Vol 3 Part G, 4.9.4).
                return self._power_cycle(at_s) if arrival.struck.kind == "reboot" else [self._drop(at_s)]
        return self._heard(uuid, heard, at_s)

    def _heard(self, uuid: str, raw: bytes, at_s: float) -> list[Emitted]:
        fault = self.line.frame_came()
        kind = fault.kind if fault is not None else None
        if kind == "cut":
            return [self._drop(at_s)]
        if kind == "reboot":
            return self._power_cycle(at_s)
        if kind == "lose":
            return []
        if kind == "flip" and raw:
            at = flip_index(len(raw))
            raw = raw[:at] + bytes([raw[at] ^ 0x10]) + raw[at + 1 :]
        if kind == "delay" and fault is not None:
            at_s += fault.delay_s
        answer = self._answer(uuid, raw)
        if answer is None:
            return []
        leaving = self._send(answer, at_s)
        if answer.reboots and not self.line.dead:
            leaving += self._power_cycle(self.line.busy_until_s)
        return leaving

    def _answer(self, uuid: str, raw: bytes) -> Answer | None:
        places = self.lock.places
        if uuid == places.user_io:
            return self.lock.hear(raw)
        if uuid == places.pairing_io:
            return self.pairing.hear(raw)
        return self.lock.hear_clear(raw) if uuid == places.clear_io else None

    def _send(self, answer: Answer, at_s: float) -> list[Emitted]:
        """Frame and cut up what the lock says; without a subscription nothing leaves."""
        settings = self.settings
        leaving: list[Emitted] = []
        for count, message in enumerate(self._faulty(answer.messages)):
            at_s = max(at_s, self.line.busy_until_s) + message.delay_s + (settings.pace_s if count else 0.0)
            self._answers += 1
            if self._answers == settings.drop_before:
                return [*leaving, self._drop(at_s)]
            raw = self._framed(answer, message)
            size = min(PIECE_BYTES, self._room) if settings.small_pieces else self._room
            if answer.uuid in self._subscribed:
                leaving += [self._emitted(sent, answer.uuid) for sent in self.line.send(pieces(raw, size), at_s)]
            if self.line.power_failed:
                return leaving + self._power_cycle(at_s)
            if self.line.dead:
                return leaving
            if message.code in ENTRIES:
                self._entries += 1
                if self._entries == settings.drop_entries:
                    return [*leaving, self._drop(at_s)]
        self._active_s = max(self._active_s, self.line.busy_until_s)
        return leaving

    @property
    def _room(self) -> int:
        return self._mtu - ATT_HEADER_BYTES

    def _faulty(self, messages: list[Message]) -> Iterator[Message]:
        """Leave an entry out, or say it twice, where that was asked for."""
        for message in messages:
            entry = self._entries + 1 if message.code in ENTRIES else 0
            if entry and entry == self.settings.missing:
                self._entries += 1
                continue
            yield message
            if entry and entry == self.settings.double:
                self._entries -= 1
                yield message

    def _framed(self, answer: Answer, message: Message) -> bytes:
        wrong = self._answers == self.settings.bad_crc
        if answer.key is None:
            raw = in_clear(message.code, message.payload)
            return raw[:-CRC_BYTES] + bytes(byte ^ 0x55 for byte in raw[-CRC_BYTES:]) if wrong else raw
        crc = b"\x55\xaa" if wrong else bytes(CRC_BYTES) if self.settings.crc0 else None
        nonce = self.lock.draw(NONCE_BYTES)
        return in_secret(answer.key, nonce, answer.authorization_id, message, crc=crc)

    def _emitted(self, sent: Outgoing, uuid: str, *, lost: bool | None = None) -> Emitted:
        lost = sent.hangup and (self.settings.lost if lost is None else lost)
        return Emitted(at_s=sent.at_s, uuid=uuid if sent.data else "", data=sent.data, hangup=sent.hangup, lost=lost)

    def _drop(self, at_s: float) -> Emitted:
        return self._emitted(self.line.hang_up(at_s), "")

    def _power_cycle(self, at_s: float) -> list[Emitted]:
        """Lose everything that is not in flash, and the link without a goodbye."""
        self.line.power_failed = False
        self.lock.power_on()
        return [self._emitted(self.line.hang_up(at_s), "", lost=True)]


class NukiUnit(SimulatedUnit):
    """One simulated lock with its flash and its button."""

    flash: Flash
    gatt_device: NukiRadio
    on_terminal = False
    in_pieces = True

    def __init__(self, profile: Profile, preset: str, options: Options, state: Path | None) -> None:
        settings = settings_of(profile, preset, options)
        kept = None if state is None else load_state(state, profile, settings)
        self.profile = profile
        self.preset = preset
        self.state = state
        self.flash = flash_of(profile, preset, options, settings) if kept is None else kept
        self.settings = settings
        self.serial = settings.serial
        self.line = RadioLine(baud=1, faults=options.faults())
        pairing = options.flag("pairing", default=preset == "fresh" and not self.flash.users)
        self.lock = Lock(settings, self.flash, self.save, pairing=pairing)
        self.log = self.lock.log
        self.gatt_device = NukiRadio(self.lock, self.line)
        if kept is None:
            self.save()

    @property
    def id(self) -> str:
        """The Nuki ID as it is printed: 8 upper-case hexadecimal digits."""
        return self.settings.serial

    @property
    def credential(self) -> dict[str, Any]:
        """The `[nuki]` table of a credential file; where nobody has paired yet, only what pairing needs."""
        own = self.flash.users.get(self.flash.own_id) if self.flash.own_id is not None else None
        if own is None:
            return {"security_pin": self.flash.pin}
        return {
            "authorization_id": own.authorization_id,
            "shared_key": own.key.hex(),
            "app_id": own.app_id,
            "security_pin": self.flash.pin,
            "address": self.settings.address,
            "uuid": self.flash.uuid.hex(),
        }

    @property
    def actions(self) -> list[int]:
        """Lock actions obeyed."""
        return self.lock.actions

    @property
    def draw(self) -> Callable[[int], bytes]:
        """Where nonces and challenges come from; a test may put its own source here."""
        return self.lock.draw

    @draw.setter
    def draw(self, source: Callable[[int], bytes]) -> None:
        self.lock.draw = source

    def press_button(self, now_s: float | None = None) -> bool:
        """Hold the button for five seconds; False where the configuration does not allow pairing.

        Args:
            now_s: The caller's clock, if it has one: pairing mode ends `pairing_s` later. Without it, that time counts
                from the next thing that happens to the lock.
        """
        pressed = self.lock.hold_button()
        if now_s is not None:
            self.lock.tick(now_s)
        return pressed

    def another_client_changes(self) -> None:
        """Let somebody else change the configuration, as during a backup."""
        self.lock.another_client_changes()

    def factory_reset(self) -> None:
        """Forget everybody and everything, keypads too: a new uuid and key pair (section 4), the same Nuki ID.

        A lock of generation 5 keeps its PIN here: pairing needs one, and only the maker's app can set the first.
        """
        flash = self.flash
        pin = flash.pin if self.settings.generation == 5 else 0
        fresh = factory_flash(self.settings, self.lock.draw(16), self.lock.draw(32))
        for name, value in vars(fresh).items():
            setattr(flash, name, value)
        flash.pin = pin
        self.lock.power_on()
        self.lock.end_pairing_mode()
        self.lock.keep()

    def image(self) -> bytes:
        """Return all that an owner has put into the lock; not log, clock, counters and who was active when."""
        return image_of(self.settings, self.flash)

    def save(self) -> None:
        """Write the memory to the state file, if there is one."""
        if self.state is not None:
            write_state(self.state, state_of(self.profile, self.settings, self.flash))


def open_unit(profile: Profile, preset: str, options: Mapping[str, str], *, state: Path | None) -> NukiUnit:
    """Make a simulated lock; see `lockmigrate.sim.open_unit`."""
    return NukiUnit(profile, preset, Options(options, known=OPTIONS), state)


def _structure(kind: int, data: bytes) -> bytes:
    """Build one AD structure."""
    return bytes([1 + len(data), kind]) + data


def _services(lock: Lock) -> Iterator[GattService]:
    """Section 1."""
    places = lock.places

    def of(uuid: str, *properties: Property) -> GattCharacteristic:
        return GattCharacteristic(uuid=uuid, properties=frozenset(properties))

    data: tuple[Property, ...] = ("write", "indicate")
    if places.initial is not None:
        yield GattService(uuid=places.initial, characteristics=())
    yield GattService(uuid=places.pairing, characteristics=(of(places.pairing_io, *data),))
    third = (of(places.third, "write-without-response"),) if places.third is not None else ()
    main = (of(places.clear_io, *data), of(places.user_io, *data), *third)
    yield GattService(uuid=places.service, characteristics=main)
    told = tuple(of(uuid, "read") for uuid in (SERIAL_NUMBER, FIRMWARE, HARDWARE))
    yield GattService(uuid=DEVICE_INFORMATION, characteristics=told)
