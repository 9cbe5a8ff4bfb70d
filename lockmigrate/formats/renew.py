"""A backup with other PINs in some of its records, as if the old unit had held those (no I/O)."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping

from msgspec.structs import replace

from lockmigrate.formats import FAMILY_MODULES
from lockmigrate.model.document import Snapshot, Table
from lockmigrate.model.records import Attachment, Credential, PinData, RawRef
from lockmigrate.model.secret import Secret


def renewed(source: Snapshot, digits: Mapping[str, str], *, for_family: str) -> Snapshot:
    """Return the backup with new digits for some PINs; families without PINs come back as they are.

    Where its bytes are to be written (a unit of the same family), the records are made anew behind the table that they
    stand in, so that no other record moves.

    Args:
        source: the backup.
        digits: key of a PIN to its new digits.
        for_family: family of the unit that they are for.

    Raises:
        FrameError: a record does not follow its layout.
        BackupError: a record refers to bytes that are not in the backup.
    """
    module = importlib.import_module(FAMILY_MODULES[source.lock.family])
    if not digits or not hasattr(module, "with_pin"):
        return source
    if for_family != source.lock.family:
        credentials = [_with(item, digits.get(item.key)) for item in source.credentials]
        return replace(source, credentials=tuple(credentials))
    bodies = {table.name: bytearray(table.data) for table in source.tables}
    moved: dict[str, RawRef] = {}
    credentials = []
    users = {user.key: user for user in source.users}
    for item in source.credentials:
        if item.key in digits:
            bearer = users.get(item.user or "", item)  # in a terminal the whole person is one record
            ref = bearer.raw[0]
            record = module.with_pin(source.bytes_of(ref), digits[item.key])
            moved[bearer.key] = RawRef(attachment=ref.attachment, offset=len(bodies[ref.attachment]), size=len(record))
            bodies[ref.attachment] += record
            item = replace(item, data=PinData(digits=Secret(digits[item.key])))
            if bearer.key == item.key:
                item = replace(item, raw=(moved[item.key], *item.raw[1:]))
        credentials.append(item)
    return replace(
        source,
        credentials=tuple(credentials),
        users=tuple(
            replace(user, raw=(moved[user.key], *user.raw[1:])) if user.key in moved else user for user in source.users
        ),
        tables=tuple(_grown(table, bytes(bodies[table.name])) for table in source.tables),
        attachments=tuple(_covering(item, bodies) for item in source.attachments),
    )


def _with(item: Credential, digits: str | None) -> Credential:
    return item if digits is None else replace(item, data=PinData(digits=Secret(digits)))


def _grown(table: Table, data: bytes) -> Table:
    return table if len(data) == len(table.data) else replace(table, data=data)


def _covering(item: Attachment, bodies: Mapping[str, bytearray]) -> Attachment:
    name = item.entry.removeprefix("raw/").removesuffix(".bin")
    data = bytes(bodies.get(name, b""))
    if item.offset or len(data) == item.size:
        return item
    return replace(item, size=len(data), sha256=hashlib.sha256(data).hexdigest())
