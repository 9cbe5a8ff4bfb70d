"""A TTLock / Sciener lock (protocol V3), simulated from the wire reference of the family alone.

This half knows the radio: characteristics, advertising, notifications, sleep, faults and hang-ups; what a request does
stands in `ttlock_lock` and the modules that it is made of. Section numbers are those of the reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from lockmigrate.profiles import Profile
from lockmigrate.sim.ttlock_frames import (
    BATTERY_LEVEL,
    BATTERY_SERVICE,
    CRLF,
    DEVICE_INFORMATION,
    FIRMWARE,
    HARDWARE,
    MAKER,
    MODEL,
    NOTIFY,
    OTHER_NOTIFY,
    OTHER_SERVICE,
    OTHER_WRITE,
    PROTOCOL,
    SERVICE,
    UPDATE_CONTROL,
    UPDATE_PACKET,
    UPDATE_SERVICE,
    UPDATE_VERSION,
    WRITE,
    Assembler,
)
from lockmigrate.sim.ttlock_lock import Lock, Said
from lockmigrate.sim.ttlock_presets import flash_of, room_of
from lockmigrate.sim.ttlock_records import Flash
from lockmigrate.sim.ttlock_settings import OPTIONS, Settings, settings_of
from lockmigrate.sim.ttlock_state import image_of, load_state, stand_in_options, state_of
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

__all__ = ["TtlockRadio", "TtlockUnit", "open_unit", "stand_in_options"]

HALF_FRAME_S: Final = 3.0
"""Ours: how long the lock waits for the rest of a frame."""
READ_NOT_PERMITTED, WRITE_NOT_PERMITTED, NO_SUCH_ATTRIBUTE, TOO_LONG = 0x02, 0x03, 0x0A, 0x0D
"""ATT errors (Core 5.4, Vol 3 Part F, 3.4.1.1)."""
FLAGS: Final = bytes([2, 0x01, 0x06])
"""AD structure: general discoverable, no classic Bluetooth (Core Specification Supplement, Part A, 1.3)."""
SOME_SERVICES, MANUFACTURER_DATA = 0x02, 0xFF
SHORT_UUID: Final = b"\x10\x19"
"""1910, little-endian. What the members with another service advertise is unconfirmed; the same here."""
UNLOCKED, UNREAD, SETTING_MODE, TOUCHED = 0x01, 0x02, 0x04, 0x08
"""Section 2.3."""
MAKER_TEXT: Final = b"SCIENER"
UPDATE_VERSION_TOLD: Final = b"\x08\x00"
"""Both made up: nobody has published what a lock says here."""
UNKNOWN: Final = bytes.fromhex("b000f4f95365")
"""Section 2.3: captured, of unknown meaning; an advertisement of 15 bytes has four of them."""
TOLD_BATTERY: Final = 100
"""Section 2.1: the battery service says this whatever is left."""


class RadioLine(Line):
    """Counters and faults of the radio: a frame is a write, or a notification. Nothing is lost because a lock works."""

    def deaf_bytes(self, count: int, start_s: float) -> int:
        """Hear everything."""
        return 0


class TtlockRadio:
    """The lock as its radio sees it: a `GattDevice`."""

    def __init__(self, lock: Lock, line: Line) -> None:
        self.lock = lock
        self.line = line
        self.settings: Settings = lock.settings
        self.address = self.settings.mac
        self.name = self.settings.name
        self.max_mtu = self.settings.max_mtu
        self.services = tuple(_services(self.settings))
        self.assembler = Assembler()
        self._write = OTHER_WRITE if self.settings.other_service else WRITE
        self._notify = OTHER_NOTIFY if self.settings.other_service else NOTIFY
        self._properties = {each.uuid: each.properties for service in self.services for each in service.characteristics}
        self._subscribed: set[str] = set()
        self._mtu = DEFAULT_MTU
        self._connected = False
        self._has_read = False
        self._active_s = 0.0
        self._answers = 0
        self._awake = self.settings.awake
        self._touched = False
        self._sleeps_s: float | None = None
        """When it falls asleep; None where that is not known yet, for nobody has said what time it is."""

    # ---- what is told without asking ---------------------------------------------------------------------------------

    def advertisement(self) -> bytes:
        """Section 2.3. While somebody is connected the same: whether a lock then falls silent is the host's matter."""
        if not self._awake:
            return b""
        flash, settings = self.lock.flash, self.settings
        flags = UNLOCKED * flash.unlocked | UNREAD * self.lock.has_unread | TOUCHED * self._touched
        flags |= 0 if flash.paired else SETTING_MODE
        own = bytes([*PROTOCOL, settings.place.scene, flags, self.lock.battery])
        own += UNKNOWN[: settings.adv - len(own) - len(settings.address)] + settings.address[::-1]
        return FLAGS + _structure(SOME_SERVICES, SHORT_UUID) + _structure(MANUFACTURER_DATA, own)

    def read(self, uuid: str) -> bytes:
        """Device information and battery can be read (section 2.1)."""
        if uuid not in self._properties:
            raise GattRefusal(NO_SUCH_ATTRIBUTE)
        settings = self.settings
        told = {
            MAKER: MAKER_TEXT,
            MODEL: settings.model.encode("ascii"),
            HARDWARE: settings.hardware.encode("ascii"),
            FIRMWARE: settings.firmware.encode("ascii"),
            BATTERY_LEVEL: bytes([TOLD_BATTERY]),
            UPDATE_VERSION: UPDATE_VERSION_TOLD,
        }
        if uuid not in told:
            raise GattRefusal(READ_NOT_PERMITTED)
        self._has_read = True
        return told[uuid]

    def touch(self, now_s: float | None) -> None:
        """Wake up."""
        self._awake = self._touched = True
        self._sleeps_s = None if now_s is None else now_s + self.settings.sleep_s
        if now_s is not None:
            self.lock.tick(now_s)

    # ---- the connection ----------------------------------------------------------------------------------------------

    def connected(self, now_s: float) -> list[Emitted]:
        """A client came. Subscriptions are not remembered from one connection to the next."""
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
        """The client is gone; the lock soon sleeps."""
        self._end()
        self._sleeps_s = self.lock.now_s + self.settings.sleep_s

    def _end(self) -> None:
        self._connected = self._has_read = False
        self._subscribed.clear()
        self.assembler.reset()
        self.lock.link_ended()

    def due_s(self) -> float | None:
        """When something is planned, an idle link ends, or the lock falls asleep."""
        dates = [due_s] if (due_s := self.lock.due_s()) is not None else []
        if self._connected and self.settings.idle_s and not self.line.dead:
            dates.append(self._active_s + self.settings.idle_s)
        if self._may_sleep and self._sleeps_s is not None:
            dates.append(self._sleeps_s)
        soonest_s = min(dates, default=math.inf)
        return None if math.isinf(soonest_s) else soonest_s

    @property
    def _may_sleep(self) -> bool:
        return self._awake and not self._connected and bool(self.settings.sleep_s)

    def tick(self, now_s: float) -> list[Emitted]:
        """Say what was planned; hang up an idle link, or fall asleep."""
        said = self.lock.tick(now_s)
        if self._may_sleep:
            self._sleeps_s = now_s + self.settings.sleep_s if self._sleeps_s is None else self._sleeps_s
            if now_s + EPSILON_S >= self._sleeps_s:
                self._awake = self._touched = False
        if not self._connected or self.line.dead:
            return []
        leaving = self._send(said, now_s)
        idle_s = self.settings.idle_s
        if idle_s and not self.line.dead and now_s + EPSILON_S >= self._active_s + idle_s:
            leaving.append(self._emitted(self.line.hang_up(now_s), lost=False))
        return leaving

    # ---- frames ------------------------------------------------------------------------------------------------------

    def write(self, uuid: str, data: bytes, now_s: float) -> list[Emitted]:
        """Take a piece of a frame (section 2.2)."""
        if uuid not in self._properties:
            raise GattRefusal(NO_SUCH_ATTRIBUTE)
        if uuid != self._write:
            raise GattRefusal(WRITE_NOT_PERMITTED)
        if len(data) > self._mtu - ATT_HEADER_BYTES:
            raise GattRefusal(TOO_LONG)
        leaving = self._send(self.lock.tick(now_s), now_s)
        if now_s > self._active_s + HALF_FRAME_S:
            self.assembler.give_up()
        self._active_s = max(self._active_s, now_s)
        heard, at_s = b"", now_s
        for arrival in self.line.arrive(data, now_s):
            if self.line.dead:
                return leaving
            heard, at_s = heard + arrival.data, arrival.end_s
            if arrival.struck is not None:
                return leaving + (self._power_cycle(at_s) if arrival.struck.kind == "reboot" else [self._drop(at_s)])
        return leaving + self._heard(heard, at_s)

    def _heard(self, raw: bytes, at_s: float) -> list[Emitted]:
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
        leaving: list[Emitted] = []
        for request in self.assembler.feed(raw):
            if not self.line.dead:
                leaving += self._send(self.lock.hear(request), at_s + self.settings.think_s)
        return leaving

    def _send(self, said: list[Said], at_s: float) -> list[Emitted]:
        """Cut up what the lock says; without a subscription nothing leaves."""
        leaving: list[Emitted] = []
        before = b""
        for one in said:
            if one.pushed and self.settings.joined:
                before += one.raw
                continue
            raw, before = before + one.raw, b""
            if not one.pushed:
                self._answers += 1
                if self._answers == self.settings.drop_before:
                    return [*leaving, self._drop(at_s)]
                if self._answers == self.settings.crc_wrong:
                    at = len(raw) - len(CRLF) - 1
                    raw = raw[:at] + bytes([raw[at] ^ 0x55]) + raw[at + 1 :]
            leaving += self._pieces(raw, at_s)
            if self.line.power_failed:
                return leaving + self._power_cycle(at_s)
            if self.line.dead:
                return leaving
            if one.hangs_up or (not one.pushed and self._answers == self.settings.drop_after):
                return [*leaving, self._drop(at_s, lost=False if one.hangs_up else None)]
        if before:
            leaving += self._pieces(before, at_s)
        self._active_s = max(self._active_s, self.line.busy_until_s)
        return leaving

    def _pieces(self, raw: bytes, at_s: float) -> list[Emitted]:
        if self._notify not in self._subscribed or (self.settings.read_first and not self._has_read):
            return []
        size = min(self.settings.piece, self._mtu - ATT_HEADER_BYTES)
        leaving: list[Emitted] = []
        for at in range(0, len(raw), size):
            at_s = max(at_s, self.line.busy_until_s) + (self.settings.pace_s if at else 0.0)
            leaving += [self._emitted(sent) for sent in self.line.send([raw[at : at + size]], at_s)]
        return leaving

    def _emitted(self, sent: Outgoing, *, lost: bool | None = None) -> Emitted:
        lost = sent.hangup and (self.settings.lost if lost is None else lost)
        uuid = self._notify if sent.data else ""
        return Emitted(at_s=sent.at_s, uuid=uuid, data=sent.data, hangup=sent.hangup, lost=lost)

    def _drop(self, at_s: float, *, lost: bool | None = None) -> Emitted:
        return self._emitted(self.line.hang_up(max(at_s, self.line.busy_until_s)), lost=lost)

    def _power_cycle(self, at_s: float) -> list[Emitted]:
        """Lose everything that is not in flash, and the link without a goodbye."""
        self.line.power_failed = False
        self.lock.link_ended()
        return [self._emitted(self.line.hang_up(at_s), lost=True)]


