"""What a simulated GT-511 or GT-521 does with a command that has arrived: its RAM, its flash, its answers.

Section headings are those of the wire reference of the family. Where it leaves something open, the choice is marked
"unconfirmed".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from lockmigrate.sim.gt511_data import LEVELS, POWER_ON_BAUD, SPEEDS, Flash, Gt511Settings
from lockmigrate.sim.slot_module import find

INVALID_ID, NOT_USED, ALREADY_USED, COMMUNICATION, VERIFY_FAILED, IDENTIFY_FAILED = range(0x1003, 0x1009)
FULL, EMPTY = 0x1009, 0x100A
BAD_FINGER, ENROL_FAILED, NOT_SUPPORTED, DEVICE_ERROR = range(0x100C, 0x1010)
BAD_PARAMETER, NO_FINGER = 0x1011, 0x1012
"""Packets: the parameters of a NACK."""
NO_ID: Final = 0xFFFFFFFF
"""Commands, 22: return the template instead of storing it."""
IMAGE_BYTES: Final = {0x62: 258 * 202, 0x63: 160 * 120}
"""Commands: GetImage and GetRawImage."""
INTERNAL: Final = 0x55
"""Commands, 03."""
NEVER: Final = (0x05, 0x72, 0x73, 0x80, 0x81)
"""Commands: what no host should send."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An ACK or a NACK, and the data packet that follows it."""

    parameter: int = 0
    ok: bool = True
    data: bytes | None = None


@dataclass
class Ram:
    """What a module forgets without power."""

    baud: int = POWER_ON_BAUD
    opened: bool = False
    lit: bool = False
    image: bool = False
    enrolling: int | None = None
    """The id that EnrollStart named."""
    presses: int = 0
    awaits: Callable[[bytes | None], Answer] | None = None
    """What takes the content of the data packet that the host is to send (None for a damaged one)."""
    loader: bool = False
    """In its firmware loader: answers nothing."""


