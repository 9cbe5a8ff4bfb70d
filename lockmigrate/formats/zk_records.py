"""User and template records of ZKTeco terminals, as tables on the wire and USB files hold them (no I/O).

Source: the family's reference, sections 7 and 9; behind it fananimi/pyzk (`zk/user.py`), adrobinoga/zk-protocol
(`sections/data-user.md`) and the Standalone SDK demo "UDiskData". All integers are little endian.

Each layout stands twice: declared with construct, which reads and builds single records, and as a format of `struct`,
which reads whole tables. A test holds them against each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct as Packed
from typing import Any, Final, Literal, NamedTuple

from construct import Bytes, Construct, Int8ul, Int16ul, Int32ul, Struct, Terminated

from lockmigrate.errors import FrameError
from lockmigrate.formats import build, parse
from lockmigrate.formats.zk import cut_text as cut_text

Width = Literal[16, 28, 72]
"""Bytes of a user record: 16 before firmware 5.04, 28 on black-and-white units, 72 on TFT ones."""
USER_BYTES: Final[tuple[Width, ...]] = (72, 28, 16)
MAX_USERS: Final = 2 * 65535
"""Our bound: twice as many as there are numbers for."""
MAX_TEMPLATES: Final = 10 * 65535
"""Our bound: ten fingers for each number."""

USER_72: Final = Struct(
    "uid" / Int16ul, "privilege" / Int8ul, "password" / Bytes(8), "name" / Bytes(24), "card" / Int32ul,
    "group" / Int8ul, "own_tz" / Int16ul, "tz1" / Int16ul, "tz2" / Int16ul, "tz3" / Int16ul, "user_id" / Bytes(24),
    Terminated,
)  # fmt: skip
"""TFT units, section 7; offsets agree between zk-protocol and the SDK's struct."""
USER_28: Final = Struct(
    "uid" / Int16ul, "privilege" / Int8ul, "password" / Bytes(5), "name" / Bytes(8), "card" / Bytes(5),
    "group" / Int8ul, "tz_bits" / Int16ul, "user_id" / Int32ul, Terminated,
)  # fmt: skip
"""Black-and-white units, firmware 5.04 on, section 7; pyzk reads the card as 32 bits and a byte of padding."""
USER_16: Final = Struct("uid" / Int16ul, "privilege" / Int8ul, "password" / Bytes(5), "name" / Bytes(8), Terminated)
"""Before firmware 5.04, section 7 (2006 manual; unconfirmed)."""
LAYOUTS: Final[Mapping[Width, Construct[Any, Any]]] = {16: USER_16, 28: USER_28, 72: USER_72}
_PACKED: Final[Mapping[Width, Packed]] = {
    16: Packed("<HB5s8s"),
    28: Packed("<HB5s8s5sBHI"),
    72: Packed("<HB8s24sIBHHHH24s"),
}


class Row16(NamedTuple):
    """A record of 16 bytes."""

    uid: int
    privilege: int
    password: bytes
    name: bytes

    def __repr__(self) -> str:
        return f"Row16(uid={self.uid})"


class Row28(NamedTuple):
    """A record of 28 bytes."""

    uid: int
    privilege: int
    password: bytes
    name: bytes
    card: bytes
    group: int
    tz_bits: int
    user_id: int

    def __repr__(self) -> str:
        return f"Row28(uid={self.uid})"


class Row72(NamedTuple):
    """A record of 72 bytes."""

    uid: int
    privilege: int
    password: bytes
    name: bytes
    card: int
    group: int
    own_tz: int
    tz1: int
    tz2: int
    tz3: int
    user_id: bytes

    def __repr__(self) -> str:
        return f"Row72(uid={self.uid})"


Row = Row16 | Row28 | Row72
_ROWS: Final[Mapping[Width, type[Row16] | type[Row28] | type[Row72]]] = {16: Row16, 28: Row28, 72: Row72}

DISABLED_BIT: Final = 0x01
"""Bit 0 of the privilege: the user may not open, section 7."""
PRIVILEGES: Final = {0: "user", 2: "enroller", 6: "admin", 14: "owner"}
"""Bits 3 to 1 of the privilege, section 7."""
PRIVILEGES_16: Final = {0: 0, 1: 2, 2: 6, 3: 14}
"""The same of records of 16 bytes (0, 1, 2, 3), section 7; the order is our reading, unconfirmed."""
NAME_BYTES: Final[Mapping[Width, int]] = {16: 8, 28: 8, 72: 24}
NAME_USABLE_BYTES: Final[Mapping[Width, int]] = {16: 8, 28: 8, 72: 23}
"""Of 24 bytes 23 are usable, section 7."""
PIN_BYTES: Final[Mapping[Width, int]] = {16: 5, 28: 5, 72: 8}
FULL_USER_ID_BYTES: Final = 24


