"""What a simulated 0xEF01 module is and holds: its settings, its flash, and made-up templates.

Section numbers are those of the wire reference of the family (0xEF01 serial fingerprint modules).
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from lockmigrate.errors import FileTrouble, ProfileError, TargetError
from lockmigrate.profiles import Profile
from lockmigrate.sim.unit import FAULT_KINDS, Options, unknown

FACTORY_ADDRESS: Final = b"\xff\xff\xff\xff"
FACTORY_PASSWORD: Final = bytes(4)
PAGE_BYTES: Final = 32
"""A notepad page, section 3.5."""
SPEED_STEP: Final = 9600
"""Section 1: baud = 9600 * N."""
PACKET_BYTES: Final = (32, 64, 128, 256)
"""Section 3.1: the packet size code is the index."""
HILINK_SIZE: Final = 1536
"""Nobody has published the template size of a Hi-Link module; this one is ours."""
CLASSIC_SIZE: Final = 512
"""Section 5: the most common one where a profile tells none."""
FAKE_FRAME: Final = bytes.fromhex("ef01 ffffffff 07 0003 00 000a")
"""Section 9: templates that hold a frame's header; this is a whole acknowledgement."""
STATE_MARK: Final = b"lockmigrate simulated ef01 1\n"

OPTION_NAMES: Final = (
    *("seed", "slots", "fill", "template_size", "packet", "level", "password", "address", "baud", "pace", "flash"),
    *("boot55", "encryption", "firmware", "serial", "system_id", "algorithm", "notepad", "headers", "finger", "quirks"),
    *FAULT_KINDS,
)
QUIRKS: Final = {
    "no-index": "ReadIndexTable is unknown",
    "count-zero": "TempleteNum answers 0 whatever is stored",
    "no-sysparams": "ReadSysPara is unknown, as on an R308",
    "no-prodinfo": "GetAlgVer, GetFwVer and ReadProdInfo are unknown",
    "no-algver": "GetAlgVer is unknown",
    "silent-unknown": "an unknown command gets no answer at all",
    "index-shifted": "bit n of the index stands for slot n - 1, as on R551 clones",
    "odd-search": "a search without result names a slot all the same",
    "baud-now": "a new speed counts at once",
    "baud-later": "a new speed counts from the next power-up",
    "store-fails": "SLOT[:TIMES] Store answers 18",
    "torn-store": "SLOT[:TIMES] the power fails in the middle of Store",
    "readback-differs": "SLOT[:TIMES] Store keeps a damaged copy and says nothing",
    "unreadable": "SLOT the index says occupied, LoadChar says 0C",
}
"""Awkward firmware: name to what it does; `SLOT[:TIMES]` follows some after a colon, without TIMES torn-store and
readback-differs happen once and store-fails always."""


@dataclass(kw_only=True)
class Settings:
    """What a module is: never changed by a command."""

    hilink: bool
    r50x: bool
    slots: int
    template_bytes: int
    buffers: int
    notepad_pages: int
    system_id: int
    enrol_times: int
    ready_s: float
    seed: int
    serial: str
    texts: dict[str, str]
    boot55: bool
    slow: bool
    headers: str
    finger: int | None
    quirks: set[str]
    slot_quirks: dict[tuple[str, int], int]
    """Quirk and slot to how many times it is still to happen."""

    def made_up(self, slot: int) -> bytes:
        """Return the template of the finger that a preset puts into `slot`."""
        with_header = self.headers == "1" or (self.headers == "some" and slot % 8 == 5)
        return made_up_template(
            self.seed, slot, self.template_bytes, optical=not (self.hilink or self.r50x), fake_header=with_header
        )

    def happens(self, quirk: str, slot: int) -> bool:
        """Tell whether a slot's quirk strikes now, and use it up."""
        left = self.slot_quirks.get((quirk, slot), 0)
        if left > 0:
            self.slot_quirks[quirk, slot] = left - 1
        return left > 0