class Commands:
    """The commands of one module; knows no packets and no time."""

    def __init__(self, settings: Gt511Settings, flash: Flash, on_flash_change: Callable[[], None]) -> None:
        self.settings = settings
        self.flash = flash
        self.ram = Ram()
        self.power_failed = False
        """The power failed during the last command; whoever sees it clears it."""
        self._on_flash_change = on_flash_change
        self.table = self._table()

    def power_on(self) -> None:
        """Forget everything that is not in flash, the speed included (Link)."""
        self.ram = Ram()

    def answer(self, code: int, parameter: int) -> Answer:
        """Obey one command."""
        if "needs-open" in self.settings.quirks and not self.ram.opened and code != 0x01:
            return _nack(DEVICE_ERROR)
        obey = self.table.get(code)
        return _nack(NOT_SUPPORTED) if obey is None else obey(parameter)

    def take_data(self, content: bytes | None) -> Answer:
        """Take the data packet that was awaited, None for a damaged one: the second answer of a command."""
        take, self.ram.awaits = self.ram.awaits, None
        return _nack(COMMUNICATION) if take is None or content is None else take(content)

    def _table(self) -> dict[int, Callable[[int], Answer]]:
        """Command code to what obeys it (Commands); 72, 73, 80, 81 are as good as unknown."""
        table: dict[int, Callable[[int], Answer]] = {
            0x01: self._open, 0x02: self._done, 0x03: lambda _: Answer(INTERNAL), 0x04: self._change_baud,
            0x05: self._loader, 0x12: self._led, 0x20: self._count, 0x21: self._check, 0x22: self._enrol_start,
            0x23: lambda _: self._enrol(1), 0x24: lambda _: self._enrol(2), 0x25: lambda _: self._enrol(3),
            0x26: self._is_pressed, 0x40: self._delete, 0x41: self._delete_all, 0x50: self._verify,
            0x51: self._identify, 0x52: self._verify_template, 0x53: self._identify_template, 0x60: self._capture,
            0x61: self._make_template, 0x62: lambda _: self._image(0x62), 0x63: lambda _: self._image(0x63),
            0x70: self._get_template, 0x71: self._set_template,
        }  # fmt: skip
        if self.settings.has_level:
            table |= {0xF0: self._set_level, 0xF1: lambda _: Answer(self.flash.level)}
        return table

    # ---- the module itself --------------------------------------------------------------------------------------

    @staticmethod
    def _done(_: int) -> Answer:
        return Answer()

    def _open(self, extra: int) -> Answer:
        if extra > 1:
            return _nack(BAD_PARAMETER)  # unconfirmed: the reference knows 0 and 1
        self.ram.opened = True
        if not extra:
            return Answer()
        numbers = (self.settings.firmware, self.settings.iso_area_bytes)
        return Answer(data=b"".join(number.to_bytes(4, "little") for number in numbers) + self.settings.serial)

    def _change_baud(self, baud: int) -> Answer:
        if baud not in SPEEDS:
            return _nack(BAD_PARAMETER)
        self.ram.baud = baud
        return Answer()

    def _loader(self, _: int) -> Answer:
        """SetIAPMode: an ACK, then silence until the power fails (unconfirmed; never send it)."""
        self.ram.loader = True
        return Answer()

    def _led(self, on: int) -> Answer:
        if on > 1:
            return _nack(BAD_PARAMETER)  # unconfirmed
        self.ram.lit = bool(on)
        return Answer()

    def _set_level(self, level: int) -> Answer:
        low, high = LEVELS
        if not low <= level <= high:
            return _nack(BAD_PARAMETER)  # unconfirmed
        self.flash.level = level
        self._on_flash_change()
        return Answer()

    # ---- the database -------------------------------------------------------------------------------------------

    def _wrong_id(self, number: int, *, used: bool = True) -> Answer | None:
        """Return the NACK for an id that is out of range or, where it has to be used, free."""
        if number >= self.settings.slots:
            return _nack(INVALID_ID)
        return _nack(NOT_USED) if used and number not in self.flash.templates else None

    def _count(self, _: int) -> Answer:
        return Answer(len(self.flash.templates) + ("count-off" in self.settings.quirks))

    def _check(self, number: int) -> Answer:
        return self._wrong_id(number) or Answer()

    def _delete(self, number: int) -> Answer:
        """Commands, 40: only 1003 is named, so a free id is deleted as well as any (unconfirmed)."""
        wrong = self._wrong_id(number, used="delete-checks" in self.settings.quirks)
        if wrong is not None:
            return wrong
        self.flash.templates.pop(number, None)
        self.flash.torn.discard(number)
        self._on_flash_change()
        return Answer()

    def _delete_all(self, _: int) -> Answer:
        if not self.flash.templates:
            return _nack(EMPTY)
        self.flash.templates.clear()
        self.flash.torn.clear()
        self._on_flash_change()
        return Answer()

    def _get_template(self, number: int) -> Answer:
        wrong = self._wrong_id(number)
        if wrong is not None:
            hidden = "no-unused" in self.settings.quirks and wrong.parameter == NOT_USED
            return _nack(DEVICE_ERROR) if hidden else wrong
        if number in self.flash.torn:
            return _nack(DEVICE_ERROR)  # unconfirmed
        return Answer(data=self.flash.templates[number])

    def _set_template(self, parameter: int) -> Answer:
        """Commands, 71: an ACK, then the data packet. A used id is written over (unconfirmed, see `set-checks`)."""
        number, skip = parameter & 0xFFFF, parameter >> 16
        wrong = self._wrong_id(number, used=False)
        if wrong is not None:
            return wrong
        if "set-checks" in self.settings.quirks and number in self.flash.templates:
            return _nack(ALREADY_USED)
        checks = not skip or "no-skip" in self.settings.quirks
        self.ram.awaits = lambda template: self._store(number, template, checks=checks)
        return Answer()

    def _store(self, number: int, template: bytes | None, *, checks: bool) -> Answer:
        if template is None:
            return _nack(COMMUNICATION)
        twin = self._find(template, but=number) if checks else None
        if twin is not None:
            return _nack(twin)
        if self.settings.quirks.happens("store-fails", number):
            return _nack(DEVICE_ERROR)
        self.flash.templates[number], self.power_failed = self.settings.written(number, template)
        self.flash.torn.discard(number)
        self.flash.torn |= {number} if self.power_failed else set()
        self._on_flash_change()
        return Answer()

    def _find(self, template: bytes, *, but: int | None = None) -> int | None:
        return find(
            self.flash.templates.items(),
            template,
            but={number for number in (but, *self.flash.torn) if number is not None},
        )

    # ---- fingers ------------------------------------------------------------------------------------------------

    def _is_pressed(self, _: int) -> Answer:
        """Commands, 26: 0 is pressed. What stands for "not pressed" is ours."""
        return Answer(NO_FINGER if self.settings.finger is None else 0)

    def _capture(self, _: int) -> Answer:
        """Without light there is no image: 12 is "needed before captures"; the code for it is unconfirmed."""
        self.ram.image = self.ram.lit and self.settings.finger is not None
        return Answer() if self.ram.image else _nack(NO_FINGER)

    def _captured(self) -> bytes | None:
        """Return the template of the finger that was captured last."""
        return self.settings.pressed() if self.ram.image else None

    def _verify(self, number: int) -> Answer:
        return self._wrong_id(number) or self._compare(number, self._captured())

    def _compare(self, number: int, template: bytes | None) -> Answer:
        same = template is not None and self.flash.templates[number] == template
        return Answer() if same else _nack(VERIFY_FAILED)

    def _identify(self, _: int) -> Answer:
        return self._search(self._captured()) if self.flash.templates else _nack(EMPTY)

    def _search(self, template: bytes | None) -> Answer:
        found = None if template is None else self._find(template)
        return _nack(IDENTIFY_FAILED) if found is None else Answer(found)

    def _verify_template(self, number: int) -> Answer:
        wrong = self._wrong_id(number)
        if wrong is not None:
            return wrong
        self.ram.awaits = lambda template: self._compare(number, template)
        return Answer()

    def _identify_template(self, _: int) -> Answer:
        if not self.flash.templates:
            return _nack(EMPTY)
        self.ram.awaits = self._search
        return Answer()

    def _enrol_start(self, number: int) -> Answer:
        if number != NO_ID:
            if len(self.flash.templates) >= self.settings.slots:
                return _nack(FULL)
            wrong = self._wrong_id(number, used=False)
            if wrong is not None:
                return wrong
            if number in self.flash.templates:
                return _nack(ALREADY_USED)
        self.ram.enrolling, self.ram.presses = number, 0
        return Answer()

    def _enrol(self, press: int) -> Answer:
        """Commands, 23 to 25; a wrong order fails (100B is obsolete)."""
        number, template = self.ram.enrolling, self._captured()
        if number is None or press != self.ram.presses + 1:
            return _nack(ENROL_FAILED)
        if template is None:
            return _nack(BAD_FINGER)
        self.ram.presses = press
        if press < 3:
            return Answer()
        self.ram.enrolling = None
        return Answer(data=template) if number == NO_ID else self._store(number, template, checks=True)

    def _make_template(self, _: int) -> Answer:
        """Commands, 61: "Not for registration", so these are not the bytes that 70 would give."""
        template = self._captured()
        return _nack(BAD_FINGER) if template is None else Answer(data=bytes(byte ^ 0xFF for byte in template))

    def _image(self, code: int) -> Answer:
        if not self.ram.image:
            return _nack(NO_FINGER)  # unconfirmed
        return Answer(data=Random(f"gt511 image {self.settings.seed}").randbytes(IMAGE_BYTES[code]))


def _nack(parameter: int) -> Answer:
    return Answer(parameter, ok=False)
