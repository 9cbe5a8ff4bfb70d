"""The module's side of the "0xF5" protocol, written from the wire reference of the family alone.

Section headings are those of the reference. Where it leaves something open, the choice is marked "unconfirmed".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import xor
from pathlib import Path
from random import Random
from typing import Final

from lockmigrate.errors import TargetError
from lockmigrate.profiles import Profile
from lockmigrate.sim.slot_module import (
    Module,
    ModuleUnit,
    Settings,
    chosen_ids,
    common_settings,
    find,
    load_state,
    made_up_template,
    packed,
    take,
    unpacked,
)
from lockmigrate.sim.unit import FAULT_KINDS, Line, Options
from lockmigrate.transports import Outgoing

MARK: Final = 0xF5
SHORT_BYTES: Final = 8
LONG_EXTRA_BYTES: Final = 3
"""Frames: the two marks and the check around the Len bytes of data."""
OK, FAIL, FULL, NO_USER, TAKEN, DUPLICATE, TIMED_OUT = 0x00, 0x01, 0x04, 0x05, 0x06, 0x07, 0x08
"""Frames: results."""
MAX_ID: Final = 0xFFF
MAX_LEVEL: Final = 9
BAUD: Final = 19200
TEMPLATE_BYTES: Final = 193
"""Commands, 23 and 31."""
SLOTS: Final = 1000
"""Backup and restore: capacity of an 8552."""
IMAGE_BYTES: Final = 9800
TIMEOUT_STEP_S: Final = 0.25
"""Commands, 2E: units of 0.2 to 0.3 s."""
UPLOADS: Final = (0x41, 0x42, 0x43, 0x44)
"""Commands whose head the host follows up with data."""
SLEEP: Final = 0x2C
_SETTINGS: Final = ("level", "duplicates", "timeout", "baud")
SLOW_FLASH_S: Final = {0x04: 0.1, 0x05: 0.5, 0x28: 0.1, 0x2D: 0.1, 0x2E: 0.1, 0x41: 0.2}
"""With `flash=slow`: command to how long its answer takes; ours, the reference names no times."""
FAKE_FRAMES: Final = bytes.fromhex("f5f5 f5090000000009f5 f5310005000034f5 f5f5")
"""Whole commands, to be found inside of templates: nothing is escaped (Frames)."""

OPTION_NAMES: Final = (
    *("seed", "slots", "fill", "twins", "template_size", "firmware", "level", "duplicates", "timeout", "overwrite"),
    *("bad_check", "baud", "pace", "flash", "finger", "quirks"),
    *FAULT_KINDS,
)
QUIRKS: Final = {
    "no-list": "the list (2B) is unknown",
    "no-version": "the version (26) is unknown",
    "no-settings": "28, 2D and 2E are unknown",
    "no-write": "writing a template (41) is unknown",
    "silent-unknown": "an unknown command gets no answer at all",
    "count-off": "the count (09) is one more than there are",
    "answer-43": "42 is answered with the code 43, as the manual prints it",
    "permission-differs": "ID the list tells another permission than the template's own",
    "store-fails": "ID[:TIMES] writing a template answers 01",
    "torn-store": "ID[:TIMES] the power fails while a template is written",
    "readback-differs": "ID[:TIMES] a damaged copy is kept and nothing said",
    "unreadable": "ID listed, but reading its template answers 01",
}
"""Awkward firmware: name to what it does; without TIMES torn-store and readback-differs happen once, store-fails
always."""


@dataclass(kw_only=True)
class F5Settings(Settings):
    """What a module is: never changed by a command."""

    firmware: str
    overwrite: bool
    """Whether writing a template replaces a user, or answers 06 (unconfirmed)."""
    fails_loudly: bool
    """Whether a frame with a wrong check is answered with 01, or not at all (unconfirmed)."""

    def made_up(self, number: int) -> bytes:
        """Return the template of the finger that a preset enrols as user `number`, with many marks in it."""
        template = made_up_template("f5", self.seed, number, self.template_bytes, FAKE_FRAMES)
        drawn = Random(f"f5 marks {self.seed} {number}")
        body = bytearray(MARK if drawn.random() < 0.05 else byte for byte in template[2:])
        if number % 4 == 0:
            # The check of the data is a mark as well, and so is the last byte.
            body[-2:] = 0, MARK
            body[-2] = _check([*number.to_bytes(2, "big"), permission_of(number), *template[:2], *body]) ^ MARK
        return template[:2] + bytes(body)


@dataclass(kw_only=True)
class Flash:
    """What a module keeps without power; that its settings are among it is unconfirmed."""

    templates: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    """User id, from 1, to permission and template."""
    torn: set[int] = field(default_factory=set)
    """Users whose template cannot be read."""
    level: int = 5
    duplicates: int = 1
    """The byte of command 2D: 0 allowed, 1 refused."""
    timeout: int = 20
    """The byte of command 2E."""
    baud: int = BAUD

    def image(self) -> bytes:
        """Return all of it: the settings, then id (2), permission (1) and template of each user, by id."""
        head = {name: getattr(self, name) for name in _SETTINGS}
        held = sorted(self.templates.items())
        entries = (number.to_bytes(2, "big") + bytes([permission]) + its for number, (permission, its) in held)
        return packed({**head, "torn": sorted(self.torn)}, entries)

    @classmethod
    def of_image(cls, image: bytes) -> Flash:
        """Read what `image` wrote; ValueError, KeyError or TypeError where it did not."""
        head, entries = unpacked(image)
        templates = {int.from_bytes(entry[:2], "big"): (entry[2], entry[3:]) for entry in entries}
        numbers = {name: int(head[name]) for name in _SETTINGS}
        return cls(templates=templates, torn={int(number) for number in head["torn"]}, **numbers)


@dataclass(frozen=True, slots=True)
class Answer:
    """Q1 Q2 as one number, Q3, and the data of a long answer."""

    result: int = OK
    value: int = 0
    data: bytes | None = None
    wait_s: float = 0.0


class F5Module(Module):
    """The state machine; a `Device`."""

    def __init__(self, settings: F5Settings, flash: Flash, line: Line, on_flash_change: Callable[[], None]) -> None:
        super().__init__(line, ready_s=0.0)
        self.settings = settings
        self.flash = flash
        self._on_flash_change = on_flash_change
        self._upload: tuple[int, int] | None = None
        """The command whose data is due, and its Len."""
        self._presses: list[tuple[int, int]] = []
        """User id and permission of the presses of an enrolment so far."""
        self._tore = False
        self.table = self._table()

    # ---- frames -------------------------------------------------------------------------------------------------

    def next_frame(self, buffer: bytearray) -> bytearray | None:
        """Take exactly 8 bytes from a mark on, or exactly Len + 3 where data is due (Frames: read by length)."""
        size = SHORT_BYTES
        if self._upload is not None:
            size = self._upload[1] + LONG_EXTRA_BYTES
        else:
            at = buffer.find(MARK)
            del buffer[: at if at >= 0 else len(buffer)]
        return take(buffer, size)

    def obey(self, frame: bytes, at_s: float) -> list[Outgoing]:
        """Do what a frame asks for."""
        upload, self._upload = self._upload, None
        code = frame[1] if upload is None else upload[0]
        if frame[0] != MARK or frame[-1] != MARK or _check(frame[1:-2]) != frame[-2]:
            return self._reply(code, Answer(FAIL), at_s) if self.settings.fails_loudly else []
        if upload is not None:
            return self._reply(code, self._uploaded(code, frame[1:-2]), at_s)
        self.log.append(code)
        if code == SLEEP:
            self.forbidden.append(code)
        number, third = int.from_bytes(frame[2:4], "big"), frame[4]
        if code in UPLOADS and code in self.table:
            self._upload = code, number
            return []
        obey = self.table.get(code)
        if obey is None:
            # Unconfirmed: the reference has no result for an unknown command but "fail".
            return [] if "silent-unknown" in self.settings.quirks else self._reply(code, Answer(FAIL), at_s)
        return self._reply(code, obey(number, third), at_s)

    def _reply(self, code: int, answer: Answer, at_s: float) -> list[Outgoing]:
        if math.isinf(answer.wait_s):
            return []
        if self._tore:
            self._tore = False
            return self.power_cycle(at_s)
        code = 0x43 if code == 0x42 and "answer-43" in self.settings.quirks else code
        value = answer.value if answer.data is None else len(answer.data)
        frames = [_short(code, value, answer.result)]
        if answer.data is not None:
            frames.append(bytes([MARK, *answer.data, _check(answer.data), MARK]))
        return self.send(frames, at_s + answer.wait_s + (SLOW_FLASH_S.get(code, 0.0) if self.settings.slow else 0.0))

    def power_on(self) -> None:
        """Forget an enrolment and wake up."""
        self._presses.clear()
        self.line.baud = self.flash.baud

    def forget(self) -> None:
        """Give up waiting for data."""
        self._upload = None

    def _table(self) -> dict[int, Callable[[int, int], Answer]]:
        """Command to what obeys it, given P1 P2 as one number and P3 (Commands)."""
        table: dict[int, Callable[[int, int], Answer]] = {
            0x01: lambda n, p: self._press(1, n, p), 0x02: lambda n, p: self._press(2, n, p),
            0x03: lambda n, p: self._press(3, n, p), 0x04: self._delete, 0x05: self._delete_all,
            0x06: self._press_for_template, 0x09: self._count, 0x0A: self._permission, 0x0B: self._verify,
            0x0C: self._identify, 0x21: lambda *_: Answer(FAIL), 0x23: self._capture, 0x24: self._image,
            0x26: lambda *_: Answer(data=self.settings.firmware.encode("ascii")),
            0x28: lambda n, p: self._setting("level", MAX_LEVEL, n, p), 0x2B: self._list, SLEEP: self._sleep,
            0x2D: lambda n, p: self._setting("duplicates", 1, n, p),
            0x2E: lambda n, p: self._setting("timeout", 255, n, p), 0x31: self._read,
        }  # fmt: skip
        # 21: the table of its codes is not public, so it changes nothing here (unconfirmed).
        table |= dict.fromkeys(UPLOADS, lambda *_: Answer(FAIL))
        gone = {"no-list": (0x2B,), "no-version": (0x26,), "no-settings": (0x28, 0x2D, 0x2E), "no-write": (0x41,)}
        missing = {code for quirk, codes in gone.items() if quirk in self.settings.quirks for code in codes}
        return {code: obey for code, obey in table.items() if code not in missing}

    # ---- users --------------------------------------------------------------------------------------------------

    def _count(self, _: int, __: int) -> Answer:
        return Answer(value=len(self.flash.templates) + ("count-off" in self.settings.quirks))

    def _permission(self, number: int, _: int) -> Answer:
        held = self.flash.templates.get(number)
        return Answer(NO_USER if held is None else held[0])

    def _list(self, _: int, __: int) -> Answer:
        entries = b""
        for number, (permission, _template) in sorted(self.flash.templates.items()):
            if self.settings.quirks.happens("permission-differs", number):
                permission = permission % 3 + 1
            entries += number.to_bytes(2, "big") + bytes([permission])
        return Answer(data=len(self.flash.templates).to_bytes(2, "big") + entries)

    def _delete(self, number: int, _: int) -> Answer:
        if number not in self.flash.templates:
            return Answer(NO_USER)
        self._remove({number})
        return Answer()

    def _delete_all(self, _: int, permission: int) -> Answer:
        """Commands, 05: P3 = 0 means all; another only the users of that permission (unconfirmed)."""
        held = self.flash.templates.items()
        self._remove({number for number, (has, _template) in held if permission in (0, has)})
        return Answer()

    def _remove(self, numbers: set[int]) -> None:
        for number in numbers:
            del self.flash.templates[number]
        self.flash.torn -= numbers
        self._on_flash_change()

    def _setting(self, name: str, highest: int, value: int, query: int) -> Answer:
        """Commands: P3 = 0 sets to P2, 1 asks; both answer with the value in Q2 (that a set does is unconfirmed)."""
        if query > 1 or (query == 0 and value > highest):
            return Answer(FAIL)
        if query == 0:
            setattr(self.flash, name, value)
            self._on_flash_change()
        return Answer(value=getattr(self.flash, name))

    def _sleep(self, _: int, __: int) -> Answer:
        """Commands, 2C: silent until reset; that an answer comes first is unconfirmed."""
        self.stopped = True
        return Answer()

    # ---- templates ----------------------------------------------------------------------------------------------

    def _read(self, number: int, _: int) -> Answer:
        held = self.flash.templates.get(number)
        if held is None or number in self.flash.torn:
            return Answer(NO_USER if held is None else FAIL)
        return Answer(data=number.to_bytes(2, "big") + bytes([held[0]]) + held[1])

    def _uploaded(self, code: int, data: bytes) -> Answer:
        """Take the data of 41 to 44. Another length than the module's own fails (unconfirmed)."""
        if len(data) != self.settings.template_bytes + 3:
            return Answer(FAIL)
        number, permission, template = int.from_bytes(data[:2], "big"), data[2], data[3:]
        if code == 0x41:
            return Answer(self._write(number, permission, template), number)
        if code == 0x42:
            held = self.flash.templates.get(number)
            return Answer(NO_USER if held is None else OK if held[1] == template else FAIL)
        if code == 0x43:
            return self._search(template)
        pressed = self.settings.pressed()
        return self._no_finger() if pressed is None else Answer(OK if pressed == template else FAIL)

    def _write(self, number: int, permission: int, template: bytes) -> int:
        """Keep a template and return the result. A user in use is 06 unless `overwrite=1` (unconfirmed)."""
        if not 1 <= number <= MAX_ID or not 1 <= permission <= 3:
            return FAIL
        flash = self.flash
        if number in flash.templates and not self.settings.overwrite:
            return TAKEN
        if flash.duplicates and self._find(template, but=number) is not None:
            return DUPLICATE
        if number not in flash.templates and len(flash.templates) >= self.settings.slots:
            return FULL
        if self.settings.quirks.happens("store-fails", number):
            return FAIL
        template, self._tore = self.settings.written(number, template)
        flash.torn.discard(number)
        flash.torn |= {number} if self._tore else set()
        flash.templates[number] = (permission, template)
        self._on_flash_change()
        return OK

    def _find(self, template: bytes, *, but: int | None = None) -> int | None:
        held = ((number, its) for number, (_, its) in self.flash.templates.items())
        return find(held, template, but={but, *self.flash.torn})

    def _search(self, template: bytes) -> Answer:
        found = self._find(template)
        return Answer(NO_USER) if found is None else Answer(self.flash.templates[found][0], found)

    # ---- fingers ------------------------------------------------------------------------------------------------

    def _no_finger(self) -> Answer:
        """Commands, 2E: 08 after a while; 0 waits for ever, so that only a reset helps (unconfirmed)."""
        self.stopped = self.flash.timeout == 0
        return Answer(TIMED_OUT, wait_s=math.inf if self.stopped else self.flash.timeout * TIMEOUT_STEP_S)

    def _verify(self, number: int, _: int) -> Answer:
        held, template = self.flash.templates.get(number), self.settings.pressed()
        if held is not None and template is None:
            return self._no_finger()
        return Answer(NO_USER if held is None else OK if held[1] == template else FAIL)

    def _identify(self, _: int, __: int) -> Answer:
        template = self.settings.pressed()
        return self._no_finger() if template is None else self._search(template)

    def _capture(self, _: int, __: int) -> Answer:
        template = self.settings.pressed()
        return self._no_finger() if template is None else Answer(data=bytes(3) + template)

    def _image(self, _: int, __: int) -> Answer:
        if self.settings.pressed() is None:
            return self._no_finger()
        return Answer(data=Random(f"f5 image {self.settings.seed}").randbytes(IMAGE_BYTES))

    def _press(self, press: int, number: int, permission: int) -> Answer:
        """Commands, 01 to 03: three presses of one id and permission."""
        if press == 1:
            self._presses.clear()
        template = self.settings.pressed()
        same = all(earlier == (number, permission) for earlier in self._presses)
        if len(self._presses) != press - 1 or not same or not (1 <= number <= MAX_ID and 1 <= permission <= 3):
            return Answer(FAIL)
        if number in self.flash.templates or len(self.flash.templates) >= self.settings.slots:
            return Answer(TAKEN if number in self.flash.templates else FULL)
        if template is None:
            return self._no_finger()
        if self.flash.duplicates and self._find(template) is not None:
            return Answer(DUPLICATE)
        if press < 3:
            self._presses.append((number, permission))
            return Answer()
        self._presses.clear()
        return Answer(self._write(number, permission, template))

    def _press_for_template(self, _: int, __: int) -> Answer:
        """Commands, 06: in place of the third press."""
        ready = len(self._presses) == 2
        self._presses.clear()
        return self._capture(0, 0) if ready else Answer(FAIL)


