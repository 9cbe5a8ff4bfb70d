"""Made-up locks of three families, as the raw tables that a backup would hold, the same for the same seed.

Every byte is laid out here from the wire references (nuki-ble 7 and 9, ttlock-ble 5 and 7 to 11, zkteco 5, 7 and 8);
only the decoder is the package's own. Locks are small and nasty: whatever odd thing a real one can hold turns up often.
Digits, cards, names and dates come from pools that all families share, so that two locks often know the same ones.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

from lockmigrate.formats import decode
from lockmigrate.model.document import Gap, Metadata, Snapshot, Table
from lockmigrate.model.results import Unit
from lockmigrate.model.secret import Secret

FAMILIES: Final = ("nuki", "ttlock", "zk")
Rng = random.Random

SIX_DIGITS: Final = ("345678", "987654", "456123", "771234", "555555", "345679", "918273")
"""What a Nuki keypad takes (section 11): six digits of 1 to 9 that do not begin with 12."""
OTHER_DIGITS: Final = ("1234", "0042", "00000", "123456", "120000", "34567", "34567890", "304050", "8642", "345678901")
CARDS: Final = (0x12345678, 0xABCDEF01, 77, 0x78563412, 0xFFFFFFFF)
LONG_CARDS: Final = (0x1234567890ABCDEF, 0x0000000012345678, 0x04A1B2C3D4E5F6, 0xABCDEF0100000000)
NAMES: Final = (
    b"",
    b"Ada",
    "Zoë Müller".encode(),
    "张伟".encode(),
    b"Maximilian Mustermann"[:20],
    "ÄÖÜäöüß".encode() * 2,
)
"""Up to 20 bytes; the last is cut in the middle of a character by anything that counts bytes."""

NUKI_ZONES: Final[Mapping[int, tuple[str, int, int]]] = {
    37: ("Europe/Berlin", 60, 1), 40: ("Europe/London", 0, 1), 12: ("America/New_York", -300, 1),
    23: ("Asia/Kathmandu", 345, 0), 34: ("Australia/Hobart", 600, 1), 17: ("America/St_Johns", -210, 1),
    10: ("America/Manaus", -240, 0), 44: ("Pacific/Honolulu", -600, 0),
}  # fmt: skip
"""Time zone id (10.3) to name, minutes ahead of UTC in winter, and daylight saving mode."""
NO_ZONE: Final = 0xFFFF
NO_ZONES: Final[Mapping[tuple[int, int], tzinfo]] = {
    (60, 1): ZoneInfo("Europe/Berlin"),
    (120, 1): ZoneInfo("Europe/Helsinki"),
    (345, 0): timezone(timedelta(minutes=345)),
    (-210, 0): timezone(timedelta(minutes=-210)),
}
"""Of a lock that names no zone: what its offset and daylight saving mode come to."""
DOORS: Final = tuple(ZoneInfo(name) for name in ("Europe/Berlin", "America/New_York", "Asia/Kathmandu"))
"""Where the door is, where neither lock says it."""
EDGES: Final = (
    (2026, 3, 28), (2026, 3, 29), (2026, 3, 30), (2026, 10, 24), (2026, 10, 25), (2026, 10, 26), (2026, 3, 8),
    (2026, 11, 1), (2027, 4, 4), (2026, 10, 4), (2026, 12, 31), (2027, 1, 1), (2024, 2, 29), (2020, 6, 1), (2031, 7, 9),
    (2000, 1, 1), (2000, 1, 2), (2099, 12, 31), (2099, 12, 1),
)  # fmt: skip
"""Days around changes of the clock in the zones above, ends of years, days gone by, and the ends of a TTLock's time."""
TIMES: Final = ((0, 0), (0, 30), (1, 30), (2, 0), (2, 30), (3, 0), (7, 15), (12, 34), (14, 0), (22, 59), (23, 59))
"""Of day, as (hour, minute): half past two is there twice or not at all when the clock is changed."""


