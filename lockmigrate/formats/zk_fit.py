"""How a user's record of one ZKTeco terminal looks on another one (no I/O).

Equal widths take the very bytes. Between widths the rule R0 of neutral-format 6 holds: what would widen a right or lose
a limit is refused, what a person must supply is a question, and only a name is ever cut.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from lockmigrate.errors import FrameError
from lockmigrate.formats.zk_records import (
    DISABLED_BIT,
    FULL_USER_ID_BYTES,
    NAME_BYTES,
    NAME_USABLE_BYTES,
    PIN_BYTES,
    PRIVILEGES,
    PRIVILEGES_16,
    Row,
    Row16,
    Row28,
    Row72,
    Width,
    build_user,
    card_of,
    cut_name,
    cut_text,
    external_id_of,
    parse_user,
    password_of,
    rights_of,
    width_of,
)
from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import User
from lockmigrate.model.steps import Fitted

U32: Final = 0xFFFFFFFF
PASSWORD_AT: Final = 3
"""Offset of the password in a user's record, behind number and privilege (ZK reference, section 7)."""
Said = list[tuple[str, str]]


@dataclass(slots=True)
class _Fit:
    """What is said about one record on the way."""

    changes: Said = field(default_factory=list)
    questions: Said = field(default_factory=list)
    refusals: Said = field(default_factory=list)


def record_bytes_of(snapshot: Snapshot) -> Width:
    """Return the width of a unit's user records; 72 where nothing tells it."""
    said = width_of(snapshot.lock.protocol.get("record_bytes"))
    if said is None and snapshot.users:
        vendor: dict[str, Any] = snapshot.users[0].vendor.get("zk", {})
        said = width_of(vendor.get("record_bytes"))
    return said or 72


def fitted(source: Snapshot, target: Snapshot) -> dict[str, Fitted]:
    """Say for each user of the source how the target would hold it: key of the user to its record.

    Raises:
        FrameError: a record does not follow its layout.
        BackupError: a user refers to bytes that are not in the snapshot.
    """
    width = record_bytes_of(target)
    taken: dict[int, str] = {}
    found: dict[str, Fitted] = {}
    bodies = {table.name: table.data for table in source.tables}
    at = {item.id: item for item in source.attachments}
    for user in source.users:
        raw = _raw_of(source, bodies, at, user)
        if len(raw) == width:
            found[user.key] = Fitted(record=raw)
            continue
        fit = _Fit()
        record = _convert(parse_user(raw), width, user, fit, taken)
        found[user.key] = Fitted(
            record=record,
            changes=tuple(fit.changes),
            questions=tuple(fit.questions),
            refusals=tuple(fit.refusals),
        )
    return found


def _raw_of(source: Snapshot, bodies: dict[str, bytes], at: dict[str, Any], user: User) -> bytes:
    """Return a user's bytes as `Snapshot.bytes_of` would, but without a search for each of ten thousand."""
    if user.raw:
        ref = user.raw[0]
        item = at.get(ref.attachment)
        body = bodies.get(ref.attachment)
        whole = item is not None and body is not None and item.offset == 0 and item.size == len(body)
        if body is not None and whole and 0 <= ref.offset <= ref.offset + ref.size <= len(body):
            return body[ref.offset : ref.offset + ref.size]
        return source.bytes_of(ref)
    return b""


def _convert(row: Row, width: Width, user: User, fit: _Fit, taken: dict[int, str]) -> bytes:
    encoding = user.user_name_encoding if isinstance(user.user_name_encoding, str) else "unknown"
    name = _name(row, width, encoding, fit)
    password = _password(row, width, fit)
    group = 1 if isinstance(row, Row16) else row.group
    _limits(row, fit)
    if width == 72:
        return build_user(
            Row72(
                uid=row.uid,
                privilege=rights_of(row),
                password=password,
                name=name,
                card=_card(row, U32, fit),
                group=group,
                own_tz=0,
                tz1=0,
                tz2=0,
                tz3=0,
                user_id=_text_id(row, fit),
            )
        )
    if width == 28:
        return build_user(
            Row28(
                uid=row.uid,
                privilege=rights_of(row),
                password=password,
                name=name,
                card=_card(row, U32, fit).to_bytes(5, "little"),
                group=group,
                tz_bits=0,
                user_id=_number_id(row, user, fit, taken),
            )
        )
    _narrowest(row, fit)
    rights = {value: key for key, value in PRIVILEGES_16.items()}.get(rights_of(row) & ~DISABLED_BIT, 0)
    return build_user(Row16(uid=row.uid, privilege=rights, password=password, name=name))