class F5Unit(ModuleUnit):
    """One simulated module with its flash."""

    flash: Flash
    device: F5Module

    def __init__(self, profile: Profile, preset: str, options: Options, state: Path | None) -> None:
        sizes = {"usual": (SLOTS, TEMPLATE_BYTES), "huge": (1000, 1536)}
        settings = F5Settings(
            **common_settings(profile, preset, options, **sizes, last_id=MAX_ID, quirks=QUIRKS),
            firmware=options.text("firmware", str(profile.simulated.get("firmware", "SIM-F5-1.0"))),
            overwrite=options.flag("overwrite"),
            fails_loudly=options.choice("bad_check", "silent", ("silent", "fail")) == "fail",
        )
        if not settings.firmware.isascii():
            raise TargetError("firmware: only ASCII fits into a version")
        kept = load_state(state, profile, settings, Flash.of_image)
        self.settings = settings
        self.flash = _flash_of(preset, options, settings) if kept is None else kept
        line = Line(baud=self.flash.baud, paced=options.flag("pace"), faults=options.faults())
        super().__init__(profile, preset, state, F5Module(settings, self.flash, line, self.save))
        if kept is None:
            self.save()


def _flash_of(preset: str, options: Options, settings: F5Settings) -> Flash:
    chosen, twins = chosen_ids(preset, options, settings, first=1)
    return Flash(
        templates={n: (permission_of(n), settings.made_up(twins.get(n, n))) for n in chosen},
        torn=settings.quirks.ids("unreadable") & set(chosen),
        level=options.integer("level", 5, low=0, high=MAX_LEVEL),
        duplicates=options.integer("duplicates", 1, low=0, high=1),
        timeout=options.integer("timeout", 20, low=0, high=255),
        baud=options.integer("baud", BAUD, low=1, high=10**7),
    )


