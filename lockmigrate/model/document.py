"""The neutral document: everything one unit gave out at one time, and what it would not give.

`Snapshot` holds the sections of neutral-format 1 and answers its three predicates. `to_sections` and `from_sections`
are the form stored in a backup under `records/`: one JSON object a line; secrets are revealed there, and only there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from lockmigrate.errors import BackupError
from lockmigrate.model.capabilities import Capabilities
from lockmigrate.model.records import FORMAT as FORMAT
from lockmigrate.model.records import VERSION as VERSION
from lockmigrate.model.records import (
    AccessKey,
    Attachment,
    Combination,
    Coverage,
    Credential,
    Group,
    Lock,
    LockSchedule,
    LogEntry,
    Loss,
    RawRef,
    Schedule,
    Setting,
    User,
)
from lockmigrate.model.records import Metadata as Metadata
from lockmigrate.model.secret import Secret


class Table(Struct, frozen=True, kw_only=True):
    """Bytes of one table exactly as the unit gave them (`raw/` in the backup)."""

    name: str
    """As the archive names it, for example `0006-templates`."""
    data: bytes
    rows: int
    read_at_utc: str
    digests: tuple[tuple[str, str], ...] = ()
    """One (time, sha256) per complete read."""
    check: str | None = None
    """Which check of the transfer or the unit covers the bytes."""
    volatile: bool = False

    def __repr__(self) -> str:
        return f"Table({self.name!r}, {len(self.data)} bytes, {self.rows} rows)"


class Gap(Struct, frozen=True, kw_only=True):
    """Something the unit holds and would not give out."""

    section: str
    record: str | None
    code: str
    detail: str
    announced: bool = False
    """True where the profile says so up front; such gaps leave the exit code 0."""


class Snapshot(Struct, frozen=True, kw_only=True):
    """All records of one unit at one time, and what could not be read."""

    metadata: Metadata
    lock: Lock
    capabilities: Capabilities
    users: tuple[User, ...] = ()
    credentials: tuple[Credential, ...] = ()
    groups: tuple[Group, ...] = ()
    combinations: tuple[Combination, ...] = ()
    schedules: tuple[Schedule, ...] = ()
    lock_schedules: tuple[LockSchedule, ...] = ()
    log: tuple[LogEntry, ...] = ()
    settings: tuple[Setting, ...] = ()
    access_keys: tuple[AccessKey, ...] = ()
    coverage: dict[str, Coverage] = {}
    losses: tuple[Loss, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    tables: tuple[Table, ...] = ()
    gaps: tuple[Gap, ...] = ()

    def bytes_of(self, ref: RawRef) -> bytes:
        """Return the raw bytes that a reference points at.

        Raises:
            BackupError: the reference points outside what is here (digests are judged by `complete`).
        """
        attachment = next((item for item in self.attachments if item.id == ref.attachment), None)
        table = self._table_of(attachment) if attachment else None
        inside = attachment is not None and 0 <= ref.offset <= ref.offset + ref.size <= attachment.size
        if attachment is None or table is None or not inside:
            raise BackupError("a record refers to bytes that are not in the backup", code="malformed")
        start = attachment.offset + ref.offset
        data = table.data[start : start + ref.size]
        if len(data) != ref.size:
            raise BackupError("a record refers to bytes that are not in the backup", code="malformed")
        return data

    def complete(self) -> bool:
        """Every section that was promised was read to its end, counts match, and no attachment's digest fails."""
        return all(
            item.state in ("full", "unsupported") and item.device_count in (None, item.read_count)
            for item in self.coverage.values()
        ) and all(self._attachment_intact(item) for item in self.attachments)

    def compatible_with(self, other: Snapshot) -> bool:
        """Same family, same unit and same protocol generation; two units without a serial number are never the same."""
        mine, theirs = self.lock, other.lock
        known = mine.serial is not None or mine.address is not None
        return (
            known
            and (mine.family, mine.serial, mine.address) == (theirs.family, theirs.serial, theirs.address)
            and mine.protocol.get("name") == theirs.protocol.get("name")
            and mine.protocol.get("version") == theirs.protocol.get("version")
        )

    def supersedes(self, other: Snapshot) -> bool:
        """Compatible, complete, and later; EF01 modules have no order of their own, so the host's clock decides."""
        return (
            self.compatible_with(other) and self.complete() and self.metadata.created_utc > other.metadata.created_utc
        )

    def counts(self) -> dict[str, int]:
        """Return how many records of each kind there are; some kinds are named only where there are any."""
        kinds = {"PIN": "pins", "RFID": "cards", "Fingerprint": "fingerprints", "Face": "faces"}
        found = {"users": len(self.users), **dict.fromkeys(kinds.values(), 0), "schedules": len(self.schedules)}
        app_keys = 0
        for credential in self.credentials:
            if credential.credential_type == "AppKey":
                app_keys += 1
            else:
                found[kinds[credential.credential_type]] += 1
        more = {"groups": len(self.groups), "combinations": len(self.combinations), "app_keys": app_keys}
        more |= {"lock_schedules": len(self.lock_schedules), "log_entries": len(self.log)}
        return found | {name: number for name, number in more.items() if number}

    def _table_of(self, item: Attachment) -> Table | None:
        return next((table for table in self.tables if f"raw/{table.name}.bin" == item.entry), None)

    def _attachment_intact(self, item: Attachment) -> bool:
        table = self._table_of(item)
        return (
            table is not None
            and hashlib.sha256(table.data[item.offset : item.offset + item.size]).hexdigest() == item.sha256
        )