def _name(row: Row, width: Width, encoding: str, fit: _Fit) -> bytes:
    whole = cut_text(row.name)
    kept = cut_name(row.name, encoding, NAME_USABLE_BYTES[width])
    if kept != whole:
        fit.changes.append(("name-cut", f"{len(kept)} of {len(whole)} bytes of the name fit"))
    return kept.ljust(NAME_BYTES[width], b"\x00")


def _password(row: Row, width: Width, fit: _Fit) -> bytes:
    password = password_of(row)
    if len(password) > PIN_BYTES[width]:
        detail = f"the PIN has {len(password)} digits, the terminal takes {PIN_BYTES[width]}"
        fit.questions.append(("pin-length", detail))
        password = b""
    return password.ljust(PIN_BYTES[width], b"\x00")


def _card(row: Row, highest: int, fit: _Fit) -> int:
    card = card_of(row)
    if card > highest:
        fit.questions.append(("card-too-long", "the card's number has more than 32 bits"))
        return 0
    return card


def _limits(row: Row, fit: _Fit) -> None:
    if isinstance(row, Row72) and row.own_tz:
        fit.refusals.append(
            ("schedule-unsupported", "the user has time zones of their own, which cannot be carried over")
        )
    elif isinstance(row, Row28) and row.tz_bits:
        fit.refusals.append(("schedule-unsupported", "the user has zone bits, whose meaning is not public"))
    elif isinstance(row, Row16):
        fit.questions.append(
            ("schedule-unreadable", "this record says nothing of group and time zones; it gets group 1")
        )


def _text_id(row: Row, fit: _Fit) -> bytes:
    # Units with records of 16 bytes know a person by this number only.
    text = str(row.uid) if isinstance(row, Row16) else external_id_of(row) or ""
    if not text:
        fit.questions.append(("user-id-unsupported", "the user has no id, and this terminal knows people by it"))
    return text.encode("utf-8")[:FULL_USER_ID_BYTES].ljust(FULL_USER_ID_BYTES, b"\x00")


def _number_id(row: Row, user: User, fit: _Fit, taken: dict[int, str]) -> int:
    text = str(row.uid) if isinstance(row, Row16) else external_id_of(row) or ""
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= U32):
        fit.questions.append(
            ("user-id-unsupported", "the terminal takes numbers from 1 to 4294967295 as user ids only")
        )
        return 0
    number = int(text)
    if taken.setdefault(number, user.key) != user.key:
        fit.questions.append(("user-id-duplicate", f"as a number this user id is that of {taken[number]} too"))
    elif text != str(number):
        fit.changes.append(("user-id-unsupported", "zeros before the user id are not kept"))
    return number


def _narrowest(row: Row, fit: _Fit) -> None:
    """What records of 16 bytes cannot hold at all."""
    if rights_of(row) & DISABLED_BIT:
        fit.refusals.append(("disabled-unsupported", "the terminal cannot hold a disabled user"))
    if rights_of(row) & ~DISABLED_BIT not in PRIVILEGES:
        fit.questions.append(("user-type-unsupported", "the terminal does not know this privilege"))
    if not isinstance(row, Row16) and row.group != 1:
        fit.refusals.append(
            ("schedule-unsupported", "the record holds no group; the user is of another than the first")
        )
    if card_of(row):
        fit.questions.append(("card-too-long", "the terminal holds no cards"))
    if external_id_of(row) not in (None, str(row.uid)):
        fit.questions.append(("user-id-unsupported", "the terminal knows people by the number of their record only"))


def with_pin(record: bytes, digits: str) -> bytes:
    """Return a user's record with another password; everything else stays.

    Raises:
        FrameError: it does not follow its layout, or the password does not fit.
    """
    parse_user(record)
    width = width_of(len(record))
    if width is None or len(digits) > PIN_BYTES[width]:
        raise FrameError("the password does not fit into a user's record")
    room = PIN_BYTES[width]
    return record[:PASSWORD_AT] + digits.encode("ascii").ljust(room, b"\0") + record[PASSWORD_AT + room :]
