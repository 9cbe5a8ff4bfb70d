"""The fields of a record in a raw dump, checked (no I/O)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from lockmigrate.formats.tables_keys import Asked, number_of, shown
from lockmigrate.formats.tables_types import NUMBERS, PACKED, SIZED, Number, type_name
from lockmigrate.formats.tables_values import CODECS, FILL_BYTE, FILL_NIBBLE

KINDS: Final = ("user", "pin", "card", "fingerprint", "face", "setting")
PEOPLE: Final = frozenset({"user", "pin", "card", "fingerprint", "face"})
CREDENTIALS: Final = frozenset({"pin", "card", "fingerprint", "face"})
LIMITS: Final = ("valid_from", "valid_until", "permission", "limit")
"""Roles of what narrows a right in a way that the profile does not spell out."""
Role = Literal[
    "slot", "name", "external_id", "privilege", "status", "duress", "digits", "card", "template", "finger", "user",
    "valid_from", "valid_until", "permission", "limit", "info", "setting", "serial", "firmware", "hardware",
    "access_key",
]  # fmt: skip
ROLES: Final[tuple[str, ...]] = get_args(Role)
NumberRule = Literal["u32be", "u32le", "u64be", "wiegand26", "text", "unknown"]
RULES: Final[tuple[str, ...]] = get_args(NumberRule)
MEANINGS: Final = {
    "status": ("enabled", "disabled", "blocked"),
    "privilege": ("user", "enroller", "admin", "owner"),
    "duress": ("yes", "no"),
}
"""What an enum may say where a role decides over rights."""
BLANKS: Final = {"ff": 0xFF, "00": 0x00}
"""Words for bytes that are all alike."""
MAX_MEANINGS: Final = 256
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
_FORMAT: Final = re.compile(r"[A-Za-z0-9._-]{1,32}(/[A-Za-z0-9._?-]{1,32}){1,3}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field; what its type does not use has its default."""

    name: str
    offset: int
    type: str
    size: int
    role: str | None = None
    mask: int | None = None
    enum: Mapping[int, str] | None = None
    flags: Mapping[int, str] | None = None
    length: str | None = None
    """Name of the field that says how many digits or bytes count."""
    digits: int | None = None
    """How many digits a number stands for, zeros in front included."""
    low_first: bool = False
    right: bool = False
    fill: int = FILL_BYTE
    number_rule: NumberRule = "unknown"
    format: str | None = None
    none: frozenset[int | bytes] | None = None
    """Values that stand for nothing; None where the profile does not say."""
    unit: str | None = None

    @property
    def number(self) -> Number | None:
        return NUMBERS.get(self.type)

    @property
    def most(self) -> int:
        """The largest value of a number, after its mask."""
        if self.mask is not None:
            return self.mask >> self.shift
        return int(256**self.size - 1)

    @property
    def shift(self) -> int:
        return 0 if self.mask is None else (self.mask & -self.mask).bit_length() - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What a record looks like that is no record: bytes all alike, or a field with one of some values."""

    fill: int | None = None
    field: str | None = None
    values: frozenset[int] = frozenset()


def parse_field(item: Any, path: str, record_bytes: int, endianness: str | None, problems: list[str]) -> Field | None:
    """Return a checked field; None if anything is wrong with it."""
    before = len(problems)
    asked = Asked(item, path, problems)
    name = asked.text("name", 32)
    if name is None and not asked.has("name") and asked.is_table:
        asked.problem("name", "is needed and not there")
    if name is not None and not _NAME.fullmatch(name):
        asked.problem("name", f"{shown(name)}: a letter first; lower-case letters, digits and _ only")
    offset = asked.integer("offset", 0, record_bytes - 1, needed=True)
    kind = type_name(asked, endianness)
    number = NUMBERS.get(kind or "")
    size = number.size if number else asked.integer("size", 1, record_bytes, needed=kind in SIZED)
    asked.only(number is None, "a number's size is that of its type", "size")
    role = asked.choice("role", ROLES, "role")
    if kind is None:
        _skip(asked)
    made = None if kind is None or size is None else _rest(asked, kind, size, role)
    asked.finish()
    if len(problems) > before or offset is None or size is None or made is None:
        return None
    if offset + size > record_bytes:
        problems.append(f"{path}.offset: {size} bytes from {offset} end behind the record of {record_bytes} bytes")
        return None
    return Field(name=name or "", offset=offset, type=kind or "", size=size, role=role, **made)


def _skip(asked: Asked) -> None:
    """Without a type the other keys cannot be judged, and are not unknown for that."""
    for key in Field.__dataclass_fields__:
        asked.has(key)
    asked.has("nibbles")
    asked.has("align")


def _rest(asked: Asked, kind: str, size: int, role: str | None) -> dict[str, Any]:
    number, text, packed = kind in NUMBERS, kind in CODECS, kind in PACKED
    asked.only(number, "only for numbers", "mask", "enum", "flags", "digits")
    asked.only(text or packed or kind == "bytes" or role == "digits", "a number has no other length", "length")
    asked.only(text or packed, "only for digits and texts", "fill")
    asked.only(packed, "only for bcd and digit-bytes", "align")
    asked.only(kind == "bcd", "only for bcd", "nibbles")
    asked.only(role == "card", 'only with role = "card"', "number_rule")
    asked.only(role == "template", 'only with role = "template"', "format")
    asked.only(role == "setting", 'only with role = "setting"', "unit")
    made: dict[str, Any] = {"length": asked.text("length", 32), "unit": asked.text("unit", 16)}
    mask = asked.integer("mask", 1, 256**size - 1) if number else None
    probe = Field(name="", offset=0, type=kind, size=size, mask=mask)
    if mask is not None and probe.most & (probe.most + 1):
        asked.problem("mask", f"{mask:#x} has bits that do not lie side by side")
    made["mask"] = mask
    made["enum"] = _mapping(asked, "enum", probe.most, MEANINGS.get(role or "")) if number else None
    made["flags"] = _mapping(asked, "flags", probe.most, None) if number else None
    if made["flags"] and any(bit & (bit - 1) or not bit for bit in made["flags"]):
        asked.problem("flags", "each flag is one bit, such as 0x01, 0x02 or 0x04")
    if made["flags"] and made["enum"]:
        asked.problem("flags", "a field has an enum or flags, not both")
    made["digits"] = asked.integer("digits", 1, 20) if number else None
    made["fill"] = _fill(asked, kind)
    made["right"] = asked.choice("align", ("left", "right"), "side") == "right"
    made["low_first"] = asked.choice("nibbles", ("high-first", "low-first"), "order of nibbles") == "low-first"
    made["number_rule"] = asked.choice("number_rule", RULES, "rule") or ("text" if text or packed else "unknown")
    made["format"] = asked.text("format")
    if made["format"] and not _FORMAT.fullmatch(made["format"]):
        asked.problem("format", "two to four words with / between, such as ef01/r503/1536")
    made["none"] = _none(asked, kind, size, probe.most)
    _agree(asked, kind, size, role, made)
    return made


def _agree(asked: Asked, kind: str, size: int, role: str | None, made: Mapping[str, Any]) -> None:
    """Note what role and type do not let each other have."""
    rule_bytes = {"u32be": 4, "u32le": 4, "u64be": 8, "wiegand26": 3}.get(made["number_rule"])
    if kind == "bytes" and rule_bytes not in (None, size):
        asked.problem("number_rule", f"{made['number_rule']} is a number of {rule_bytes} bytes, the field has {size}")
    if role == "digits" and kind in NUMBERS and made["digits"] is None and made["length"] is None:
        asked.problem(
            "digits", "a number keeps no zeros in front; say how many digits a PIN has, or name a `length` field"
        )
    if role in MEANINGS and kind in NUMBERS and not made["enum"]:
        asked.problem("enum", f'is needed with role = "{role}"; its words are {", ".join(MEANINGS[role or ""])}')
    if role in LIMITS and made["none"] is None:
        asked.problem("none", "is needed: which values mean that there is no limit? [] if none does")
    if role in MEANINGS or role in ("slot", "info", "setting", None):
        asked.only(made["none"] is None, f'role = "{role or ""}" has no such value', "none")


def _fill(asked: Asked, kind: str) -> int:
    if kind == "bcd":
        return asked.integer("fill", 0xA, 0xF) or FILL_NIBBLE
    if kind == "digit-bytes":
        return asked.integer("fill", 0xA, 0xFF) or FILL_BYTE
    if kind in CODECS and asked.has("fill"):
        found = asked.integer("fill", 0x20, 0xFF)
        if found is not None and found not in (0x20, 0xFF):
            asked.problem("fill", "0x20 or 0xFF; a text ends at the first NUL in any case")
        return FILL_BYTE if found is None else found
    return FILL_BYTE


def _mapping(asked: Asked, key: str, most: int, words: tuple[str, ...] | None) -> dict[int, str] | None:
    """Read a mapping of numbers to words; a number that is there twice, written in two ways, is one too many."""
    value = asked.value(key)
    if value is None:
        return None
    if not isinstance(value, Mapping) or not value or len(value) > MAX_MEANINGS:
        asked.problem(
            key, f'a table of 1 to {MAX_MEANINGS} numbers and words is needed, such as {{0 = "no", 1 = "yes"}}'
        )
        return None
    found: dict[int, str] = {}
    for text, word in value.items():
        number = number_of(text)
        place = f"{key}.{str(text)[:16]}"
        if number is None:
            asked.problem(place, "a number is needed on the left, decimal or 0x…")
        elif number > most:
            asked.problem(place, f"the field has no value above {most}")
        elif number in found:
            asked.problem(place, f"{number} is there twice")
        elif words is not None:
            found[number] = asked.one_of(word, place, words, "word for this role") or ""
        elif not isinstance(word, str) or not 0 < len(word) <= 32 or not word.isprintable():
            asked.problem(place, "a word of 1 to 32 characters is needed")
        else:
            found[number] = word
    return found


def _none(asked: Asked, kind: str, size: int, most: int) -> frozenset[int | bytes] | None:
    if asked.value("none") is None:
        return None
    found: set[int | bytes] = set()
    for item in asked.items("none"):
        if kind in NUMBERS:
            number = asked.whole(item, "none", 0, most)
            found |= set() if number is None else {number}
        elif isinstance(item, str) and item.lower() in BLANKS:
            found.add(bytes((BLANKS[item.lower()],)) * size)
        else:
            asked.problem("none", f'{shown(item)} is neither "ff" nor "00" (all bytes alike)')
    return frozenset(found)


def parse_marks(asked: Asked, key: str, fields: tuple[Field, ...], *, whole: bool) -> tuple[Mark, ...]:
    """Read `empty` or `end_mark`: "ff", "00", {field, value}, or a list of them."""
    marks = []
    for number, item in enumerate(asked.items(key)):
        if isinstance(item, str) and item.lower() in BLANKS:
            marks.append(Mark(fill=BLANKS[item.lower()]))
            continue
        if not isinstance(item, Mapping):
            asked.problem(key, f'{shown(item)} is none of "ff", "00" and {{field = …, value = …}}')
            continue
        inner = Asked(item, f"{asked.path}.{key}.{number}", asked.problems)
        name = inner.text("field", 32)
        field = next((field for field in fields if field.name == name), None)
        values = [inner.whole(each, "value", 0, field.most if field else 2**64) for each in inner.items("value")]
        if name is None or not values:
            inner.problem("value" if name else "field", "both field and value are needed")
        elif field is None and whole:
            inner.problem("field", f"{shown(name)} is no field of this table")
        elif field is not None and field.number is None:
            inner.problem("field", f"{shown(name)} is no number")
        inner.finish()
        marks.append(Mark(field=name, values=frozenset(value for value in values if value is not None)))
    return tuple(marks)


def spans_of(fields: tuple[Field, ...], path: str) -> Iterator[str]:
    """Yield what fields do to one another: names twice, bytes shared, lengths that are no numbers."""
    by_name: dict[str, Field] = {}
    for number, field in enumerate(fields):
        if field.name in by_name:
            yield f'{path}.fields.{number}.name: "{field.name}" is there twice'
        by_name.setdefault(field.name, field)
    for number, field in enumerate(fields):
        if field.length is None:
            continue
        told = by_name.get(field.length)
        if told is None or told.number is None or told is field:
            yield f"{path}.fields.{number}.length: {shown(field.length)} is no number among the fields"
    order = sorted(enumerate(fields), key=lambda pair: (pair[1].offset, pair[1].size))
    for at, (_, left) in enumerate(order):
        for number, right in order[at + 1 :]:
            if right.offset >= left.offset + left.size:
                break
            if not _share(left, right):
                yield f'{path}.fields.{number}.offset: "{right.name}" lies on "{left.name}"'


def _share(left: Field, right: Field) -> bool:
    """Two fields may share bytes only as different bits of one number."""
    same = (left.offset, left.type) == (right.offset, right.type)
    return same and left.mask is not None and right.mask is not None and not left.mask & right.mask
