"""A profile's `[tables]` as checked values: what a raw dump holds and where (no I/O, nothing executable).

`[tables.image]` tells of the whole file, every other table of one array of records of equal size. `parse_tables` is the
only way in; what is wrong is collected as sentences with the dotted path.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from lockmigrate.formats.tables_fields import KINDS, Field, Mark, parse_field, parse_marks, spans_of
from lockmigrate.formats.tables_keys import Asked, shown
from lockmigrate.formats.tables_roles import check_roles
from lockmigrate.formats.tables_types import MAX_IMAGE_BYTES, Number, number_type
from lockmigrate.formats.tables_values import CHECKS

MAX_TABLES: Final = 32
MAX_FIELDS: Final = 64
MAX_RECORD_BYTES: Final = 65_536
MAX_RECORDS: Final = 65_536
"""In all tables together: slot numbers have two bytes."""
IMAGE: Final = "image"
"""The one name under `[tables]` that is no table of records."""
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
_COUNTS: Final = ("until-end", "until-mark")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A stored checksum: which, where, and over what; offsets from the start of the record or the image."""

    kind: str
    offset: int
    big_endian: bool
    start: int
    end: int

    @property
    def size(self) -> int:
        return CHECKS[self.kind][0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """A number in the image that says how many records there are."""

    offset: int
    type: Number
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec:
    """One array of records."""

    name: str
    offset: int
    record_bytes: int
    count: int | Counter | str
    kinds: tuple[str, ...]
    first_slot: int
    """Number of the first record, where no field holds the slot."""
    empty: tuple[Mark, ...]
    end_mark: tuple[Mark, ...]
    checksum: Check | None
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSpec:
    """A whole dump."""

    sizes: tuple[int, ...]
    magic: tuple[tuple[int, bytes], ...]
    checksum: Check | None
    tables: tuple[TableSpec, ...]


def parse_tables(tables: Any) -> tuple[ImageSpec | None, list[str]]:
    """Return the checked layout, or None and what is wrong with it."""
    problems: list[str] = []
    root = Asked(tables, "tables", problems)
    whole = Asked(tables.get(IMAGE, {}) if root.is_table else {}, f"tables.{IMAGE}", problems)
    sizes = tuple(whole.whole(item, "size_bytes", 1, MAX_IMAGE_BYTES) or 0 for item in whole.items("size_bytes"))
    endianness = whole.choice("endianness", ("little", "big"), "byte order")
    magic = tuple(_magic(item, number, whole) for number, item in enumerate(whole.items("magic")))
    room = max(sizes, default=MAX_IMAGE_BYTES)
    checksum = _check(whole, room, endianness) if whole.has("checksum") else None
    whole.finish()
    for at, mark in magic:
        if at + len(mark) > room:
            problems.append(f"tables.{IMAGE}.magic: ends behind the image")
    names = [name for name in tables if name != IMAGE] if root.is_table else []
    if root.is_table and not names:
        problems.append("tables: at least one table of records is needed, for example [tables.codes]")
    if len(names) > MAX_TABLES:
        return None, [f"tables: more than {MAX_TABLES} tables"]
    found = [_table(name, tables[name], endianness, room, problems) for name in names]
    parsed = [table for table in found if table is not None]
    if not problems:
        problems += _overlaps(parsed)
        problems += _settings_twice(parsed)
    if problems:
        return None, problems
    return ImageSpec(sizes=sizes, magic=magic, checksum=checksum, tables=tuple(parsed)), []


def _magic(item: Any, number: int, whole: Asked) -> tuple[int, bytes]:
    asked = Asked(item, f"{whole.path}.magic.{number}", whole.problems)
    offset = asked.integer("offset", 0, MAX_IMAGE_BYTES - 1, needed=True) or 0
    text, digits = asked.text("text"), asked.text("hex", 192)
    mark = b""
    if asked.is_table and (text is None) == (digits is None):
        asked.problem("hex", 'either hex or text is needed, for example hex = "4b 50 33 01"')
    elif text is not None and not text.isascii():
        asked.problem("text", "only ASCII; write other bytes as hex")
    elif text is not None:
        mark = text.encode("ascii")
    elif digits is not None:
        try:
            mark = bytes.fromhex(digits)
        except ValueError:
            asked.problem("hex", f'{shown(digits)} is not pairs of hex digits, such as "4b 50 33 01"')
        else:
            if not mark:
                asked.problem("hex", "no bytes: every dump would carry this mark")
    asked.finish()
    return offset, mark


def _check(above: Asked, room: int, endianness: str | None) -> Check | None:
    asked = Asked(above.value("checksum"), f"{above.path}.checksum", above.problems)
    kind = asked.choice("kind", CHECKS, "kind of checksum", needed=True)
    offset = asked.integer("offset", 0, room - 1, needed=True)
    order = asked.choice("endianness", ("little", "big"), "byte order") or endianness
    over = asked.value("over")
    asked.finish()
    if kind is None or offset is None:
        return None
    size = CHECKS[kind][0]
    if size > 1 and order is None:
        asked.problem("endianness", f"{kind} has {size} bytes; say in which order, little or big")
    if over is None:
        over = [0, offset]
    if not isinstance(over, list | tuple) or len(over) != 2:
        asked.problem("over", "two offsets are needed: [first, behind the last]")
        return None
    start, end = (asked.whole(item, "over", 0, room) for item in over)
    if start is None or end is None:
        return None
    if not start < end:
        asked.problem("over", f"[{start}, {end}] covers no bytes")
    elif start < offset + size and offset < end:
        asked.problem("over", f"[{start}, {end}] covers the checksum itself at {offset}")
    elif offset + size > room:
        asked.problem("offset", f"the {size} bytes at {offset} end behind byte {room}")
    return Check(kind=kind, offset=offset, big_endian=order == "big", start=start, end=end)


def _table(name: str, value: Any, endianness: str | None, room: int, problems: list[str]) -> TableSpec | None:
    before = len(problems)
    path = f"tables.{str(name)[:40]}"
    if not _NAME.fullmatch(name):
        problems.append(f"{path}: names begin with a letter; lower-case letters, digits and _ only")
    asked = Asked(value, path, problems)
    offset = asked.integer("offset", 0, room - 1, needed=True)
    size = asked.integer("record_bytes", 1, MAX_RECORD_BYTES, needed=True)
    kinds = _kinds(asked)
    raw_fields = asked.items("fields")
    if isinstance(asked.value("fields"), Mapping):
        asked.problem("fields", "a list of tables is needed: fields = [{name = …}, {name = …}]")
        raw_fields = []
    elif asked.is_table and not raw_fields:
        asked.problem("fields", "at least one field is needed")
    if len(raw_fields) > MAX_FIELDS:
        asked.problem("fields", f"more than {MAX_FIELDS} fields")
        raw_fields = []
    parsed = [
        parse_field(item, f"{path}.fields.{number}", size or MAX_RECORD_BYTES, endianness, problems)
        for number, item in enumerate(raw_fields)
    ]
    fields = tuple(field for field in parsed if field is not None)
    count = _count(asked, endianness, room)
    empty = parse_marks(asked, "empty", fields, whole=len(fields) == len(parsed))
    end_mark = parse_marks(asked, "end_mark", fields, whole=len(fields) == len(parsed))
    if count == "until-mark" and not asked.has("end_mark"):
        asked.problem("end_mark", 'is needed where count = "until-mark"')
    asked.only(count == "until-mark", 'only where count = "until-mark"', "end_mark")
    checksum = _check(asked, size or MAX_RECORD_BYTES, endianness) if asked.has("checksum") else None
    first_slot = asked.integer("first_slot", 0, 0xFFFF)
    asked.finish()
    if len(fields) == len(parsed):
        problems += spans_of(fields, path)
        check_roles(asked, fields, kinds, has_first_slot=first_slot is not None)
    if count not in (None, 1) and kinds == ("setting",):
        asked.problem("count", "a table of settings has one record")
    if len(problems) > before or offset is None or size is None or count is None:
        return None
    if isinstance(count, int) and offset + count * size > room:
        asked.problem("count", f"{count} records of {size} bytes from {offset:#x} end behind the image ({room:#x})")
        return None
    if isinstance(count, int) and (first_slot or 0) + count > MAX_RECORDS:
        asked.problem("first_slot", f"the last record would have slot {(first_slot or 0) + count - 1}, above 65535")
        return None
    return TableSpec(
        name=name, offset=offset, record_bytes=size, count=count, kinds=kinds, first_slot=first_slot or 0,
        empty=empty, end_mark=end_mark, checksum=checksum, fields=fields,
    )  # fmt: skip


def _kinds(asked: Asked) -> tuple[str, ...]:
    items = asked.items("kind")
    if asked.is_table and not items:
        asked.problem("kind", f"is needed and not there; one or several of {', '.join(KINDS)}")
    found = [kind for kind in (asked.one_of(item, "kind", KINDS, "kind of record") for item in items) if kind]
    if len(set(found)) != len(found):
        asked.problem("kind", "a kind stands there twice")
    if "setting" in found and len(found) > 1:
        asked.problem("kind", "settings are a table of their own")
    if {"fingerprint", "face"} <= set(found):
        asked.problem("kind", "fingerprints and faces are tables of their own")
    return tuple(found)


def _count(asked: Asked, endianness: str | None, room: int) -> int | Counter | str | None:
    value = asked.value("count")
    if value is None:
        if asked.is_table:
            asked.problem(
                "count", "is needed and not there; a number, a counter {offset, type}, until-end or until-mark"
            )
        return None
    if isinstance(value, Mapping):
        inner = Asked(value, f"{asked.path}.count", asked.problems)
        offset = inner.integer("offset", 0, room - 1, needed=True)
        kind = number_type(inner, endianness)
        most = inner.integer("max", 1, MAX_RECORDS)
        inner.finish()
        if offset is None or kind is None:
            return None
        if offset + kind.size > room:
            inner.problem("offset", f"the counter at {offset:#x} ends behind the image")
        return Counter(offset=offset, type=kind, most=most or MAX_RECORDS)
    if isinstance(value, str) and not value.strip().isdigit():
        return asked.one_of(value, "count", _COUNTS, "rule for the count")
    return asked.whole(value, "count", 1, MAX_RECORDS)


def _overlaps(tables: list[TableSpec]) -> list[str]:
    """Name tables whose places are fixed and that lie on one another, and more records than slots can be numbered."""
    fixed = sorted(
        (table.offset, table.offset + table.count * table.record_bytes, table.name)
        for table in tables
        if isinstance(table.count, int)
    )
    problems = [
        f"tables.{after[2]}.offset: begins at {after[0]:#x}, inside {before[2]}, which ends at {before[1]:#x}"
        for before, after in itertools.pairwise(fixed)
        if after[0] < before[1]
    ]
    total = sum(table.count for table in tables if isinstance(table.count, int))
    if total > MAX_RECORDS:
        problems.append(f"tables: {total} records in all, more than {MAX_RECORDS}")
    return problems


def _settings_twice(tables: list[TableSpec]) -> list[str]:
    """Settings are called by their field alone, whatever table they stand in; serial and versions are one of a unit."""
    problems: list[str] = []
    seen: dict[str, str] = {}
    for table in tables:
        for field in table.fields if table.kinds == ("setting",) else ():
            alone = field.role if field.role in ("serial", "firmware", "hardware") else None
            name = alone or (f"{field.role} {field.name}" if field.role else None)
            if name is not None and name in seen:
                problems.append(f"tables.{table.name}.fields: {name} is in {seen[name]} already")
            elif name is not None:
                seen[name] = table.name
    return problems