class TtlockUnit(SimulatedUnit):
    """One simulated lock with its flash, its keypad, its reader and its sensor."""

    flash: Flash
    gatt_device: TtlockRadio
    on_terminal = False
    in_pieces = True

    def __init__(self, profile: Profile, preset: str, options: Options, state: Path | None) -> None:
        settings = settings_of(profile, preset, options, rooms=room_of(preset))
        kept = None if state is None else load_state(state, profile, settings)
        self.profile = profile
        self.preset = preset
        self.state = state
        self.flash = flash_of(preset, options, settings) if kept is None else kept
        self.settings = settings
        self.serial = settings.mac
        self.line = RadioLine(baud=1, faults=options.faults())
        self.lock = Lock(settings, self.flash, self.save)
        self.log = self.lock.log
        self.gatt_device = TtlockRadio(self.lock, self.line)
        if kept is None:
            self.save()

    @property
    def id(self) -> str:
        """The address, in upper case."""
        return self.settings.mac

    @property
    def rejected(self) -> int:
        """How many frames had a wrong checksum, or were none."""
        return self.gatt_device.assembler.rejected.total()

    @property
    def credential(self) -> dict[str, Any]:
        """The `[ttlock]` table of a credential file; that of a lock in factory state is empty: nothing is needed."""
        flash = self.flash
        if flash.aes_key is None:
            return {}
        code = {"admin_passcode": flash.admin_passcode} if flash.admin_passcode else {}
        return {
            "aes_key": flash.aes_key.hex(),
            "admin_ps": flash.admin_ps,
            "unlock_key": flash.unlock_key,
            "lock_flag_pos": flash.lock_flag_pos,
            "uid": 0,
            "address": self.settings.mac,
            **code,
        }

    @property
    def actions(self) -> list[str]:
        """What apps made the bolt do."""
        return self.lock.door.actions

    @property
    def draw(self) -> Callable[[int], bytes]:
        """Where keys, tokens and numbers come from; a test may put its own source here."""
        return self.lock.draw

    @draw.setter
    def draw(self, source: Callable[[int], bytes]) -> None:
        self.lock.draw = source

    def touch(self, now_s: float | None = None) -> None:
        """Touch the keypad: the lock wakes up.

        Args:
            now_s: The caller's clock, if it has one: the lock sleeps again `sleep_s` later. Without it, that time
                counts from the next thing that happens to the lock.
        """
        self.gatt_device.touch(now_s)

    def keypad(self, code: str) -> bool:
        """Type a code; returns whether the door opens. What the lock says of it leaves with the next tick."""
        self.touch()
        return self.lock.door.code_typed(code)

    def hold_card(self, number: bytes) -> bool:
        """Hold a card to the lock: it is enrolled if one is waited for; else returns whether the door opens."""
        self.touch()
        return self.lock.touch.card_came(number) or self.lock.door.card_held(number)

    def put_finger(self, number: bytes = b"") -> bool:
        """Put a finger on the sensor: one that is waited for, or one that the lock knows by this number."""
        self.touch()
        return self.lock.touch.finger_came() or self.lock.door.finger_put(number)

    def turn_key(self) -> bool:
        """Turn the mechanical key."""
        return self.lock.door.key_turned()

    def factory_reset(self) -> None:
        """Press the reset button inside: everybody and everything is forgotten, setting mode."""
        self.lock.factory_reset()

    def image(self) -> bytes:
        """Return all that an owner has put into the lock; not log, clock and bolt."""
        return image_of(self.flash)

    def save(self) -> None:
        """Write the memory to the state file, if there is one."""
        if self.state is not None:
            write_state(self.state, state_of(self.profile, self.settings, self.flash))