@dataclass(frozen=True)
class Made:
    """A lock as it was read, and in which zone its door is."""

    family: str
    tables: dict[str, bytes]
    variant: dict[str, Any]
    zone: tzinfo | None
    """None where the lock says nothing of it."""
    gaps: tuple[Gap, ...] = ()

    @property
    def snapshot(self) -> Snapshot:
        return snapshot_of(self.family, self.tables, self.variant, self.gaps)


def snapshot_of(
    family: str, tables: Mapping[str, bytes], variant: Mapping[str, Any], gaps: tuple[Gap, ...] = ()
) -> Snapshot:
    """Decode tables as an operation would that has just read them."""
    found = decode(family, tables, variant)
    sections = {name: getattr(found, name) for name in found.__struct_fields__}
    return Snapshot(
        metadata=Metadata(source="lockmigrate@test", created_utc="", suggestion_key=Secret(b"made-up locks".ljust(32))),
        tables=tuple(Table(name=name, data=data, rows=0, read_at_utc="") for name, data in tables.items()),
        gaps=gaps,
        **sections,
    )


def unit_of(snapshot: Snapshot, name: str = "new") -> Unit:
    """Return the target's unit, as `identify` would find it."""
    return Unit(
        id=name,
        serial=snapshot.lock.serial,
        family=snapshot.lock.family,
        model=snapshot.lock.model,
        firmware=snapshot.lock.firmware_rev,
        profile=snapshot.lock.family,
        target=f"sim://{snapshot.lock.family}",
        capabilities=snapshot.capabilities,
    )


def made(family: str, rng: Rng, *, number: int = 1, full: bool = True) -> Made:
    """Make a lock.

    Args:
        family: one of `FAMILIES`.
        rng: whose state is all that it depends on.
        number: tells this unit from another one.
        full: False for one fresh out of its box.
    """
    return {"nuki": made_nuki, "ttlock": made_ttlock, "zk": made_zk}[family](rng, number, full)


def listed(items: Iterable[bytes], announced: int | None = None) -> bytes:
    """Lay out a list as a table: what was announced (FFFF: nothing), then each entry after its length."""
    head = struct.pack("<H", 0xFFFF if announced is None else announced)
    return head + b"".join(struct.pack("<H", len(item)) + item for item in items)


def items_of(table: bytes) -> list[bytes]:
    """Take such a table apart."""
    found, at = [], 2
    while at < len(table):
        (size,) = struct.unpack_from("<H", table, at)
        found.append(table[at + 2 : at + 2 + size])
        at += 2 + size
    return found


def some(rng: Rng, most: int) -> range:
    return range(rng.choice([0, 1, 1, 2, 3, most]))


def day(rng: Rng) -> tuple[int, int, int]:
    return rng.choice(EDGES)


# ---- Nuki -----------------------------------------------------------------------------------------------------------


def nuki_date(year: int, month: int, day_: int, hour: int = 0, minute: int = 0, second: int = 0) -> bytes:
    return struct.pack("<HBBBBB", year, month, day_, hour, minute, second)


def nuki_tail(
    start: bytes = bytes(7), end: bytes = bytes(7), days: int = 0, window: tuple[int, int, int, int] = (0, 0, 0, 0)
) -> bytes:
    """Lay out a time limit (section 7): dates in UTC, days with Monday in bit 6, hours of the door's own time."""
    return start + end + bytes([days, *window])


def nuki_code(
    ident: int,
    digits: str,
    *,
    name: bytes = b"",
    enabled: bool = True,
    limited: bool = False,
    tail: bytes | None = None,
) -> bytes:
    """Lay out an entry of the list of keypad codes (9.3)."""
    head = struct.pack("<HI20sB", ident, int(digits), name, enabled)
    history = nuki_date(2024, 5, 6, 7, 8, 9) + bytes(7) + struct.pack("<H", 3)
    return head + history + bytes([limited]) + (tail if tail is not None else b"")


def _nuki_moment(rng: Rng, local: tuple[int, int] | None = None) -> bytes:
    hour, minute = local or rng.choice(TIMES)
    second = rng.choice([0, 0, 0, 1, 59])
    return nuki_date(*day(rng), hour, minute, second)