SECTIONS: Final[dict[str, tuple[type, bool]]] = {
    "metadata": (Metadata, True),
    "lock": (Lock, True),
    "capabilities": (Capabilities, True),
    "users": (User, False),
    "credentials": (Credential, False),
    "groups": (Group, False),
    "combinations": (Combination, False),
    "schedules": (Schedule, False),
    "lock_schedules": (LockSchedule, False),
    "log": (LogEntry, False),
    "settings": (Setting, False),
    "access_keys": (AccessKey, False),
    "coverage": (dict[str, Coverage], True),
    "losses": (Loss, False),
    "gaps": (Gap, False),
    "attachments": (Attachment, False),
}
"""Section to (type, whether it is one object)."""


def _reveal(value: Any) -> Any:
    if isinstance(value, Secret):
        raw = value.reveal()
        return {"hex": raw.hex()} if isinstance(raw, bytes) else {"text": raw}
    raise TypeError(f"no stored form for {type(value).__name__}")


def _hide(kind: type, value: Any) -> Any:
    if kind is Secret and isinstance(value, dict):
        if isinstance(value.get("hex"), str):
            return Secret(bytes.fromhex(value["hex"]))
        if isinstance(value.get("text"), str):
            return Secret(value["text"])
    raise ValueError("not a secret")


def to_sections(snapshot: Snapshot) -> dict[str, bytes]:
    """Encode the sections for the sealed file: name to JSON lines, secrets included. Empty sections are left out."""
    encoder = msgspec.json.Encoder(enc_hook=_reveal, order="sorted")
    sections = {}
    for name, (_, single) in SECTIONS.items():
        value = getattr(snapshot, name)
        lines = [value] if single else list(value)
        if lines:
            sections[name] = b"".join(encoder.encode(line) + b"\n" for line in lines)
    return sections


def _typed(line: bytes) -> bytes:
    """Give a credential of before there were several kinds of data the kind that they all had."""
    item = msgspec.json.decode(line)
    if isinstance(item, dict) and isinstance(item.get("data"), dict):
        item["data"].setdefault("type", "template")
    return msgspec.json.encode(item)


def _decoded(decoder: msgspec.json.Decoder[Any], name: str, line: bytes) -> Any:
    try:
        return decoder.decode(line)
    except msgspec.ValidationError:
        if name != "credentials":
            raise
    return decoder.decode(_typed(line))


def from_sections(sections: Mapping[str, bytes], tables: tuple[Table, ...]) -> Snapshot:
    """Decode what `to_sections` made.

    Raises:
        BackupError: a section is malformed, or of a version we do not know.
    """
    values: dict[str, Any] = {}
    for name, data in sections.items():
        if name not in SECTIONS:
            continue
        kind, single = SECTIONS[name]
        decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(kind, dec_hook=_hide)
        try:
            items = [_decoded(decoder, name, line) for line in data.splitlines()]
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            detail = str(error) if isinstance(error, msgspec.ValidationError) else "not JSON"
            raise BackupError(f"records/{name}.jsonl is malformed: {detail}", code="malformed") from None
        if single and len(items) != 1:
            raise BackupError(f"records/{name}.jsonl must hold one object", code="malformed")
        values[name] = items[0] if single else tuple(items)
    for needed in ("metadata", "lock", "capabilities"):
        if needed not in values:
            raise BackupError(f"records/{needed}.jsonl is missing", code="malformed")
    metadata: Metadata = values["metadata"]
    if metadata.format != FORMAT or metadata.version < 1:
        raise BackupError(
            "the records are of a form this lockmigrate does not know",
            hint="the file was made by another program, or its records were replaced",
            code="unsupported",
        )
    if metadata.version > VERSION:
        raise BackupError(
            f"records of version {metadata.version} are newer than this lockmigrate knows",
            hint="use a newer lockmigrate",
            code="unsupported",
        )
    return Snapshot(tables=tables, **values)