def open_unit(profile: Profile, preset: str, options: Mapping[str, str], *, state: Path | None) -> TtlockUnit:
    """Make a simulated lock; see `lockmigrate.sim.open_unit`."""
    return TtlockUnit(profile, preset, Options(options, known=OPTIONS), state)


def _structure(kind: int, data: bytes) -> bytes:
    """Build one AD structure."""
    return bytes([1 + len(data), kind]) + data


def _services(settings: Settings) -> Iterator[GattService]:
    """Section 2.1."""

    def of(uuid: str, *properties: Property) -> GattCharacteristic:
        return GattCharacteristic(uuid=uuid, properties=frozenset(properties))

    service, write, notify = (
        (OTHER_SERVICE, OTHER_WRITE, OTHER_NOTIFY) if settings.other_service else (SERVICE, WRITE, NOTIFY)
    )
    main = (of(write, "write-without-response", "write"), of(notify, "notify"))
    yield GattService(uuid=service, characteristics=main)
    yield GattService(uuid=BATTERY_SERVICE, characteristics=(of(BATTERY_LEVEL, "read"),))
    told = tuple(of(uuid, "read") for uuid in (MAKER, MODEL, HARDWARE, FIRMWARE))
    yield GattService(uuid=DEVICE_INFORMATION, characteristics=told)
    update = (
        of(UPDATE_CONTROL, "write", "notify"), of(UPDATE_PACKET, "write-without-response"), of(UPDATE_VERSION, "read")
    )  # fmt: skip
    yield GattService(uuid=UPDATE_SERVICE, characteristics=update)