def _nuki_limit(rng: Rng) -> bytes:
    start = rng.choice([bytes(7), _nuki_moment(rng), nuki_date(1999, 12, 31, 23), nuki_date(2020, 1, 1)])
    end = rng.choice([bytes(7), _nuki_moment(rng), nuki_date(2150, 6, 1), nuki_date(9999, 12, 31, 23, 59, 59)])
    if rng.random() < 0.05:
        start, end = rng.choice([(nuki_date(2026, 13, 1), end), (start, nuki_date(2026, 2, 30)), (b"\xff" * 7, end)])
    days = rng.choice([0, 0, 0x7F, 0x7C, 0x40, 0x03, 0x2A, rng.randrange(128)])
    if rng.random() < 0.03:
        days |= 0x80
    (sh, sm), (eh, em) = rng.choice(TIMES), rng.choice(TIMES)
    window = rng.choice([(0, 0, 0, 0), (8, 0, 17, 30), (0, 0, 23, 59), (sh, sm, eh, em), (22, 0, 6, 0), (8, 0, 8, 0)])
    if rng.random() < 0.03:
        window = (24, 0, 25, 61)
    return nuki_tail(start, end, days, window)


def _nuki_codes(rng: Rng) -> list[bytes]:
    codes = []
    for number, digits in enumerate(rng.sample(SIX_DIGITS, len(some(rng, 6)))):
        tail: bytes | None = _nuki_limit(rng)
        limited = rng.random() < 0.65
        if not limited and rng.random() < 0.6:
            tail = None
        if limited and rng.random() < 0.1:
            tail = rng.choice([bytes(19), None])
        codes.append(
            nuki_code(
                10 + 3 * number,
                digits,
                name=rng.choice(NAMES)[:20],
                enabled=rng.random() < 0.85,
                limited=limited,
                tail=tail,
            )
        )
    return codes


def _nuki_people(rng: Rng, number: int) -> list[bytes]:
    people = [("lockmigrate", 0, b"")]
    people += [(f"Phone {one}", rng.choice([0, 1, 2, 3]), _nuki_limit(rng)) for one in range(rng.choice([0, 0, 1, 2]))]
    return [
        struct.pack("<IB32sBB", 100 * number + index, kind, name.encode(), index != 2, 1)
        + nuki_date(2024, 1, 1)
        + bytes(7)
        + struct.pack("<HB", 0, bool(tail))
        + tail
        for index, (name, kind, tail) in enumerate(people)
    ]


def made_nuki(rng: Rng, number: int, full: bool) -> Made:
    """Make a Nuki lock."""
    zone_id = rng.choice([37, 37, *NUKI_ZONES, NO_ZONE])
    if zone_id == NO_ZONE:
        offset, saving = rng.choice(list(NO_ZONES))
        zone = NO_ZONES[offset, saving]
    else:
        name, offset, saving = NUKI_ZONES[zone_id]
        zone = ZoneInfo(name)
    config = struct.pack("<I32sff", 0x10000000 + number, b"Front door", 48.5, 9.25)
    config += bytes([1, 1, 1, 1, rng.choice([2, 3])]) + nuki_date(2026, 3, 4, 5, 6, 7)
    config += struct.pack("<hB", offset, saving) + bytes([0, 1, 2, 4, rng.choice([0, 1]), 0, 1, 3, 4, 5, 1, 1, 1])
    config += struct.pack("<HB", zone_id, 4) + bytes([0, 1, 0, 0])
    advanced = struct.pack("<Hhhhh", 700, 1, 2, 3, 4) + bytes([20, 2, 3, 0, 0, 1, 3])
    advanced += struct.pack("<HB", rng.choice([0, 120]), 0) + bytes([1, 22, 0, 6, 30, 1, 0, 1, 1, 0, 1])
    codes = _nuki_codes(rng) if full else []
    idents = [int.from_bytes(code[:2], "little") for code in codes]
    fingers = [
        struct.pack("<32sH20s", bytes([number, index]) * 16, rng.choice([*idents, 999]), b"Thumb")
        for index in (some(rng, 2) if full and rng.random() < 0.5 else ())
    ]
    timers = [
        bytes([index + 1, rng.randrange(2), rng.choice([0, 0x7C, 0x03]), rng.randrange(24), 30, rng.choice([1, 2, 3])])
        for index in (some(rng, 3) if full and rng.random() < 0.5 else ())
    ]
    log = [struct.pack("<I7sI32sB4s", 5, nuki_date(2026, 1, 1), 100 * number, b"Ada", 2, bytes([1, 0, 0, 0]))]
    tables = {
        "0001-device": f"serial={number:08X}\nfirmware=3.4.5\nhardware=1.1\n".encode(),
        "0002-config": config,
        "0003-advanced": advanced,
        "0006-authorisations": listed(_nuki_people(rng, number)),
        "0007-codes": listed(codes, len(codes)),
        "0008-fingerprints": listed(fingers),
        "0009-timers": listed(timers, len(timers)),
        "0010-log": listed(log if full else []),
    }
    slots = rng.choice([200, 200, 100, 4])
    variant = {
        "generation": "1-4",
        "code_slots": slots,
        "fingerprint_slots": 20,
        "address": f"54:D2:72:00:00:{number:02X}",
    }
    return Made("nuki", tables, variant, zone)


