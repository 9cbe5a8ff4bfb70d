"""Rows of a raw dump to parts of neutral records; what the profile does not explain is kept and marked (no I/O)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast

from lockmigrate.formats.tables_fields import LIMITS, Field
from lockmigrate.formats.tables_layout import Row
from lockmigrate.formats.tables_values import CODECS, byte_digits, number_digits, packed_digits, text_bytes, text_of
from lockmigrate.model.records import AccessKey, CardData, Loss, PinData, RawRef, Schedule, Setting, TemplateData, User
from lockmigrate.model.secret import Secret

TABLE: Final = "0001-image"
"""The one table of a raw dump: the whole file."""
_RULE_ORDER: Final[dict[str, Literal["little", "big"]]] = {
    "u32be": "big",
    "u32le": "little",
    "u64be": "big",
    "wiegand26": "big",
}


@dataclass(slots=True)
class Marks:
    """What is odd about one record, in words without any value that may be a secret."""

    texts: list[str] = field(default_factory=list)
    codes: list[tuple[str, str]] = field(default_factory=list)
    """(loss code, detail) for what a record cannot give because of it."""

    def add(self, text: str, code: str | None = None) -> None:
        """Note a mark, and the loss that it means."""
        if text not in self.texts:
            self.texts.append(text)
        if code is not None:
            self.codes.append((code, text))


def by_role(row: Row, role: str) -> Field | None:
    """Return the field of a role that only one field of a record has."""
    return next((item for item in row.table.fields if item.role == role), None)


def bytes_at(row: Row, item: Field) -> bytes:
    """Return the bytes of a field as they lie in the record."""
    return row.raw[item.offset : item.offset + item.size]


def ref_of(row: Row, item: Field | None = None, size: int | None = None) -> RawRef:
    """Point at a record, or at one field of it."""
    if item is None:
        return RawRef(attachment=TABLE, offset=row.offset, size=len(row.raw))
    return RawRef(attachment=TABLE, offset=row.offset + item.offset, size=item.size if size is None else size)


def is_nothing(row: Row, item: Field) -> bool:
    """Tell whether a field has one of the values that stand for nothing."""
    value = row.values[item.name] if item.number else bytes_at(row, item)
    return item.none is not None and value in item.none


def _length(row: Row, item: Field) -> int | None:
    return None if item.length is None else row.number(item.length)


def digits_of(row: Row, item: Field) -> str | None:
    """Return a field as digits, the empty text where there are none, None where the bytes are no digits."""
    if is_nothing(row, item):
        return ""
    raw, length = bytes_at(row, item), _length(row, item)
    if item.type == "bcd":
        return packed_digits(raw, low_first=item.low_first, fill=item.fill, right=item.right, length=length)
    if item.type == "digit-bytes":
        return byte_digits(raw, fill=item.fill, right=item.right, length=length)
    if item.number and length == 0:
        return ""
    if item.number:
        number = row.number(item.name)
        wanted = length if length is not None else item.digits
        return str(number) if wanted is None else number_digits(number, wanted)
    body = text_bytes(raw, item.type, fill=item.fill, length=length)
    text = None if body is None else text_of(body, item.type)
    return text if text is not None and (not text or (text.isascii() and text.isdigit())) else None


def text_part(row: Row, item: Field) -> tuple[bytes, str | None]:
    """Return the bytes of a text field that count, and the text, None where they are none."""
    if is_nothing(row, item):
        return b"", ""
    body = text_bytes(bytes_at(row, item), item.type, fill=item.fill, length=_length(row, item))
    return (bytes_at(row, item), None) if body is None else (body, text_of(body, item.type))


def plain(row: Row, item: Field) -> int | str | None:
    """Return what a person may see of a field: a number, the word for it, digits, a text, or bytes as hex."""
    if item.number:
        number = row.number(item.name)
        if item.flags is not None:
            known = [word for bit, word in item.flags.items() if number & bit]
            rest = number & ~sum(item.flags)
            return ", ".join([*known, *([f"{rest:#x}"] if rest else [])]) or "none"
        return item.enum.get(number, number) if item.enum is not None else number
    if item.type == "bytes":
        length = _length(row, item)
        return bytes_at(row, item)[:length].hex() if length is None or length <= item.size else None
    return text_part(row, item)[1] if item.type in CODECS else digits_of(row, item)


def word_of(row: Row, role: str, marks: Marks) -> str | None:
    """Return the word that an enum gives for a role; None where no field has it, "" where the number has no word."""
    item = by_role(row, role)
    if item is None or item.enum is None:
        return None
    number = row.number(item.name)
    if number not in item.enum:
        marks.add(f"{item.name}: {number} is not in the mapping")
    return item.enum.get(number, "")


def pin_of(row: Row, marks: Marks) -> PinData | Literal["empty"] | None:
    """Return the PIN, None where its bytes are no digits."""
    item = _needed(row, "digits")
    digits = digits_of(row, item)
    if digits is None:
        marks.add(f"{item.name}: the bytes are no digits", "pin-alphabet")
        return None
    return PinData(digits=Secret(digits)) if digits else "empty"


def card_of(row: Row, marks: Marks) -> CardData | Literal["empty"] | None:
    """Return the card's number as text, None where its bytes are no number."""
    item = _needed(row, "card")
    if is_nothing(row, item):
        return "empty"
    if item.type == "bytes":
        length = _length(row, item)
        raw = bytes_at(row, item)[:length]
        if length is not None and length > item.size:
            marks.add(f"{item.name}: the length is more than the field has", "card-number-rule")
            return None
        if not raw:
            return "empty"
        order = _RULE_ORDER.get(item.number_rule)
        if order is not None and len(raw) != item.size:
            marks.add(f"{item.name}: {len(raw)} bytes are no number by its rule", "card-number-rule")
            return None
        number: str | None = raw.hex() if order is None else str(int.from_bytes(raw, order))
    elif item.type in CODECS:
        number = text_part(row, item)[1]
    else:
        number = digits_of(row, item)
    if number is None:
        marks.add(f"{item.name}: the bytes are no card number", "card-number-rule")
        return None
    return CardData(number=Secret(number), number_rule=item.number_rule) if number else "empty"


