"""A checked layout compiled to construct, and a raw dump read by it into rows (no I/O).

Every place is known before a record is parsed, so that an image that was cut is refused with the offset; every layout
ends with `Terminated`. Rows hold PINs and templates: they never print.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from construct import (
    Bytes,
    Construct,
    Int8ub,
    Int16ub,
    Int16ul,
    Int24ub,
    Int24ul,
    Int32ub,
    Int32ul,
    Int64ub,
    Int64ul,
    Struct,
    Terminated,
)

from lockmigrate.errors import FrameError, ImageError
from lockmigrate.formats import parse
from lockmigrate.formats.tables_fields import Field, Mark
from lockmigrate.formats.tables_schema import MAX_RECORDS, Check, Counter, ImageSpec, TableSpec
from lockmigrate.formats.tables_types import MAX_IMAGE_BYTES, Number
from lockmigrate.formats.tables_values import CHECKS

MAX_VALUES: Final = 500_000
"""Ours: records times fields of one image; seconds of work, and several times the largest unit that we know."""
_INTEGERS: Final[dict[Number, Construct[Any, Any]]] = {
    Number(1, False): Int8ub,
    Number(2, False): Int16ul,
    Number(2, True): Int16ub,
    Number(3, False): Int24ul,
    Number(3, True): Int24ub,
    Number(4, False): Int32ul,
    Number(4, True): Int32ub,
    Number(8, False): Int64ul,
    Number(8, True): Int64ub,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One record that is not empty."""

    table: TableSpec
    index: int
    offset: int
    raw: bytes = field(repr=False)
    values: dict[str, int | bytes] = field(repr=False)
    """Field to its number (after the mask) or its bytes."""
    intact: bool = True
    """Its checksum holds, or it has none."""

    def number(self, name: str) -> int:
        """Return a number; the layout has seen to it that the field is one."""
        value = self.values[name]
        return value if isinstance(value, int) else 0

    def slot(self) -> int:
        """Return the record's own number."""
        told = next((item for item in self.table.fields if item.role == "slot"), None)
        return self.table.first_slot + self.index if told is None else self.number(told.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """One table and the construct layout of its records."""

    spec: TableSpec
    record: Construct[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLayout:
    """A whole profile's `[tables]`, ready to read a dump."""

    spec: ImageSpec
    tables: tuple[Compiled, ...]


def compile_layout(spec: ImageSpec) -> ImageLayout:
    """Compile a checked layout."""
    return ImageLayout(spec=spec, tables=tuple(Compiled(spec=table, record=_record(table)) for table in spec.tables))


def _record(table: TableSpec) -> Construct[Any, Any]:
    """Fields in their order, unnamed bytes between them; fields that share bytes (bits of one number) are read once."""
    parts: list[Any] = []
    at = 0
    for item in sorted(table.fields, key=lambda item: item.offset):
        if item.offset < at:
            continue
        if item.offset > at:
            parts.append(Bytes(item.offset - at))
        parts.append(_member(item) / (_INTEGERS[item.number] if item.number else Bytes(item.size)))
        at = item.offset + item.size
    if at < table.record_bytes:
        parts.append(Bytes(table.record_bytes - at))
    return Struct(*parts, Terminated)


def _member(item: Field) -> str:
    return f"at_{item.offset}"


def carries_mark(spec: ImageSpec, data: bytes) -> bool:
    """Tell whether an image has every mark of the layout; a layout without marks recognises nothing."""
    return bool(spec.magic) and all(data[at : at + len(mark)] == mark for at, mark in spec.magic)


def read_rows(layout: ImageLayout, data: bytes) -> list[Row]:
    """Read an image into rows, table by table.

    Raises:
        ImageError: it is too large, cut, damaged, or of another kind.
    """
    spec = layout.spec
    if len(data) > MAX_IMAGE_BYTES:
        raise ImageError(f"the image has {len(data)} bytes, more than {MAX_IMAGE_BYTES}", code="too-large")
    _check_marks(spec, data)
    spans = {table.spec.name: _span(table.spec, data) for table in layout.tables if _reachable(table.spec, data)}
    if spec.sizes and len(data) not in spec.sizes:
        if len(data) < min(spec.sizes):
            raise _cut(layout, spans, data)
        sizes = " or ".join(map(str, spec.sizes))
        raise ImageError(f"the image has {len(data)} bytes, one of this model has {sizes}", hint=_OTHER)
    missing = [table for table in layout.tables if table.spec.name not in spans]
    check = spec.checksum
    reach = 0 if check is None else max(check.end, check.offset + check.size)
    if missing or reach > len(data) or any(end > len(data) for _, end in spans.values()):
        raise _cut(layout, spans, data)
    _check_places(layout, spans)
    if check is not None and not _holds(check, data):
        raise ImageError(
            f"the checksum of the image ({check.kind} at {check.offset:#x}) does not hold",
            hint="read the chip again; if two reads are equal, the profile is not the one for this model",
        )
    return [row for table in layout.tables for row in _rows(table, data, *spans[table.spec.name])]


_OTHER: Final = "the profile is for another model, or the dump is not of the whole chip"


def _check_marks(spec: ImageSpec, data: bytes) -> None:
    for at, mark in spec.magic:
        found = data[at : at + len(mark)]
        if found == mark:
            continue
        if len(found) < len(mark) and mark.startswith(found):
            raise ImageError(
                f"the image ends at {len(data):#x}, before the end of its mark at {at:#x}", hint=_READ_AGAIN
            )
        raise ImageError(f"the image is of another model: its mark at {at:#x} is not the profile's", hint=_OTHER)


def _reachable(table: TableSpec, data: bytes) -> bool:
    """Tell whether the image goes far enough to know how many records the table has."""
    if isinstance(table.count, Counter):
        return table.count.offset + table.count.type.size <= len(data)
    return isinstance(table.count, int) or table.offset < len(data)


def _span(table: TableSpec, data: bytes) -> tuple[int, int]:
    """Return where a table begins and ends; it may end behind the image.

    Raises:
        ImageError: its counter or its end mark is not what it must be.
    """
    start, size = table.offset, table.record_bytes
    if isinstance(table.count, int):
        return start, start + table.count * size
    if isinstance(table.count, Counter):
        kind = table.count.type
        raw = data[table.count.offset : table.count.offset + kind.size]
        count = int(parse(_INTEGERS[kind], raw, "the counter"))
        if count > table.count.most:
            raise ImageError(
                f'the counter of "{table.name}" at {table.count.offset:#x} says {count} records, '
                f"more than {table.count.most}",
                hint="the image is damaged, or the profile is for another model",
            )
        return start, start + count * size
    if table.count == "until-end":
        return start, start + -(-(len(data) - start) // size) * size
    for number in range(MAX_RECORDS + 1):
        at = start + number * size
        record = data[at : at + size]
        if len(record) < size:
            break
        if _looks_like(table.end_mark, table, record):
            return start, at
    raise ImageError(
        f'the table "{table.name}" from {start:#x} has no end mark before the end of the image at {len(data):#x}',
        hint=_READ_AGAIN,
    )


def _cut(layout: ImageLayout, spans: dict[str, tuple[int, int]], data: bytes) -> ImageError:
    """Say where the image ends, as the layout sees that place."""
    end = len(data)
    place = "before its end"
    if layout.spec.sizes:
        place = f"before the {min(layout.spec.sizes)} bytes that one of this model has"
    for table in layout.tables:
        name, size = table.spec.name, table.spec.record_bytes
        start, behind = spans.get(name, (table.spec.offset, table.spec.offset + size))
        if start <= end < behind:
            at = start + (end - start) // size * size
            place = f'inside record {(end - start) // size} of "{name}" ({at:#x} to {at + size:#x})'
            break
    else:
        ahead = [table.spec for table in layout.tables if table.spec.offset >= end]
        if ahead and not layout.spec.sizes:
            first = min(ahead, key=lambda table: table.offset)
            place = f'before the table "{first.name}" at {first.offset:#x}'
    return ImageError(f"the image is cut: it ends at {end:#x}, {place}", hint=_READ_AGAIN)


_READ_AGAIN: Final = "read the chip again, whole; a dump that was cut is not used in part"


def _check_places(layout: ImageLayout, spans: dict[str, tuple[int, int]]) -> None:
    """Tables whose length the image tells may not reach into others, nor be too many records."""
    order = sorted((*spans[table.spec.name], table.spec.name) for table in layout.tables)
    filled = [span for span in order if span[0] < span[1]]
    for (start, end, name), (after, _, other) in itertools.pairwise(filled):
        if after < end:
            raise ImageError(
                f'the table "{name}" from {start:#x} to {end:#x} reaches into "{other}" at {after:#x}',
                hint="the image is damaged, or the profile is for another model",
            )
    counts = {name: (end - start) for start, end, name in order}
    records = sum(counts[table.spec.name] // table.spec.record_bytes for table in layout.tables)
    values = sum(counts[table.spec.name] // table.spec.record_bytes * len(table.spec.fields) for table in layout.tables)
    if records > MAX_RECORDS or values > MAX_VALUES:
        raise ImageError(
            f"the image holds {records} records with {values} values, more than any unit has", code="too-large"
        )


def _rows(table: Compiled, data: bytes, start: int, end: int) -> Iterator[Row]:
    spec = table.spec
    for index, at in enumerate(range(start, end, spec.record_bytes)):
        raw = data[at : at + spec.record_bytes]
        if _looks_like(tuple(mark for mark in spec.empty if mark.fill is not None), spec, raw):
            continue
        try:
            found = parse(table.record, raw, f"record {index} of {spec.name}")
        except FrameError:
            raise ImageError(f'record {index} of "{spec.name}" at {at:#x} does not follow its layout') from None
        values: dict[str, int | bytes] = {}
        for item in spec.fields:
            value = found[_member(item)]
            values[item.name] = value if item.mask is None else (value & item.mask) >> item.shift
        if any(mark.field is not None and values[mark.field] in mark.values for mark in spec.empty):
            continue
        intact = spec.checksum is None or _holds(spec.checksum, raw)
        yield Row(table=spec, index=index, offset=at, raw=raw, values=values, intact=intact)


def _looks_like(marks: tuple[Mark, ...], table: TableSpec, record: bytes) -> bool:
    for mark in marks:
        if mark.fill is not None:
            if record.count(mark.fill) == len(record):
                return True
            continue
        item = next(item for item in table.fields if item.name == mark.field)
        order = "big" if item.number and item.number.big_endian else "little"
        value = int.from_bytes(record[item.offset : item.offset + item.size], order)  # type: ignore[arg-type]
        if (value if item.mask is None else (value & item.mask) >> item.shift) in mark.values:
            return True
    return False


def _holds(check: Check, data: bytes) -> bool:
    stored = int.from_bytes(data[check.offset : check.offset + check.size], "big" if check.big_endian else "little")
    return stored == CHECKS[check.kind][1](data[check.start : check.end])