# ---- TTLock ---------------------------------------------------------------------------------------------------------

TT_ALWAYS_FROM: Final = bytes([0, 1, 1, 0, 0])
TT_ALWAYS_UNTIL: Final = bytes([99, 12, 31, 23, 59])
TT_OTHERS_FROM: Final = (bytes([0, 1, 31, 14, 0]),)
TT_OTHERS_UNTIL: Final = (bytes([99, 12, 1, 23, 59]), bytes([99, 12, 31, 14, 0]))
"""What other clients write for "always" (section 3)."""
TT_FEATURES: Final = 0x1007244DFF7
"""Everything but weekly limits of cards and fingers."""
PERMANENT, ONE_TIME, PERIOD, CYCLIC = 1, 2, 3, 4


def tt_date(year: int, month: int, day_: int, hour: int = 0, minute: int = 0) -> bytes:
    return bytes([year - 2000, month, day_, hour, minute])


def tt_code(
    digits: str,
    kind: int = PERMANENT,
    *,
    original: str | None = None,
    start: bytes = TT_ALWAYS_FROM,
    end: bytes | None = None,
    cycle: bytes = b"",
    rest: bytes = b"",
) -> bytes:
    """Lay out a record of the passcode list without its length (7.1)."""
    codes = b"".join(bytes([len(one)]) + one.encode() for one in (digits, original or digits))
    return bytes([kind]) + codes + start + (end or b"") + cycle + rest


def tt_features(bits: int) -> bytes:
    """Lay out the feature words: least significant word first, each big endian (section 5)."""
    return b"".join(((bits >> 32 * word) & 0xFFFFFFFF).to_bytes(4, "big") for word in range(2))


def _tt_moment(rng: Rng, always: bytes, others: tuple[bytes, ...]) -> bytes:
    chance = rng.random()
    if chance < 0.3:
        return always
    if chance < 0.36:
        return rng.choice(others)
    if chance < 0.42:
        return rng.choice([bytes([26, 13, 1, 0, 0]), bytes([26, 2, 30, 0, 0]), bytes([26, 1, 1, 24, 0]), bytes(5)])
    return tt_date(*day(rng), *rng.choice(TIMES))


def _tt_codes(rng: Rng) -> list[bytes]:
    codes = []
    pool = [*SIX_DIGITS, *OTHER_DIGITS]
    for digits in rng.sample(pool, len(some(rng, 6))):
        kind = rng.choice([PERMANENT, PERMANENT, ONE_TIME, PERIOD, PERIOD, PERIOD, CYCLIC])
        start = _tt_moment(rng, TT_ALWAYS_FROM, TT_OTHERS_FROM)
        end = _tt_moment(rng, TT_ALWAYS_UNTIL, TT_OTHERS_UNTIL) if kind in (ONE_TIME, PERIOD) else None
        cycle = rng.choice([b"\x01\x05", b"\x04\x19"]) if kind == CYCLIC else b""
        original = rng.choice(["7777", "864209"]) if rng.random() < 0.15 else None
        rest = b"\x00\x01" if rng.random() < 0.05 else b""
        codes.append(tt_code(digits, kind, original=original, start=start, end=end, cycle=cycle, rest=rest))
    if rng.random() < 0.04:
        codes.append(bytes([9, 4]) + b"7531" + bytes([4]) + b"7531" + bytes(9))
    return codes