@dataclass(kw_only=True)
class Flash:
    """What a module keeps without power (section 9)."""

    templates: dict[int, bytes] = field(default_factory=dict)
    torn: set[int] = field(default_factory=set)
    """Occupied slots that LoadChar cannot read."""
    notepad: list[bytes] = field(default_factory=list)
    address: bytes = FACTORY_ADDRESS
    password: bytes = FACTORY_PASSWORD
    speed_n: int = 6
    packet_code: int = 2
    level: int = 3
    encryption: int = 0
    registers: dict[int, int] = field(default_factory=dict)
    """Hi-Link's other registers (section 4.3), number to value."""

    @property
    def packet_bytes(self) -> int:
        """How many bytes of a template a data packet carries."""
        return PACKET_BYTES[self.packet_code]

    def template_image(self) -> bytes:
        """Return the library alone: slot (2) and size (2) before each template, big-endian, in slot order."""
        parts = (
            slot.to_bytes(2, "big") + len(template).to_bytes(2, "big") + template
            for slot, template in sorted(self.templates.items())
        )
        return b"".join(parts)

    def notepad_image(self) -> bytes:
        """Return all notepad pages, one after the other."""
        return b"".join(self.notepad)

    def image(self) -> bytes:
        """Return all of it: a line of JSON, the notepad, the library."""
        head = {
            "address": self.address.hex(),
            "encryption": self.encryption,
            "level": self.level,
            "notepad_pages": len(self.notepad),
            "packet_code": self.packet_code,
            "password": self.password.hex(),
            "registers": {str(number): value for number, value in sorted(self.registers.items())},
            "speed_n": self.speed_n,
            "torn": sorted(self.torn),
        }
        line = json.dumps(head, sort_keys=True, separators=(",", ":")).encode() + b"\n"
        return line + self.notepad_image() + self.template_image()

    @classmethod
    def of_image(cls, image: bytes) -> Flash:
        """Read what `image` wrote; ValueError, KeyError or TypeError where it did not."""
        line, _, rest = image.partition(b"\n")
        head = json.loads(line)
        pages = int(head["notepad_pages"])
        flash = cls(
            torn=set(head["torn"]),
            notepad=[rest[PAGE_BYTES * page : PAGE_BYTES * (page + 1)] for page in range(pages)],
            address=bytes.fromhex(head["address"]),
            password=bytes.fromhex(head["password"]),
            speed_n=int(head["speed_n"]),
            packet_code=int(head["packet_code"]),
            level=int(head["level"]),
            encryption=int(head["encryption"]),
            registers={int(number): int(value) for number, value in head["registers"].items()},
        )
        at = PAGE_BYTES * pages
        while at < len(rest):
            slot, size = int.from_bytes(rest[at : at + 2], "big"), int.from_bytes(rest[at + 2 : at + 4], "big")
            flash.templates[slot] = rest[at + 4 : at + 4 + size]
            at += 4 + size
        if at != len(rest):
            raise ValueError("cut short")
        return flash