def width_of(value: object) -> Width | None:
    """Return a number as a record's width, if it is one."""
    return next((width for width in USER_BYTES if width == value and not isinstance(value, bool)), None)


def parse_user(raw: bytes) -> Row:
    """Read one record by its declared layout; its length says which.

    Raises:
        FrameError: no record has this length.
    """
    width = width_of(len(raw))
    if width is None:
        raise FrameError(f"no user record has {len(raw)} bytes")
    found = parse(LAYOUTS[width], raw, "a user record")
    kind = _ROWS[width]
    return kind(**{name: found[name] for name in kind._fields})


def build_user(row: Row) -> bytes:
    """Build one record by its declared layout.

    Raises:
        FrameError: a value does not fit its field.
    """
    width: Width = 72 if isinstance(row, Row72) else 28 if isinstance(row, Row28) else 16
    return build(LAYOUTS[width], row._asdict(), "a user record")


def split_users(body: bytes, width: Width) -> list[Row]:
    """Read a whole table of records.

    Raises:
        FrameError: it does not divide into records, or has more than there are numbers for.
    """
    if len(body) % width:
        raise FrameError(f"the table of users of {len(body)} bytes does not divide into records of {width}")
    if len(body) > width * MAX_USERS:
        raise FrameError(f"a table of {len(body) // width} users is more than any unit can hold")
    make: Any = _ROWS[width]._make
    return list(map(make, _PACKED[width].iter_unpack(body)))


def tell_width(body: bytes, *, count: int | None = None, hint: int | None = None) -> Width:
    """Decide how long a record is: by the unit's own count and by what is known beforehand, else by content.

    The only sure test is size divided by count (section 5), but counters can lag: where count and knowledge disagree,
    and where neither helps, content decides as for USB files (section 9): user ids of 72-byte records are printable
    and end in NULs, numbers are unique.

    Raises:
        FrameError: no width divides it.
    """
    size = len(body)
    if not size:
        return width_of(hint) or 72
    fitting = [width for width in USER_BYTES if size % width == 0]
    counted = next((width for width in fitting if count and size == count * width), None)
    known = next((width for width in fitting if width == width_of(hint)), None)
    if counted and known and counted != known and 72 in (counted, known):
        return 72 if _looks_72(body) else min(counted, known)
    if counted or known:
        return counted or known or 72
    if 72 in fitting and (28 not in fitting or _looks_72(body)):
        return 72
    if not fitting:
        raise FrameError(f"a table of users of {size} bytes divides into no record that is known")
    return 28 if 28 in fitting else fitting[-1]


def _looks_72(body: bytes) -> bool:
    if len(body) > 72 * MAX_USERS:
        return False
    numbers: set[int] = set()
    for row in split_users(body, 72):
        text = cut_text(row.user_id) if isinstance(row, Row72) else b""
        tail = row.user_id[len(text) :] if isinstance(row, Row72) else b""
        if not row.uid or row.uid in numbers or any(tail) or not (text.isascii() and text.decode().isprintable()):
            return False
        numbers.add(row.uid)
    return True


# ---- templates ------------------------------------------------------------------------------------------------------

_ENTRY: Final = Packed("<HHBB")
TEMPLATE_ENTRY: Final = Struct("size" / Int16ul, "uid" / Int16ul, "finger" / Int8ul, "flag" / Int8ul)
"""Head of an entry of the template table; `size` counts these six bytes too (sections 7 and 9)."""
ENTRY_HEAD_BYTES: Final = 6
FLAG_INVALID, FLAG_VALID, FLAG_DURESS = 0, 1, 3
"""Section 7."""
MAX_TEMPLATE_BYTES: Final = 0xFFFF - ENTRY_HEAD_BYTES
V9_TEMPLATE_BYTES: Final = 602
"""Longest template of version 9, section 7."""


class Template(NamedTuple):
    """Where one template lies in its table; users and templates are joined by `uid` only."""

    uid: int
    finger: int
    flag: int
    offset: int
    size: int


