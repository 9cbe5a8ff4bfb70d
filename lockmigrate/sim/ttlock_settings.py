"""What a simulated TTLock lock is: its features, its options.

Section numbers are those of the wire reference of the family. Where it says "unconfirmed", an option chooses; "R" is
roquerodrigo/ttlock-ble in its later versions.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from lockmigrate.errors import TargetError
from lockmigrate.profiles import Profile
from lockmigrate.sim.ttlock_frames import KEY_BYTES, Place
from lockmigrate.sim.unit import FAULT_KINDS, Options

MIN_MTU: Final = 23
USUAL_ROOM: Final = {"passcode_room": 250, "card_room": 200, "finger_room": 100, "passage_room": 30}
"""Ours: a lock does not tell its room (section 12)."""
MADE: Final = "2b6eaae3"
"""The production date that R captured, an opaque text; any other would do."""

OPTIONS: Final[dict[str, str]] = {
    "seed": "another unit with other codes",
    "passcodes": "how many passcodes the preset makes",
    "cards": "how many cards it makes",
    "fingers": "how many fingerprints it makes",
    "passage": "how many times of passage mode it makes",
    "log": "how many records its log has",
    "expired": "so many of its passcodes, cards and fingers have an end in the past",
    "cyclic": "1: cards and fingers can have weekly limits, and some have (feature 34)",
    "features": "what the lock can do, as a hexadecimal number of which bit n is feature n",
    "passcode_room": "how many passcodes fit",
    "card_room": "how many cards fit",
    "finger_room": "how many fingerprints fit",
    "passage_room": "how many times of passage mode fit",
    "mac": "the Bluetooth address",
    "model": "the model that it tells, such as SN206_PV53",
    "hardware": "the hardware version that it tells",
    "firmware": "the firmware version that it tells",
    "battery": "what its battery has left, in percent",
    "scene": "the kind of lock that its frames tell",
    "group": "the group id that they tell",
    "org": "the organisation id that they tell",
    "vendor": "the vendor string that pairing needs, up to 32 characters",
    "setting": "1: in factory state from the start, whatever the preset",
    "aes_key": "the AES key, 32 hexadecimal digits",
    "admin_ps": "the number that makes an administrator",
    "unlock_key": "the number that opens",
    "lock_flag_pos": "the least flag position of a valid key",
    "admin_passcode": "the administrator's passcode; 0 is none",
    "makes_code": "1: the lock makes a passcode for its administrator when paired; 0: the app does",
    "login": "lax: lists and changes need no login; strict: they do",
    "no_login": "02 or 12: the error of what needs a login",
    "end_of_list": "empty: a last page has no records; ffff: the last records end the list; zero: with cursor 0",
    "cursors": "opaque, or index: a cursor counts records",
    "page_passcodes": "how many passcodes a page has at most; 0 is as many as fit",
    "page_cards": "how many cards with 4-byte numbers",
    "page_fingers": "how many fingerprints",
    "page_passage": "how many times of passage mode",
    "page_log": "how many records of the log",
    "log_first": "the number of the first record of its log",
    "bad_record": "this record of the log cannot be read",
    "min_code": "how short a passcode may be",
    "max_code": "how long it may be",
    "delete_by": "either, original or current: which code of a changed passcode names it",
    "refuse_ended": "1: a passcode, card or finger whose end has passed is refused",
    "add_status": "1 or 2: how a card with a known number is confirmed",
    "touch": "auto: a card or finger that is to be enrolled comes by itself; nobody: none comes",
    "touches": "how often a finger must touch",
    "touch_ms": "milliseconds from touch to touch",
    "enrol_ms": "milliseconds without a touch after which enrolling ends",
    "card_field": "4 or 8: a touched card with a 4-byte number is told in so many bytes",
    "volume": "0: the lock has no volume",
    "auto_lock_min": "the least seconds of auto-lock",
    "auto_lock_max": "the most",
    "keeps_wrong": "this passcode, card or finger that is added or changed keeps another end (or start)",
    "refuse": "COMMAND:ERROR, such as 03:16: refused whatever it is; with :N the N-th alone; several with commas",
    "short_answer": "1: locking and unlocking are answered with the battery alone",
    "push_ms": "milliseconds from locking or unlocking to what is said of it unasked; 60000 spares simple clients",
    "push_form": "short: state; long: who and when",
    "pushes": "something unasked comes before each so-many-th answer",
    "joined": "1: what comes before an answer is in one piece with it",
    "avoid_crlf": "0: do not take care that no terminator stands inside a frame",
    "force_crlf": "1: see to it that one does, wherever that is possible",
    "on_crc": "error or silent: what follows a wrong checksum",
    "on_key": "empty, foreign or silent: what follows a payload under another key",
    "crc_wrong": "this answer carries a wrong checksum",
    "drop_before": "the link drops instead of this answer, after the command was obeyed",
    "drop_after": "the link drops after this answer",
    "lost": "1: links that drop do so without a goodbye",
    "awake": "0: silent until somebody touches it",
    "sleep_s": "seconds after which it falls asleep; 0 is never",
    "idle_s": "seconds after which it hangs up an idle link; 0 is never",
    "read_first": "1: it says nothing before a characteristic was read",
    "utc": "the world's time when it is first spoken to, such as 2026-11-25T12:00:00; now is the computer's",
    "tz": "minutes that its wall time is ahead of that, such as 60 or -300; computer: as the computer's",
    "clock_off": "so many seconds its clock is ahead (or, with a minus, behind)",
    "service": "1910 or 6e40: which service it has",
    "max_mtu": "the largest MTU it agrees to",
    "piece": "bytes of a notification",
    "adv": "17 or 15: bytes of its own in an advertisement",
    "think": "milliseconds before an answer",
    "pace": "milliseconds from notification to notification",
    **dict.fromkeys(FAULT_KINDS, "a fault of the radio, such as out:frame:12 (in: writes, out: notifications)"),
}
"""Option to what it does. Answers are counted from 1 over the life of the unit."""

MAC: Final = re.compile(r"([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}")
_REFUSE: Final = re.compile(r"([0-9a-fA-F]{2}):([0-9a-fA-F]{2})(?::(\d{1,6}))?")


@dataclass(kw_only=True)
class Settings:
    """What a lock is: never changed by a command."""

    seed: int
    mac: str
    features: int
    place: Place
    prefix: str
    """What its name begins with."""
    model: str
    hardware: str
    firmware: str
    battery: int
    vendor: bytes
    passcode_room: int
    card_room: int
    finger_room: int
    passage_room: int
    auto_lock_min: int
    auto_lock_max: int
    min_code: int
    max_code: int
    volume: bool
    local: datetime
    """What its clock shows at first contact; no zone."""
    makes_code: bool
    strict: bool
    no_login: int
    end_of_list: str
    index_cursors: bool
    pages: dict[str, int]
    delete_by: str
    refuse_ended: bool
    add_status: int
    touches_itself: bool
    touches: int
    touch_s: float
    enrol_s: float
    card_field: int
    refusals: dict[int, list[tuple[int, int]]]
    """Command to errors, each with the count at which it strikes (0: always)."""
    short_answer: bool
    push_s: float
    long_push: bool
    joined: bool
    crlf: str
    """`avoid`, `allow` or `force`."""
    answers_crc: bool
    on_key: str
    lost: bool
    awake: bool
    sleep_s: int
    idle_s: int
    read_first: bool
    other_service: bool
    max_mtu: int
    piece: int
    adv: int
    think_s: float
    pace_s: float
    pushes: int
    crc_wrong: int
    drop_before: int
    drop_after: int
    keeps_wrong: int
    bad_record: int | None
    aes_key: bytes | None = field(repr=False)
    """As an option gave it."""

    def has(self, feature: int) -> bool:
        """Tell whether the lock has a feature (section 5)."""
        return bool(self.features >> feature & 1)

    @property
    def name(self) -> str:
        """Section 2.3: a prefix, and the last three bytes of the address in reverse, in lower case (seen)."""
        return f"{self.prefix}_{self.address[:2:-1].hex()}"

    @property
    def texts(self) -> tuple[str, str, str, str]:
        """What it tells of itself: model, hardware, firmware, production date."""
        return self.model, self.hardware, self.firmware, MADE

    @property
    def address(self) -> bytes:
        """The address as bytes, in the order in which it is printed."""
        return bytes.fromhex(self.mac.replace(":", ""))


def settings_of(profile: Profile, preset: str, options: Options, *, rooms: dict[str, int]) -> Settings:
    """Work out what the lock is: an option, else the profile, else what is usual.

    Args:
        profile: The model.
        preset: The preset.
        options: What the target asks for.
        rooms: How much the preset itself wants to put in; a lock of it has at least that room.

    Raises:
        TargetError: an option has an impossible value.
    """
    facts = profile.simulated
    features = _features(options, profile)
    nth = {name: options.integer(name, 0, low=0, high=10**6) for name in _NTH}
    room = {
        name: options.integer(name, max(usual, rooms.get(name, 0)), low=0, high=5000 if name != "passage_room" else 100)
        for name, usual in USUAL_ROOM.items()
    }
    lowest = options.integer("min_code", 4, low=1, high=20)
    forced = options.flag("force_crlf")
    return Settings(
        seed=options.integer("seed", 1, low=0, high=2**63),
        mac=_mac(profile, preset, options),
        features=features,
        place=Place(
            scene=options.integer("scene", int(facts.get("scene", 2)), low=0, high=255),
            group=options.integer("group", 1, low=0, high=0xFFFF),
            org=options.integer("org", 1, low=0, high=0xFFFF),
        ),
        prefix=str(facts.get("prefix", "S202F")),
        model=_text(options, "model", str(facts.get("model", "SN206_PV53"))),
        hardware=_text(options, "hardware", "1.7"),
        firmware=_text(options, "firmware", "5.1.0.200320"),
        battery=options.integer("battery", 84, low=0, high=100),
        vendor=_text(options, "vendor", "SCIENER").encode("ascii"),
        auto_lock_min=options.integer("auto_lock_min", 5, low=1, high=0xFFFE),
        auto_lock_max=options.integer("auto_lock_max", 900, low=1, high=0xFFFE),
        min_code=lowest,
        max_code=options.integer("max_code", max(9, lowest), low=lowest, high=20),
        volume=options.flag("volume", default=True),
        local=_clock(options),
        makes_code=options.flag("makes_code", default=bool(features >> 18 & 1)),
        strict=options.choice("login", "lax", ("lax", "strict")) == "strict",
        no_login=int(options.choice("no_login", "02", ("02", "12")), 16),
        end_of_list=options.choice("end_of_list", "empty", ("empty", "ffff", "zero")),
        index_cursors=options.choice("cursors", "opaque", ("opaque", "index")) == "index",
        pages={
            name: options.integer(f"page_{name}", usual, low=low, high=50)
            for name, usual, low in (
                ("passcodes", 0, 0),
                ("cards", 0, 0),
                ("fingers", 0, 0),
                ("passage", 1, 1),
                ("log", 1, 1),
            )
        },
        delete_by=options.choice("delete_by", "either", ("either", "original", "current")),
        refuse_ended=options.flag("refuse_ended"),
        add_status=options.integer("add_status", 1, low=1, high=2),
        touches_itself=options.choice("touch", "auto", ("auto", "nobody")) == "auto",
        touches=options.integer("touches", 4, low=1, high=20),
        touch_s=options.integer("touch_ms", 400, low=0, high=60000) / 1000,
        enrol_s=options.integer("enrol_ms", 8500, low=1, high=600_000) / 1000,
        card_field=int(options.choice("card_field", "4", ("4", "8"))),
        refusals=_refusals(options.text("refuse", "")),
        short_answer=options.flag("short_answer"),
        push_s=options.integer("push_ms", 50, low=0, high=60000) / 1000,
        long_push=options.choice("push_form", "short", ("short", "long")) == "long",
        joined=options.flag("joined"),
        crlf="force" if forced else "avoid" if options.flag("avoid_crlf", default=True) else "allow",
        answers_crc=options.choice("on_crc", "error", ("error", "silent")) == "error",
        on_key=options.choice("on_key", "empty", ("empty", "foreign", "silent")),
        lost=options.flag("lost"),
        awake=options.flag("awake", default=True),
        sleep_s=options.integer("sleep_s", 0, low=0, high=86400),
        idle_s=options.integer("idle_s", 0, low=0, high=86400),
        read_first=options.flag("read_first"),
        other_service=options.choice("service", "1910", ("1910", "6e40")) == "6e40",
        max_mtu=options.integer("max_mtu", MIN_MTU, low=MIN_MTU, high=517),
        piece=options.integer("piece", 20, low=1, high=512),
        adv=int(options.choice("adv", "17", ("15", "17"))),
        think_s=options.integer("think", 0, low=0, high=60000) / 1000,
        pace_s=options.integer("pace", 0, low=0, high=60000) / 1000,
        bad_record=options.integer("bad_record", 0, low=0, high=0xFFFF) if "bad_record" in options else None,
        aes_key=options.octets("aes_key", bytes(KEY_BYTES)) if "aes_key" in options else None,
        **nth,
        **room,
    )


_NTH: Final = ("pushes", "crc_wrong", "drop_before", "drop_after", "keeps_wrong")
"""Options that count something; 0 is never."""


def _features(options: Options, profile: Profile) -> int:
    text = options.text("features", str(profile.variant.get("features", "0004f1f1")))
    if not re.fullmatch(r"[0-9a-fA-F]{1,32}", text):
        raise TargetError("features: a hexadecimal number is needed", hint="for example features=0004f1f1")
    features = int(text, 16)
    if options.flag("cyclic", default=bool(features >> 34 & 1)):
        return features | 1 << 34
    return features & ~(1 << 34)


def feature_words(features: int) -> bytes:
    """Section 5: groups of 4 bytes, the least significant first; as many as are needed."""
    count = max(1, (features.bit_length() + 31) // 32)
    return b"".join((features >> 32 * word & 0xFFFFFFFF).to_bytes(4, "big") for word in range(count))


def _mac(profile: Profile, preset: str, options: Options) -> str:
    """Give every preset and seed an address of its own, a random static one as far as its first bytes go."""
    base = str(profile.simulated.get("mac", "C1:5E:AA:11:22:33"))
    seed = options.integer("seed", 1, low=0, high=2**63)
    tail = zlib.crc32(f"{base} {preset} {seed}".encode()).to_bytes(4, "big")
    usual = base if (preset, seed) == ("full", 1) else ":".join([base[:8], *(f"{byte:02X}" for byte in tail[:3])])
    mac = options.text("mac", usual)
    if not MAC.fullmatch(mac):
        raise TargetError(f'mac: "{mac}" is not a Bluetooth address', hint="for example C1:5E:AA:11:22:33")
    return mac.upper()


def _text(options: Options, name: str, usual: str) -> str:
    text = options.text(name, usual)
    if not (0 < len(text) <= 32 and text.isascii() and text.isprintable()):
        raise TargetError(f"{name}: up to 32 letters, digits and signs are needed")
    return text


def _refusals(text: str) -> dict[int, list[tuple[int, int]]]:
    found: dict[int, list[tuple[int, int]]] = {}
    for item in filter(None, text.split(",")):
        match = _REFUSE.fullmatch(item)
        if match is None:
            raise TargetError(
                f'refuse: "{item}" is not COMMAND:ERROR', hint="for example refuse=03:16 or refuse=05:13:4"
            )
        found.setdefault(int(match[1], 16), []).append((int(match[3] or 0), int(match[2], 16)))
    return found


def _clock(options: Options) -> datetime:
    """Return what the clock shows at first contact. The wall clock is read here, once, and never again."""
    text, off = options.text("utc", "now"), options.text("clock_off", "0")
    zone = options.text("tz", "computer" if text == "now" else "0")
    _insist("clock_off", off, r"-?\d{1,9}", "seconds")
    if zone != "computer":
        _insist("tz", zone, r"-?\d{1,3}", "minutes")
    try:
        start = datetime.now(UTC) if text == "now" else datetime.fromisoformat(text)
        if start.tzinfo is None:
            start = start.replace(tzinfo=UTC)
        ahead = start.astimezone().utcoffset() if zone == "computer" else timedelta(minutes=int(zone))
        local = start.astimezone(UTC).replace(tzinfo=None) + (ahead or timedelta()) + timedelta(seconds=int(off))
    except (ValueError, OverflowError, OSError):
        raise TargetError(f'utc: "{text}" is not a date', hint="for example utc=2026-11-25T12:00:00") from None
    if not 2000 <= local.year < 2100:
        raise TargetError("utc: a lock's clock knows the years from 2000 to 2099")
    return local


def _insist(name: str, text: str, form: str, unit: str) -> None:
    if not re.fullmatch(form, text):
        raise TargetError(f'{name}: "{text}" is not a number of {unit}')


def switch_mask(features: int) -> int:
    """Return the switches that a lock has: section 10 names these bits, section 5 and R their features."""
    bits = ((28, 1), (29, 2), (30, 4), (46, 32))
    return sum(bit for feature, bit in bits if features >> feature & 1)