def _tt_holders(rng: Rng, numbers: list[bytes]) -> list[bytes]:
    return [
        number + _tt_moment(rng, TT_ALWAYS_FROM, TT_OTHERS_FROM) + _tt_moment(rng, TT_ALWAYS_UNTIL, TT_OTHERS_UNTIL)
        for number in numbers
    ]


def made_ttlock(rng: Rng, number: int, full: bool) -> Made:
    """Make a TTLock lock."""
    features = TT_FEATURES
    if rng.random() < 0.25:
        features |= 1 << 34
    if rng.random() < 0.08:
        features &= ~(1 << rng.choice([0, 1, 12, 22, 40]))
    short = [card.to_bytes(4, "big") for card in rng.sample(CARDS, rng.randrange(4))]
    long = [card.to_bytes(8, "big") for card in rng.sample(LONG_CARDS, rng.choice([0, 0, 1, 2]))]
    fingers = [(1000 * number + index).to_bytes(6, "big") for index in range(rng.choice([0, 0, 1, 2]))]
    passage = [
        bytes([1, rng.randrange(8), 0, *rng.choice([(0, 0, 0, 0), (8, 0, 17, 30), (22, 0, 6, 0)])])
        if rng.random() < 0.8
        else bytes([2, rng.randrange(1, 32), 0, 9, 0, 12, 0])
        for _ in range(rng.choice([0, 0, 1, 2]))
    ]
    settings = [
        bytes([0x36]) + struct.pack(">HHH", rng.choice([0, 5, 30]), 5, 900),
        bytes([0x62, rng.randrange(2), 3]),
        bytes([0x59, 1]),
        bytes([0x37, rng.randrange(2)]),
        bytes([0x67]) + struct.pack(">H", 15),
        bytes([0x68]) + struct.pack(">II", 7, rng.randrange(8)),
    ]
    log = [struct.pack(">I", 1) + bytes([19, 4, 26, 1, 2, 3, 4, 5, 90, 4]) + b"1234" + bytes([4]) + b"1234"]
    model, firmware = ("SN202", "5.1.0.220101") if rng.random() < 0.8 else ("SN999", "6.0.0.240101")
    tables = {
        "0001-device": f"model={model}\nhardware=1.0\nfirmware={firmware}\n".encode(),
        "0002-features": tt_features(features),
        "0003-passcodes": listed(_tt_codes(rng) if full and features & 1 else []),
        "0004-cards": listed(_tt_holders(rng, short + long) if full and features >> 1 & 1 else []),
        "0005-fingers": listed(_tt_holders(rng, fingers) if full else []),
        "0006-settings": listed(settings),
        "0007-passage": listed(dict.fromkeys(passage) if full and features >> 22 & 1 else []),
        "0008-log": listed(log if full else []),
    }
    if rng.random() < 0.4:
        tables["0010-admin-code"] = rng.choice(["1234567", "345678", "987654"]).encode()
    if rng.random() < 0.04:
        del tables["0002-features"]
    variant = {"address": f"C1:5E:AA:00:00:{number:02X}"}
    return Made("ttlock", tables, variant, None)


# ---- ZK -------------------------------------------------------------------------------------------------------------