def template_of(row: Row, marks: Marks) -> TemplateData | Literal["empty"] | None:
    """Return what is known of a template, None where its length cannot be right."""
    item = _needed(row, "template")
    if is_nothing(row, item):
        return "empty"
    length = _length(row, item)
    size = item.size if length is None else length
    if size > item.size:
        marks.add(f"{item.name}: the length is more than the field has", "template-unreadable")
        return None
    if size == 0:
        return "empty"
    raw = bytes_at(row, item)[:size]
    finger = by_role(row, "finger")
    known = {} if finger is None or is_nothing(row, finger) else {"origin_finger": row.number(finger.name)}
    return TemplateData(
        template_format=item.format or f"unknown/{hashlib.sha256(raw[:8]).hexdigest()[:8]}/{size}",
        template=ref_of(row, item, size),
        size=size,
        sha256=hashlib.sha256(raw).hexdigest(),
        **known,
    )


def _needed(row: Row, role: str) -> Field:
    item = by_role(row, role)
    assert item is not None  # noqa: S101 - `check_roles` refuses a table of this kind without it
    return item


def status_of(row: Row, marks: Marks) -> Literal["enabled", "disabled", "blocked", "unknown"]:
    """Return whether a credential counts; without such a field it does."""
    word = word_of(row, "status", marks)
    if word is None:
        return "enabled"
    return cast("Literal['enabled', 'disabled', 'blocked', 'unknown']", word or "unknown")


def duress_of(row: Row, marks: Marks) -> bool:
    """Return whether it raises an alarm; what the mapping does not know is taken for one, so that a person looks."""
    return word_of(row, "duress", marks) in ("yes", "")


def user_of(row: Row, slot: int, schedules: tuple[str, ...], marks: Marks) -> User:
    """Build the user of a record."""
    made: dict[str, Any] = {}
    name = by_role(row, "name")
    if name is not None:
        body, text = text_part(row, name)
        if text is None:
            marks.add(f"{name.name}: the bytes are no {name.type} text", "name-encoding")
        made["user_name"] = text or None
        made["user_name_raw"] = body.hex()
        made["user_name_encoding"] = "unknown" if text is None else name.type
    external = by_role(row, "external_id")
    if external is not None:
        told = plain(row, external)
        if told is None:
            marks.add(f"{external.name}: the bytes are no {external.type}")
        made["external_id"] = None if told in (None, "") or is_nothing(row, external) else str(told)
    privilege = word_of(row, "privilege", marks)
    if privilege is not None:
        made["privilege"] = privilege or None
    enabled = status_of(row, marks) == "enabled"
    if schedules:
        made["schedules"] = schedules
    return User(
        key=f"user/{slot}",
        origin={"user_index": slot},
        user_status="OccupiedEnabled" if enabled else "OccupiedDisabled",
        raw=(ref_of(row),),
        vendor=vendor_of(row, marks),
        **made,
    )


def schedule_of(row: Row, number: int) -> Schedule | None:
    """Return the limit of a record whose meaning the profile leaves open; None where there is none.

    Args:
        row: the record.
        number: how many limits there were before it: the dump numbers records, not limits.
    """
    limited = [item for item in row.table.fields if item.role in LIMITS and not is_nothing(row, item)]
    if not limited:
        return None
    return Schedule(
        key=f"schedule/{row.table.name}.{row.index}",
        origin={"number": number, "table": row.table.name, "list_position": row.index},
        kind="Unknown",
        why="opaque",
        raw=tuple(ref_of(row, item) for item in limited),
        vendor={"image": {"fields": [item.name for item in limited]}},
    )


def setting_of(row: Row, item: Field) -> tuple[Setting, Loss | None]:
    """Return one setting, and the loss where its bytes are not what its type says."""
    key = f"setting/image.{item.name}"
    value = plain(row, item)
    made = Setting(key=key, value=value, unit=item.unit, raw=(ref_of(row, item),))
    if value is not None:
        return made, None
    return made, Loss(record=key, stage="read", code="no-public-layout", detail=f"the bytes are no {item.type}")


def access_key_of(row: Row, item: Field) -> AccessKey | None:
    """Return what administers the unit, as text where it is one, else as bytes; None where the field is blank."""
    if item.type == "bytes":
        text: str | None = None
    else:
        text = text_part(row, item)[1] if item.type in CODECS else digits_of(row, item)
    if text == "" or is_nothing(row, item):
        return None
    secret = Secret(bytes_at(row, item) if text is None else text)
    return AccessKey(key=f"access_key/image.{item.name}", kind="admin-code", secret=secret, raw=(ref_of(row, item),))


def fact_of(row: Row, item: Field) -> str | None:
    """Return a serial number or a version as a short text; None where the field is blank or none."""
    value = plain(row, item)
    text = str(value if value is not None else "").strip()
    return text if text and text.isprintable() and len(text) <= 64 and not is_nothing(row, item) else None


def vendor_of(row: Row, marks: Marks) -> dict[str, Any]:
    """Return what the profile wants shown beside the record, where it lies, and its marks."""
    found: dict[str, Any] = {"table": row.table.name, "record": row.index}
    found |= {item.name: plain(row, item) for item in row.table.fields if item.role == "info"}
    if marks.texts:
        found["marks"] = list(marks.texts)
    return {"image": found}