def open_unit(profile: Profile, preset: str, options: Mapping[str, str], *, state: Path | None) -> F5Unit:
    """Make a simulated module; see `lockmigrate.sim.open_unit`."""
    return F5Unit(profile, preset, Options(options, known=OPTION_NAMES), state)


def stand_in_options(facts: Mapping[str, object]) -> dict[str, str]:
    """Return options for a module like the one a backup came from; see `lockmigrate.sim.stand_in_options`."""
    names = {"slots": "slots", "template_size": "template_size_bytes", **{name: name for name in _SETTINGS[:3]}}
    numbers = {option: facts.get(name) for option, name in names.items()}
    found = {option: str(int(value)) for option, value in numbers.items() if isinstance(value, int)}
    firmware = facts.get("firmware")
    return {**found, "firmware": firmware} if isinstance(firmware, str) and firmware.isascii() else found


def permission_of(number: int) -> int:
    """Return the permission that a preset gives to a user."""
    return 1 + number % 3


def _check(data: Iterable[int]) -> int:
    """Frames: the XOR of the bytes."""
    return reduce(xor, data, 0)


def _short(code: int, value: int, result: int) -> bytes:
    body = bytes([code, *value.to_bytes(2, "big"), result, 0])
    return bytes([MARK, *body, _check(body), MARK])