FULL_ZONE: Final = bytes([0, 0, 23, 59]) * 7
CLOSED: Final = bytes([23, 59, 0, 0])
ZK_ZONES: Final = (
    FULL_ZONE,
    bytes([9, 0, 17, 30]) * 7,
    CLOSED + bytes([8, 0, 12, 0]) * 5 + CLOSED,
    CLOSED * 7,
    bytes([0, 0, 23, 59]) * 5 + bytes([9, 0, 23, 59]) + CLOSED,
    bytes([9, 0, 9, 0]) * 7,
    CLOSED * 6 + bytes([0, 0, 24, 0]),
    CLOSED * 3 + bytes([22, 0, 6, 0]) + bytes([0, 0, 12, 0]) * 3,
    bytes([9, 0, 25, 0]) * 7,
    bytes([12, 0, 23, 59]) * 7,
)
"""Seven days of (start, end), Sunday first. Among them: closed days, a day of no length, one to 24:00, a start later
than the end, which is closed too, and hours that do not exist."""
NUMBERS: Final = (1, 2, 3)
STYLES: Final = (0, 0, 0, 1, 2, 3, 4, 5, 7, 9, 11, 14)
PASSWORDS: Final = (
    b"", b"", b"1234", b"1234", b"345678", b"345678", b"987654", b"771234", b"555555", b"34567890", b"0042", b"00000",
    b"12ab", b"7\xff1",
)  # fmt: skip
"""Several people often have the same; some are no digits, one is no text."""


def zk_user(
    uid: int,
    *,
    width: int = 72,
    privilege: int = 0,
    password: bytes = b"",
    name: bytes = b"",
    card: int = 0,
    group: int = 1,
    own: tuple[int, int, int] | None = None,
    bits: int = 0,
    ident: str = "",
) -> bytes:
    """Lay out a record of the user table (section 7)."""
    if width == 28:
        head = struct.pack("<HB5s8s", uid, privilege, password[:5], name[:8])
        number = int(ident) if ident.isdigit() else 0
        return head + card.to_bytes(5, "little") + struct.pack("<BHI", group, bits, number)
    head = struct.pack("<HB8s24sI", uid, privilege, password, name[:23], card & 0xFFFFFFFF)
    return head + struct.pack("<BHHHH24s", group, own is not None, *(own or (0, 0, 0)), ident.encode())


def zk_zones(zones: Mapping[int, bytes]) -> bytes:
    """Lay out the answers for all fifty time zones (section 8)."""
    return b"".join(struct.pack("<H", n) + zones.get(n, FULL_ZONE) + b"\xa7\x1c" for n in range(1, 51))


def zk_groups(groups: Mapping[int, tuple[int, int, int, int]]) -> bytes:
    """Lay out the answers for all groups: three zones, and the style with the holiday bit."""
    standard = {1: (1, 0, 0, 0)}
    return b"".join(struct.pack("<B3HB", n, *groups.get(n, standard.get(n, (0, 0, 0, 0)))) for n in range(1, 101))


def zk_combinations(combinations: Mapping[int, tuple[int, ...]]) -> bytes:
    """Lay out the answers for all unlock combinations."""
    found = b""
    for number in range(1, 11):
        members = combinations.get(number, (1,) if number == 1 else ())
        found += bytes([number, *members, *[0] * (5 - len(members))]) + struct.pack("<H", len(members))
    return found


def zk_verify(styles: Mapping[int, int]) -> bytes:
    """Lay out the answers for each user's own way of verifying: 0 is the group's."""
    return b"".join(struct.pack("<HB21x", uid, 0x80 | style if style >= 0 else 0) for uid, style in styles.items())


def zk_template(uid: int, finger: int, flag: int, data: bytes) -> bytes:
    return struct.pack("<HHBB", len(data) + 6, uid, finger, flag) + data


def zk_capacity(users: int, templates: int, lines: int, room: int) -> bytes:
    """Lay out the counters and how much fits (section 5)."""
    words = [0] * 20
    words[4], words[6], words[8], words[13] = users, templates, lines, users
    words[14], words[15], words[16] = 500, room, 50_000
    words[17], words[18], words[19] = 500 - templates, max(0, room - users), 50_000 - lines
    return struct.pack("<20I", *words)


def _zk_people(rng: Rng, width: int) -> tuple[list[bytes], dict[int, int]]:
    users, styles = [], {}
    for uid in some(rng, 5):
        number = 1 + uid * rng.choice([1, 1, 7])
        if number in styles:
            continue
        plain = rng.random() < 0.6
        users.append(
            zk_user(
                number,
                width=width,
                privilege=rng.choice([0, 0, 0, 0, 0, 1, 14, 6, 15]),
                password=rng.choice(PASSWORDS),
                name=rng.choice(NAMES),
                card=rng.choice([0, 0, *CARDS]),
                group=1 if plain else rng.choice([*NUMBERS, 0]),
                own=None if plain else (rng.choice([0, *NUMBERS]), rng.choice([0, 0, *NUMBERS]), 0),
                bits=0 if plain else rng.choice([0, 1, 2, 6]),
                ident=str(1000 + number) if rng.random() < 0.9 else rng.choice(["A7", "", "1001", "01001"]),
            )
        )
        styles[number] = -1 if rng.random() < 0.6 else rng.choice(STYLES)
    return users, styles