def made_up_template(seed: int, slot: int, size_bytes: int, *, optical: bool, fake_header: bool) -> bytes:
    """Make a template that looks like one from far away (section 5: `03 01` twice and a zero tail, or `02 05`).

    It is drawn from a generator and describes nobody's finger. No two slots give the same.
    """
    body = bytearray(Random(f"ef01 {seed} {slot} {size_bytes}").randbytes(size_bytes))
    starts = (0, size_bytes // 2) if optical else (0,)
    for start in starts:
        body[start : start + 2] = b"\x03\x01" if optical else b"\x02\x05"
    body[2:4] = slot.to_bytes(2, "big")
    if fake_header:
        # Once across the border of two packets of 128, once in the middle of one.
        for at in (min(122, size_bytes - 40), size_bytes * 3 // 4):
            body[at : at + len(FAKE_FRAME)] = FAKE_FRAME
    tail = size_bytes // 24
    body[size_bytes - tail :] = bytes(tail)
    return bytes(body)


def settings_of(profile: Profile, preset: str, options: Options) -> Settings:
    """Work out what the module is: an option, else the profile's `[simulated]`, else its other tables, else a default.

    Raises:
        TargetError: an option has an impossible value.
        ProfileError: the profile has.
    """
    known = {**profile.variant, **profile.simulated}
    finger = profile.capabilities.credentials.fingerprint
    dialect, extended = _fact(known, "dialect", "classic"), _fact(known, "extended", "none")
    if dialect not in ("classic", "hilink") or extended not in ("none", "r50x"):
        raise ProfileError(f'{profile.name}: no simulated module has dialect "{dialect}" and extended "{extended}"')
    huge = preset == "huge"
    size = known.get("template_size") or (finger and finger.template_size_bytes)
    size = size or (HILINK_SIZE if dialect == "hilink" else CLASSIC_SIZE)
    slots = known.get("slots") or (finger and finger.slots)
    quirks, slot_quirks = _quirks(options.text("quirks", ""))
    seed = options.integer("seed", 1, low=0, high=2**63)
    texts = {key: value for key, value in known.items() if isinstance(value, str)}
    for option, name in (("firmware", "firmware_text"), ("firmware", "software_text"), ("algorithm", "algorithm_text")):
        texts[name] = options.text(option, texts.get(name, ""))
    settings = Settings(
        hilink=dialect == "hilink",
        r50x=dialect == "classic" and extended == "r50x",
        slots=options.integer("slots", 1000 if huge else int(slots or 200), low=1, high=65535),
        template_bytes=options.integer("template_size", 1536 if huge else int(size), low=64, high=16384),
        buffers=int(_fact(known, "buffers", 2)),
        notepad_pages=int(_fact(known, "notepad_pages", 16)),
        system_id=options.integer("system_id", int(_fact(known, "system_id", 0)), low=0, high=65535),
        enrol_times=int(_fact(known, "enrol_times", 5)),
        ready_s=profile.serial.ready_s if profile.serial is not None else 0.0,
        seed=seed,
        serial=options.text("serial", _serial(str(_fact(known, "serial", "00000001")), preset, seed)),
        texts=texts,
        boot55=options.flag("boot55"),
        slow=options.choice("flash", "none", ("none", "slow")) == "slow",
        headers=options.choice("headers", "some", ("0", "1", "some")),
        finger=options.integer("finger", 0, low=0, high=65535) if "finger" in options else None,
        quirks=quirks,
        slot_quirks=slot_quirks,
    )
    if not settings.serial.isascii():
        raise TargetError("serial: only ASCII fits into a serial number")
    return settings


def flash_of(profile: Profile, preset: str, options: Options, settings: Settings) -> Flash:
    """Fill a module as its preset and options want it.

    Raises:
        TargetError: an option has an impossible value.
    """
    known = {**profile.variant, **profile.simulated}
    baud = options.integer("baud", profile.serial.baud if profile.serial is not None else 57600, low=1, high=10**7)
    if baud % SPEED_STEP or not 1 <= baud // SPEED_STEP <= 255:
        raise TargetError(f"baud: {baud} is not a multiple of {SPEED_STEP}")
    packet = options.choice("packet", str(_fact(known, "packet_bytes", 128)), [str(size) for size in PACKET_BYTES])
    usual = int(_fact(known, "score_level", 0x12)) if settings.hilink else 3
    # Section 3.1 and 4.1: 1 to 5 with 3 from the factory, on a Hi-Link module 1 to 28 with 0x12.
    level = options.integer("level", usual, low=1, high=28 if settings.hilink else 5)
    fills = {"empty": 0, "half": settings.slots // 2}
    fill = options.integer("fill", fills.get(preset, settings.slots), low=0, high=settings.slots)
    chosen = sorted(Random(f"ef01 slots {settings.seed} {settings.slots}").sample(range(settings.slots), fill))
    flash = Flash(
        templates={slot: settings.made_up(slot) for slot in chosen},
        torn={slot for quirk, slot in settings.slot_quirks if quirk == "unreadable"} & set(chosen),
        notepad=_notepad(options.choice("notepad", "empty" if preset == "empty" else "paired", _NOTEPADS), settings),
        address=options.octets("address", FACTORY_ADDRESS),
        password=options.octets("password", FACTORY_PASSWORD),
        speed_n=baud // SPEED_STEP,
        packet_code=PACKET_BYTES.index(int(packet)),
        level=level,
    )
    if settings.hilink:
        flash.encryption = options.integer("encryption", int(_fact(known, "encryption_level", 0)), low=0, high=21)
        flash.registers = {0: 0, 1: settings.enrol_times, 2: 0, 3: 0, 8: 0, 9: 0}
    elif "encryption" in options:
        raise TargetError("encryption: only a Hi-Link module has such a level")
    return flash


def load_state(path: Path, profile: Profile, settings: Settings) -> Flash | None:
    """Read a state file into a flash, and slots, size and serial into `settings`; None where there is no file.

    Raises:
        FileTrouble: it cannot be read.
        TargetError: it is not ours, or another model's.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FileTrouble(f"cannot read the state file {path}: {error.strerror or 'it cannot be opened'}") from None
    try:
        mark, head_line, image = content[: len(STATE_MARK)], *content[len(STATE_MARK) :].split(b"\n", 1)
        head = json.loads(head_line)
        flash = Flash.of_image(image)
        name, serial = str(head["profile"]), str(head["serial"])
        slots, template_bytes = int(head["slots"]), int(head["template_bytes"])
        well = mark == STATE_MARK and head["crc"] == zlib.crc32(image)
    except (ValueError, KeyError, TypeError):
        well = False
    if not well:
        raise TargetError(f"{path}: not the state of a simulated ef01 unit")
    if name != profile.name:
        raise TargetError(f'{path}: this is the state of a simulated "{name}"', hint="name another file with --state")
    settings.slots, settings.template_bytes, settings.serial = slots, template_bytes, serial
    return flash


def state_of(profile: Profile, settings: Settings, flash: Flash) -> bytes:
    """Return what `load_state` reads."""
    image = flash.image()
    head = {
        "crc": zlib.crc32(image),
        "profile": profile.name,
        "serial": settings.serial,
        "slots": settings.slots,
        "template_bytes": settings.template_bytes,
    }
    return STATE_MARK + json.dumps(head, sort_keys=True).encode() + b"\n" + image


_NOTEPADS: Final = ("empty", "paired", "full")


def _notepad(kind: str, settings: Settings) -> list[bytes]:
    """Make the pages; `paired` holds what a lock's controller would keep there to know its module again."""
    written = {"empty": 0, "paired": 2, "full": settings.notepad_pages}[kind]
    drawn = Random(f"ef01 notepad {settings.seed} {settings.serial}")
    pages = [drawn.randbytes(PAGE_BYTES) for _ in range(min(written, settings.notepad_pages))]
    return pages + [bytes(PAGE_BYTES)] * (settings.notepad_pages - len(pages))


def _serial(base: str, preset: str, seed: int) -> str:
    """Give every preset and seed a number of its own, of the length that the profile shows."""
    if (preset, seed) == ("full", 1):
        return base
    digits = min(6, len(base))
    return base[: len(base) - digits] + f"{zlib.crc32(f'{base} {preset} {seed}'.encode()) % 10**digits:0{digits}d}"


def _quirks(text: str) -> tuple[set[str], dict[tuple[str, int], int]]:
    plain: set[str] = set()
    by_slot: dict[tuple[str, int], int] = {}
    for item in filter(None, text.split(",")):
        name, *numbers = item.split(":")
        if name not in QUIRKS:
            raise unknown("quirk", name, QUIRKS)
        wants_slot = "SLOT" in QUIRKS[name]
        well = all(number.isascii() and number.isdigit() for number in numbers)
        if not well or len(numbers) not in ((1, 2) if wants_slot else (0,)):
            form = f"{name}:SLOT or {name}:SLOT:TIMES" if wants_slot else name
            raise TargetError(f'quirks: "{item}" is not understood', hint=f"write it as {form}")
        if wants_slot:
            usual = 1 if name in ("torn-store", "readback-differs") else 10**9
            by_slot[name, int(numbers[0])] = int(numbers[1]) if len(numbers) == 2 else usual
        else:
            plain.add(name)
    return plain, by_slot


def _fact(known: dict[str, Any], name: str, default: Any) -> Any:
    return known.get(name, default)
