"""A backup's manifest: strict JSON, its fields, and the list that every entry must equal.

The manifest is signed as the exact bytes stored, so there is no canonical JSON. Unknown fields are ignored unless
`critical` names them. Wrong types end in `BackupError`, never in another exception.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

import msgspec
from msgspec import Struct

from lockmigrate.errors import BackupError

SCHEMA: Final = "lockmigrate.backup/1"
MAX_MANIFEST_BYTES: Final = 4 * 1024 * 1024
MAX_NESTING: Final = 16
MAX_MARKS: Final = 256 * 1024
"""Ours: commas, colons and opening brackets in all, strings included; 16,384 entries need half of it. It bounds the
objects that 4 MiB of empty lists turn into."""
MAX_STRING_CHARS: Final = 4096
MAX_INTEGER: Final = 2**53 - 1
"""What every JSON reader keeps exactly (RFC 8259 section 6)."""
ENTRY_NAME: Final = re.compile(r"(?:records|raw|blobs|evidence)/[a-z0-9][a-z0-9_-]{0,79}(?:\.[a-z0-9]{1,8})?")

_MAX_INTEGER_CHARS: Final = 17
"""A sign and the 16 digits of 2^53; longer numbers are never converted."""
_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_BACKUP_ID: Final = re.compile(r"[0-9a-f]{32}")


class Entry(Struct, frozen=True, kw_only=True):
    """One entry of the archive."""

    name: str
    size: int
    sha256: str


class Operator(Struct, frozen=True, kw_only=True):
    """Who signed."""

    key: str
    """`SHA256:…`; must be the key that verified."""
    name: str | None = None


class Tool(Struct, frozen=True, kw_only=True):
    """What wrote the backup."""

    name: str | None = None
    version: str | None = None
    cryptography: str | None = None


class Clock(Struct, frozen=True, kw_only=True):
    """The unit's clock beside ours."""

    device: str | None = None
    host: str | None = None
    skew_s: int | None = None


class Device(Struct, frozen=True, kw_only=True):
    """The unit that was read."""

    vendor: str | None = None
    model: str | None = None
    serial: str | None = None
    hardware: str | None = None
    firmware: str | None = None
    transport: str | None = None
    clock: Clock | None = None


class ProfileMark(Struct, frozen=True, kw_only=True):
    """The profile it was read with."""

    id: str
    sha256: str | None = None


class Read(Struct, frozen=True, kw_only=True):
    """One reading of a table."""

    at: str
    size: int
    sha256: str


class DeviceCheck(Struct, frozen=True, kw_only=True):
    """A check value that the unit or the transfer gave."""

    kind: str
    value: str | None = None


class TableNote(Struct, frozen=True, kw_only=True):
    """How a table was read."""

    table: str
    entry: str | None = None
    rows: int | None = None
    volatile: bool = False
    reads: list[Read] = []
    device_check: DeviceCheck | None = None
    records: list[str] = []
    undecoded_bytes: int = 0


class Retention(Struct, frozen=True, kw_only=True):
    """How long and what for it is kept."""

    expires_at: str | None = None
    purpose: str | None = None
    controller: str | None = None
    consent_ref: str | None = None
    contains: list[str] = []


class Previous(Struct, frozen=True, kw_only=True):
    """The last backup of the same unit."""

    backup_id: str
    manifest_sha256: str


class Manifest(Struct, frozen=True, kw_only=True):
    """The fields that we know; used to check types. Consumers get the whole object as a dict."""

    schema: str
    critical: list[str]
    backup_id: str
    created_at: str
    operator: Operator
    entries: list[Entry]
    tool: Tool | None = None
    recipients: list[str] = []
    device: Device | None = None
    profile: ProfileMark | None = None
    counts: dict[str, int] = {}
    tables: list[TableNote] = []
    losses: Any = None
    retention: Retention | None = None
    previous: Previous | None = None


def write_manifest(fields: Mapping[str, Any]) -> bytes:
    """Return the manifest's bytes, checked by the reader's own rules.

    Raises:
        BackupError: a value is not allowed (code `malformed`).
    """
    try:
        raw = json.dumps(fields, ensure_ascii=False, indent=1, allow_nan=False).encode("utf-8") + b"\n"
    except (TypeError, ValueError, RecursionError):
        raise _malformed("the manifest cannot be written as JSON") from None
    read_manifest(raw)
    return raw


def read_manifest(raw: bytes) -> tuple[dict[str, Any], Manifest]:
    """Return the manifest as a dict and as checked fields.

    Raises:
        BackupError: code `unsupported` for another schema or an unknown critical field, else `malformed`.
    """
    fields = strict_json(raw)
    if not isinstance(fields, dict):
        raise _malformed("the manifest is not an object")
    schema, critical = fields.get("schema"), fields.get("critical")
    if not isinstance(schema, str) or not isinstance(critical, list):
        raise _malformed("the manifest has no schema or no list of critical fields")
    if schema != SCHEMA:
        raise _unsupported("the backup is of a schema this version does not know")
    if not all(isinstance(name, str) for name in critical):
        raise _malformed("the manifest's list of critical fields is malformed")
    if not set(critical) <= set(Manifest.__struct_fields__):
        raise _unsupported("the backup needs a feature this version does not know")
    try:
        manifest = msgspec.convert(fields, Manifest)
    except msgspec.ValidationError as trouble:
        # msgspec names types and the path, never a value.
        raise _malformed(f"the manifest is malformed: {str(trouble)[:1].lower()}{str(trouble)[1:]}") from None
    if _BACKUP_ID.fullmatch(manifest.backup_id) is None:
        raise _malformed("the manifest's backup_id is not 32 hexadecimal digits")
    read_time(manifest.created_at)
    if manifest.retention is not None and manifest.retention.expires_at is not None:
        read_time(manifest.retention.expires_at)
    return fields, manifest