def made_zk(rng: Rng, number: int, full: bool) -> Made:
    """Make a ZKTeco terminal."""
    width = rng.choice([72, 72, 72, 28])
    users, styles = _zk_people(rng, width) if full else ([], {})
    uids = list(styles)
    zones: dict[int, bytes] = {}
    groups: dict[int, tuple[int, int, int, int]] = {}
    combinations: dict[int, tuple[int, ...]] = {}
    if full or rng.random() < 0.1:
        for one in rng.sample(NUMBERS, rng.choice([0, 1, 2, 3, 3])):
            zones[one] = rng.choice(ZK_ZONES[:8] if rng.random() < 0.9 else ZK_ZONES)
        for one in rng.sample(NUMBERS, rng.randrange(3)):
            style = rng.choice(STYLES) | (0x80 if rng.random() < 0.15 else 0)
            groups[one] = (rng.choice([0, *NUMBERS]), rng.choice([0, 0, *NUMBERS]), 0, style)
        for one in rng.sample(NUMBERS, rng.randrange(3)):
            combinations[one] = rng.choice([(), (1,), (1,), (2,), (3,), (1, 2), (2, 2), (1, 2, 3)])
    fingers = {(uid, rng.randrange(3)): rng.choice([1, 1, 3, 0]) for uid in uids if rng.random() < 0.4}
    if uids and rng.random() < 0.05:
        fingers[99, 0] = 1
    if users and rng.random() < 0.04:
        users.append(zk_user(uids[0], width=width, password=b"8642", ident="1999"))
    log = [struct.pack("<HBIB", uid, 0, 800_000_000, 0) for uid in uids[:2]]
    options = {"~ZKFPVersion": rng.choice(["10", "10", "9"]), "~SerialNumber": f"ZK{number:04}", "LockOn": "5"}
    tables = {
        "0001-options": "\n".join(f"{name}={value}" for name, value in options.items()).encode(),
        "0002-firmware": b"Ver 6.60 Oct 29 2012",
        "0003-capacity": zk_capacity(len(users), len(fingers), len(log), rng.choice([3000, 3000, 4])),
        "0004-users": b"".join(users),
        "0005-templates": b"".join(
            zk_template(uid, finger, flag, rng.randbytes(rng.choice([24, 40])))
            for (uid, finger), flag in fingers.items()
        ),
        "0006-zones": zk_zones(zones),
        "0007-groups": zk_groups(groups),
        "0008-combinations": zk_combinations(combinations),
        "0009-verify": zk_verify(styles),
        "0010-attlog": b"".join(log),
    }
    absent: list[str] = []
    gaps: list[Gap] = []
    if rng.random() < (0.3 if width == 28 else 0.05):  # black-and-white units answer in another form
        absent += ["0006-zones", "0007-groups", "0008-combinations"]
    if rng.random() < (0.3 if width == 28 else 0.05):
        absent.append("0009-verify")
        gaps.append(Gap(section="verify_styles", record=None, code="no-public-layout", detail=""))
    for name in absent:
        del tables[name]
    variant = {"record_bytes": width, "attlog_bytes": 8, "unsupported": absent}
    return Made("zk", tables, variant, None, tuple(gaps))


def door_zone(rng: Rng, *locks: Made) -> tzinfo:
    """Return the zone of a door: what one of its locks says, else any."""
    return next((lock.zone for lock in locks if lock.zone is not None), None) or rng.choice((*DOORS, UTC))


def moment(year: int, month: int, day_: int, hour: int = 0, minute: int = 0, *, zone: tzinfo = UTC) -> datetime:
    return datetime(year, month, day_, hour, minute, tzinfo=zone)