def split_templates(body: bytes) -> list[Template]:
    """Walk the entries of a template table, of version 9 and 10 alike on the wire.

    An entry without a template is kept with size 0; what follows an entry that is shorter than its head cannot be told.

    Raises:
        FrameError: the table is cut short, an entry is shorter than its head, or there are more than there are fingers.
    """
    found: list[Template] = []
    at, end = 0, len(body)
    unpack, add = _ENTRY.unpack_from, found.append
    while at < end:
        if end - at < ENTRY_HEAD_BYTES:
            raise FrameError("the table of templates is cut short")
        size, uid, finger, flag = unpack(body, at)
        if size < ENTRY_HEAD_BYTES:
            raise FrameError(f"an entry of the table of templates has {size} bytes, which is less than its head")
        if at + size > end:
            raise FrameError("the table of templates is cut short")
        if len(found) >= MAX_TEMPLATES:
            raise FrameError("the table of templates has more entries than there are fingers")
        add(Template(uid, finger, flag, at + ENTRY_HEAD_BYTES, size - ENTRY_HEAD_BYTES))
        at += size
    return found


def template_entry(uid: int, finger: int, flag: int, template: bytes) -> bytes:
    """Build one entry of a template table.

    Raises:
        FrameError: a value does not fit its field.
    """
    values = {"size": len(template) + ENTRY_HEAD_BYTES, "uid": uid, "finger": finger, "flag": flag}
    return build(TEMPLATE_ENTRY, values, "a template entry") + template


V10_MARK: Final = b"SS21"
V10_MASK: Final = 0x4943
"""Held by 14 of 14 public samples of version 10 (section 7; derived, not documented): it warns and never blocks."""


def follows_v10(template: bytes) -> bool:
    """Whether a template begins as those of version 10 do."""
    if len(template) < 10:
        return False
    length = len(template)
    return (
        int.from_bytes(template[:2], "big") ^ V10_MASK == length
        and template[2:6] == V10_MARK
        and template[6:8] == b"\x00\x00"
        and int.from_bytes(template[8:10], "big") == length
    )


# ---- texts ----------------------------------------------------------------------------------------------------------


class Text(NamedTuple):
    """A text as people read it, and the encoding that it was read by."""

    text: str | None
    encoding: str


_UNREADABLE: Final = frozenset(
    map(chr, (*range(0x20), *range(0x7F, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A)))
)
"""Control characters, ends of lines, and those that turn the direction of a line."""


def decode_text(raw: bytes, encoding: str | None = None) -> Text:
    """Read a text that stands before the first NUL: as UTF-8, strictly, then as GBK (not GB18030), else it is none.

    Newer units hold UTF-8, Chinese firmware GBK (section 11.6). What holds control characters is no text either.

    Args:
        raw: the field.
        encoding: `gbk` where the profile says that the unit's code page is that; then it comes first.
    """
    body = cut_text(raw)
    names = ("ascii",) if body.isascii() else ("gbk", "utf-8") if encoding == "gbk" else ("utf-8", "gbk")
    for name in names:
        try:
            text = body.decode(name)
        except UnicodeDecodeError:
            continue
        return Text(text, name) if _UNREADABLE.isdisjoint(text) else Text(None, "unknown")
    return Text(None, "unknown")


def cut_name(raw: bytes, encoding: str, limit: int) -> bytes:
    """Cut a name to so many bytes without splitting a character; one of no known encoding is cut between bytes."""
    body = cut_text(raw)
    if len(body) <= limit:
        return body
    try:
        text = body.decode(encoding)
    except (LookupError, UnicodeDecodeError):
        return body[:limit]
    kept = b""
    for character in text:
        piece = character.encode(encoding)
        if len(kept) + len(piece) > limit:
            break
        kept += piece
    return kept


def password_of(row: Row) -> bytes:
    """Return a password without its NULs and the garbage behind them; empty if there is none."""
    return cut_text(row.password)


def external_id_of(row: Row) -> str | None:
    """Return the id that people know the user by; None where there is none, or it is no text."""
    if isinstance(row, Row72):
        return decode_text(row.user_id).text or None
    return str(row.user_id) if isinstance(row, Row28) and row.user_id else None


def card_of(row: Row) -> int:
    """Return the card's number; 0 is none."""
    if isinstance(row, Row28):
        return int.from_bytes(row.card, "little")
    return row.card if isinstance(row, Row72) else 0


def rights_of(row: Row) -> int:
    """Return the privilege byte as records of 28 and 72 bytes hold it."""
    return PRIVILEGES_16.get(row.privilege, row.privilege) if isinstance(row, Row16) else row.privilege
