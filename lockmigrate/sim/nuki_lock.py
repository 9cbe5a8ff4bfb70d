"""What a simulated Nuki lock does with an encrypted command: nonce, PIN, clock, configuration, lock actions.

Lists stand in `nuki_lists`, pairing in `nuki_pairing`. Section numbers are those of the wire reference of the family;
where it leaves something open, the choice is marked "unconfirmed".
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

from lockmigrate.sim.nuki_crypto import unseal
from lockmigrate.sim.nuki_frames import (
    ACCEPTED,
    CHALLENGE_BYTES,
    HEAD,
    Answer,
    Code,
    Message,
    Refusal,
    Trouble,
    error,
    places,
    read_clear,
    read_inner,
    status,
)
from lockmigrate.sim.nuki_lists import Command, Lists
from lockmigrate.sim.nuki_records import (
    LOCK_ADVANCED,
    LOCK_CONFIG,
    LOCK_SETTINGS,
    OPENER_ADVANCED,
    OPENER_CONFIG,
    OPENER_SETTINGS,
    Flash,
    LogEntry,
    User,
    cut_layout,
    decode_date,
    encode_date,
    packed,
    size_of,
    unpacked,
    well_set,
)
from lockmigrate.sim.nuki_settings import Settings

UNINITIALISED, PAIRING, DOOR_MODE = 0, 1, 2
"""Section 9.1: the Nuki state."""
LOCK_MOVES: Final = {1: (2, 3), 2: (4, 1), 3: (7, 5), 4: (2, 3, 4, 1), 5: (7, 5, 4, 1), 6: (4, 1)}
"""Section 10.1: lock action to the states that the lock passes through."""
OPENER_MOVES: Final = {1: (3,), 2: (1,), 3: (7, 5, 1), 4: (1,), 5: (1,)}
"""Section 9.7."""
BATTERY: Final = 84 // 2 << 2
"""Section 9.1: bits 2 to 7 hold half of the percentage."""
REPORT: Final = struct.pack("<HHBBHHHbHH", 1410, 5480, BATTERY, 2, 5510, 5200, 1080, 21, 640, 310)
"""A battery report, made up."""


class Lock:
    """One lock with its RAM; knows no radio and no faults of it."""

    def __init__(self, settings: Settings, flash: Flash, on_change: Callable[[], None], *, pairing: bool) -> None:
        self.settings = settings
        self.flash = flash
        self.places = places(opener=settings.opener, generation=settings.generation)
        self.log: list[int] = []
        self.actions: list[int] = []
        """Lock actions obeyed: a tool for backups never sends one."""
        self.draw: Callable[[int], bytes] = Random(f"nuki {settings.seed} {settings.serial}").randbytes
        """Where nonces and challenges come from: seeded, so that runs repeat. A real lock must not do that."""
        self.touched = True
        """The state has changed since an authorised client last read it (section 1.2)."""
        self.now_s = 0.0
        self._started_s: float | None = None
        self.pairing_until_s = math.inf if pairing else -math.inf
        self._pairing_runs = not settings.pairing_ends
        """False while pairing mode is to end, but nobody has said yet what time it is."""
        self._nonces: dict[int, bytes] = {}
        self._waited_s = 0
        self._wrong_pins = 0
        self._locked_until_s = -math.inf
        self._reboots = False
        self._on_change = on_change
        layouts = (OPENER_CONFIG, OPENER_ADVANCED) if settings.opener else (LOCK_CONFIG, LOCK_ADVANCED)
        self._config = cut_layout(layouts[0], settings.config_bytes)
        self._settable = OPENER_SETTINGS if settings.opener else LOCK_SETTINGS
        self._advanced = cut_layout(layouts[1], settings.advanced_bytes)
        self._advanced_settable = tuple(item for item in self._advanced if item[0] != "total_degrees")
        self.lists = Lists(self)
        self.table = self._table() | self.lists.table()
        if settings.old:
            for code in [*range(Code.SET_ADVANCED, Code.REMOVE_CODE + 1), Code.REQUEST_FINGERPRINTS]:
                self.table.pop(code, None)

    # ---- power, time, the button -------------------------------------------------------------------------------------

    def tick(self, now_s: float) -> None:
        """Learn what time it is on the caller's clock."""
        if self._started_s is None:
            self._started_s = now_s
            if self.settings.read_s is not None:
                self._waited_s = int(time.monotonic() - self.settings.read_s)
        self.now_s = now_s
        if not self._pairing_runs and self.pairing_until_s == math.inf:
            self.pairing_until_s = now_s + self.settings.pairing_s

    def clock(self) -> datetime:
        """Return what the lock's clock shows, UTC."""
        elapsed_s = 0 if self._started_s is None else int(self.now_s - self._started_s)
        return self.settings.utc + timedelta(seconds=self._waited_s + elapsed_s + self.flash.clock_offset_s)

    def in_pairing_mode(self) -> bool:
        """Tell whether somebody may pair."""
        return self.now_s < self.pairing_until_s

    def hold_button(self) -> bool:
        """Hold the button for five seconds; False where the configuration does not allow pairing (section 1.2)."""
        if self.flash.config.pairing_enabled:
            self.pairing_until_s = math.inf
            self._pairing_runs = False
        return bool(self.flash.config.pairing_enabled)

    def end_pairing_mode(self) -> None:
        """Leave pairing mode."""
        self.pairing_until_s = -math.inf

    def power_on(self) -> None:
        """Forget everything that is not in flash. That a lock forgets wrong PINs too is unconfirmed."""
        self.link_ended()
        self._waited_s = 0
        self._wrong_pins = 0
        self._locked_until_s = -math.inf

    def link_ended(self) -> None:
        """Forget what belongs to a connection. That nonces do is unconfirmed; it is the stricter reading."""
        self._nonces.clear()

    def changed(self) -> None:
        """Count a change (section 9.1) and keep it, before its answer leaves."""
        self.flash.update_count = (self.flash.update_count + 1) % 256
        self.keep()

    def keep(self) -> None:
        """Keep what has changed without counting it as a configuration."""
        self.touched = True
        self._on_change()

    def another_client_changes(self) -> None:
        """Let somebody else's app change the brightness of the LED."""
        self.flash.config.led_brightness = (self.flash.config.led_brightness + 1) % 6
        self.changed()

    # ---- a message ---------------------------------------------------------------------------------------------------

    def hear(self, raw: bytes) -> Answer | None:
        """Obey one encrypted message (section 6)."""
        if len(raw) < HEAD.size:
            return self._unencrypted(Trouble.BAD_LENGTH)
        nonce, number, size = HEAD.unpack_from(raw)
        user = self.flash.users.get(number)
        if user is None:
            return self._unencrypted(Trouble.NOT_AUTHORIZED)
        sealed = raw[HEAD.size :]
        if size != len(sealed):
            return self._said(user, [error(Trouble.BAD_LENGTH, 0)])
        plain = unseal(user.key, nonce, sealed)
        if plain is None:
            return self._unencrypted(Trouble.NOT_AUTHORIZED)
        try:
            code, payload = read_inner(plain, number)
        except Refusal as refusal:
            return self._said(user, [error(refusal.trouble, 0)])
        return self._said(user, self._obeyed(user, code, payload))

    def hear_clear(self, raw: bytes) -> Answer | None:
        """Nobody has published a request in clear on the keyturner service: each is unknown (unconfirmed)."""
        try:
            code, _ = read_clear(raw)
        except Refusal as refusal:
            return self._unencrypted(refusal.trouble)
        return Answer(uuid=self.places.clear_io, messages=[error(Trouble.UNKNOWN, code)])

    def _unencrypted(self, trouble: Trouble) -> Answer | None:
        """Section 6, rule 1: there is no key to answer with. Where the answer comes, if at all, is unconfirmed."""
        where = {"201": self.places.clear_io, "202": self.places.user_io}.get(self.settings.error_on)
        return Answer(uuid=where, messages=[error(trouble, 0)]) if where is not None else None

    def _said(self, user: User, messages: list[Message]) -> Answer:
        reboots, self._reboots = self._reboots, False
        return Answer(
            uuid=self.places.user_io,
            messages=messages,
            key=user.key,
            authorization_id=user.authorization_id,
            reboots=reboots,
        )

    def _obeyed(self, user: User, code: int, payload: bytes) -> list[Message]:
        self.log.append(code)
        heard = len(self.log)
        settings = self.settings
        if heard == settings.changed or (settings.changing and heard % settings.changing == 0):
            self.another_client_changes()
        user.last_active = encode_date(self.clock())
        try:
            messages = self._answer(user, code, payload)
        except Refusal as refusal:
            messages = [error(refusal.trouble, code)]
        if settings.unasked and heard % settings.unasked == 0:
            return [self._states(), *messages]
        return messages

    def _answer(self, user: User, code: int, payload: bytes) -> list[Message]:
        """Section 6, rule 5: length, nonce, PIN, parameters; the nonce is gone even if the PIN is wrong."""
        command = self.table.get(code)
        if command is None:
            raise Refusal(Trouble.UNKNOWN)
        pin_bytes = self.settings.pin_bytes if command.pin else 0
        behind = (CHALLENGE_BYTES if command.nonce else 0) + pin_bytes
        size = len(payload) - behind
        if size < 0 or (command.sizes is not None and size not in command.sizes):
            raise Refusal(Trouble.BAD_LENGTH)
        if not user.enabled:
            raise Refusal(Trouble.DISABLED)
        payload, nonce, pin = (
            payload[:size],
            payload[size : size + behind - pin_bytes],
            payload[size + behind - pin_bytes :],
        )
        if command.nonce and nonce != self._nonces.pop(user.authorization_id, None):
            raise Refusal(Trouble.BAD_NONCE)
        if command.pin:
            self.check_pin(int.from_bytes(pin, "little"))
        return command.obey(user, payload)

    def check_pin(self, pin: int) -> None:
        """Hold a PIN against ours. Thresholds are not published (section 6, rule 6); these are options.

        Raises:
            Refusal: it is wrong, or there were too many wrong ones.
        """
        if self.now_s < self._locked_until_s:
            raise Refusal(Trouble.TOO_MANY_PIN_ATTEMPTS)
        if pin == self.flash.pin:
            self._wrong_pins = 0
            return
        self._wrong_pins += 1
        if self.settings.pin_tries and self._wrong_pins >= self.settings.pin_tries:
            self._wrong_pins = 0
            self._locked_until_s = self.now_s + self.settings.lockout_s
        raise Refusal(Trouble.BAD_PIN)

    # ---- commands ----------------------------------------------------------------------------------------------------

    def done(self) -> list[Message]:
        """Answer a command that has changed something; a slow one is accepted first (section 6, rule 9)."""
        if not self.settings.slow_s:
            return [status()]
        return [status(ACCEPTED), status(delay_s=self.settings.slow_s)]

    def _table(self) -> dict[int, Command]:
        pin_bytes = self.settings.pin_bytes
        return {
            Code.REQUEST_DATA: Command(None, False, False, self._request),
            Code.REQUEST_CONFIG: Command((0,), True, False, self._read_config),
            Code.SET_CONFIG: Command((size_of(self._settable),), True, True, self._set_config),
            Code.REQUEST_ADVANCED: Command((0,), True, False, self._read_advanced),
            Code.SET_ADVANCED: Command((size_of(self._advanced_settable),), True, True, self._set_advanced),
            Code.VERIFY_PIN: Command((0,), True, True, lambda _, __: [status()]),
            Code.SET_PIN: Command((pin_bytes,), True, True, self._set_pin),
            Code.UPDATE_TIME: Command((7,), True, True, self._set_time),
            Code.ENABLE_LOGGING: Command((1,), True, True, self._enable_logging),
            Code.REQUEST_CALIBRATION: Command((0,), True, True, self._calibrate),
            Code.REQUEST_REBOOT: Command((0,), True, True, self._reboot),
            Code.LOCK_ACTION: Command((6, 26), True, False, self._lock_action),
            Code.SIMPLE_LOCK_ACTION: Command((1,), True, False, self._lock_action),
        }

    def _request(self, user: User, payload: bytes) -> list[Message]:
        """Section 9.1. What 0x000F and 0x0010 of a first generation answer has no public layout."""
        if len(payload) < 2:
            raise Refusal(Trouble.BAD_LENGTH)
        wanted = int.from_bytes(payload[:2], "little")
        if wanted == Code.CHALLENGE:
            nonce = self._nonces[user.authorization_id] = self.draw(CHALLENGE_BYTES)
            return [Message(code=Code.CHALLENGE, payload=nonce)]
        if wanted == Code.STATES:
            self.touched = False
            return [self._states()]
        if wanted == Code.BATTERY_REPORT:
            return [Message(code=Code.BATTERY_REPORT, payload=REPORT)]
        raise Refusal(Trouble.UNKNOWN)

    def _states(self) -> Message:
        flash, config = self.flash, self.flash.config
        mode = PAIRING if self.in_pairing_mode() else DOOR_MODE if flash.users else UNINITIALISED
        accessory = bool(config.has_keypad or config.has_keypad_2) | flash.door_sensor << 2
        payload = struct.pack("<BBB", mode, flash.lock_state, flash.trigger) + encode_date(self.clock())
        payload += struct.pack("<hBBB", config.timezone_offset, BATTERY, flash.update_count, 0) + flash.last_action
        payload += struct.pack("<BBBBbbBBB", 2 if flash.door_sensor else 0, 0, accessory, 0, -61, 1, 0, 0, 0)
        return Message(code=Code.STATES, payload=payload[: self.settings.states_bytes])

    def _read_config(self, _: User, __: bytes) -> list[Message]:
        born = {
            "nuki_id": self.settings.nuki_id,
            "current_time": encode_date(self.clock()),
            "firmware": bytes(int(part) for part in self.settings.firmware.split(".")),
            "hardware": self.settings.hardware,
        }
        return [Message(code=Code.CONFIG, payload=packed(self._config, vars(self.flash.config) | born))]

    def _set_config(self, _: User, payload: bytes) -> list[Message]:
        return self._set(self.flash.config, unpacked(self._settable, payload))

    def _read_advanced(self, _: User, __: bytes) -> list[Message]:
        return [Message(code=Code.ADVANCED, payload=packed(self._advanced, vars(self.flash.advanced)))]

    def _set_advanced(self, _: User, payload: bytes) -> list[Message]:
        return self._set(self.flash.advanced, unpacked(self._advanced_settable, payload))

    def _set(self, record: Any, values: dict[str, Any]) -> list[Message]:
        if not well_set(values, opener=self.settings.opener):
            raise Refusal(Trouble.BAD_PARAMETER)
        for name, value in values.items():
            setattr(record, name, value)
        self.changed()
        return self.done()

    def _set_pin(self, _: User, payload: bytes) -> list[Message]:
        """Section 11: four digits, or none; six from generation 5 on."""
        pin = int.from_bytes(payload, "little")
        if not (100_000 <= pin <= 999_999 if self.settings.generation == 5 else pin <= 9999):
            raise Refusal(Trouble.BAD_PARAMETER)
        self.flash.pin = pin
        self.changed()
        return self.done()

    def _set_time(self, _: User, payload: bytes) -> list[Message]:
        """Section 9.1. That the time is not counted as a configuration change is unconfirmed."""
        moment = decode_date(payload)
        if moment is None:
            raise Refusal(Trouble.BAD_PARAMETER)
        self.flash.clock_offset_s += round((moment - self.clock()).total_seconds())
        self.keep()
        return self.done()

    def _enable_logging(self, user: User, payload: bytes) -> list[Message]:
        if payload[0] > 1:
            raise Refusal(Trouble.BAD_PARAMETER)
        self.flash.logging = bool(payload[0])
        self._logged(user, 1, payload)
        self.changed()
        return self.done()

    def _calibrate(self, user: User, _: bytes) -> list[Message]:
        self._logged(user, 3, bytes(4))
        self.keep()
        return [status(ACCEPTED), status(delay_s=self.settings.slow_s)]

    def _reboot(self, _: User, __: bytes) -> list[Message]:
        self._reboots = True
        return [status()]

    def _lock_action(self, user: User, payload: bytes) -> list[Message]:
        """Section 9.1: accepted, states on the way, complete."""
        moves = (OPENER_MOVES if self.settings.opener else LOCK_MOVES).get(payload[0])
        if moves is None:
            raise Refusal(Trouble.BAD_PARAMETER)
        self.actions.append(payload[0])
        messages = [status(ACCEPTED)]
        for state in moves:
            self.flash.lock_state, self.flash.last_action = state, bytes([payload[0], 0, 0])
            messages.append(self._states())
        user.lock_count = min(user.lock_count + 1, 0xFFFF)
        self._logged(user, 2, bytes([payload[0], 0, 0, 0]))
        self.keep()
        return [*messages, status()]

    def _logged(self, user: User, kind: int, data: bytes) -> None:
        """Add a line to the log, if it is on; that of switching it stands there either way (unconfirmed)."""
        flash = self.flash
        if flash.logging or kind == 1:
            flash.log.append(
                LogEntry(
                    index=flash.next_log_index,
                    date=encode_date(self.clock()),
                    authorization_id=user.authorization_id,
                    name=user.name,
                    kind=kind,
                    data=data,
                )
            )
            flash.next_log_index += 1