def read_time(text: str) -> datetime:
    """Return the instant of `YYYY-MM-DDTHH:MM:SSZ`.

    Raises:
        BackupError: it is something else (code `malformed`).
    """
    if _TIME.fullmatch(text) is not None:
        with contextlib.suppress(ValueError):  # a 31 February
            return datetime.fromisoformat(text)
    raise _malformed("the manifest holds a malformed time")


def write_time(instant: datetime) -> str:
    """Return `YYYY-MM-DDTHH:MM:SSZ` of an instant with a zone."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def list_entries(entries: Iterable[tuple[str, bytes]]) -> list[dict[str, Any]]:
    """Return the manifest's list for these (name, data) pairs, in their order."""
    return [{"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in entries]


def check_entries(manifest: Manifest, entries: list[tuple[str, bytes]]) -> None:
    """Demand that the archive's entries are the listed ones: names, order, sizes, digests; and what tables say of them.

    Raises:
        BackupError: they are not (code `malformed`); entries are named by number, names may be hostile.
    """
    names = [name for name, _ in entries]
    if not all(ENTRY_NAME.fullmatch(name) for name in names):
        raise _malformed("the backup holds an entry with a name that is not allowed")
    if names != sorted(set(names)):
        raise _malformed("the backup's entries are not in order, or one is there twice")
    if names != [entry.name for entry in manifest.entries]:
        raise _malformed("the backup's entries are not the ones its manifest lists")
    for number, (listed, (_, data)) in enumerate(zip(manifest.entries, entries, strict=True), start=1):
        if listed.size != len(data) or hashlib.sha256(data).hexdigest() != listed.sha256:
            raise _malformed(f"entry {number} of the backup is not what its manifest says")
    _check_tables(manifest)


def _check_tables(manifest: Manifest) -> None:
    """A table's entry is there, and holds what the last reading gave; one that changes by itself may differ."""
    listed = {entry.name: entry for entry in manifest.entries}
    for number, table in enumerate(manifest.tables, start=1):
        if not listed.keys() >= {*table.records, *([] if table.entry is None else [table.entry])}:
            raise _malformed(f"table {number} of the manifest refers to an entry that is not there")
        if table.entry is None or table.volatile or not table.reads:
            continue
        entry, last = listed[table.entry], table.reads[-1]
        if (last.size, last.sha256) != (entry.size, entry.sha256):
            raise _malformed(f"table {number} of the manifest was read as something else than its entry holds")


def strict_json(raw: bytes) -> Any:
    """Parse JSON by narrow rules: UTF-8, no duplicate keys, no floats, bounded integers, depth and strings.

    Raises:
        BackupError: anything else (code `malformed`).
    """
    if len(raw) > MAX_MANIFEST_BYTES:
        raise _malformed(f"the manifest is over {MAX_MANIFEST_BYTES} bytes")
    if sum(map(raw.count, (b",", b":", b"[", b"{"))) > MAX_MARKS:
        raise _malformed("the manifest holds too many values")
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique_pairs,
            parse_constant=_refuse_number,
            parse_float=_refuse_number,
            parse_int=_bounded_int,
        )
    except (ValueError, RecursionError):
        raise _malformed("the manifest is not JSON by our rules") from None
    _check_shape(value)
    return value


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate key")
    return found


def _refuse_number(_: str) -> NoReturn:
    raise ValueError("not an integer")


def _bounded_int(text: str) -> int:
    if len(text) > _MAX_INTEGER_CHARS or abs(int(text)) > MAX_INTEGER:
        raise ValueError("integer over the limit")
    return int(text)


def _check_shape(value: Any) -> None:
    """Walk without recursion: depth, string lengths, lone surrogates."""
    pending = [(value, 1)]
    while pending:
        item, depth = pending.pop()
        if isinstance(item, str):
            if len(item) > MAX_STRING_CHARS or _SURROGATE.search(item):
                raise _malformed("the manifest holds a string that is too long or not Unicode")
        elif isinstance(item, (dict, list)):
            if depth > MAX_NESTING:
                raise _malformed(f"the manifest is nested deeper than {MAX_NESTING}")
            children = [*item, *item.values()] if isinstance(item, dict) else item
            pending.extend((child, depth + 1) for child in children)


def _malformed(message: str) -> BackupError:
    return BackupError(message, code="malformed")


def _unsupported(message: str) -> BackupError:
    return BackupError(message, code="unsupported", hint="open it with a newer lockmigrate")
