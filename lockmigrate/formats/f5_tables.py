"""Tables of the 0xF5 modules to neutral records (no I/O).

Raw tables, named as in the archive; absent ones are left out:
`0001-version` the text of command 26 · `0002-list` the data of 2B · `0003-settings` pairs of bytes, command (28 level,
2D duplicates, 2E time-out) and value, for each that was answered · `0004-templates` per id: id u16, size u16 of what
follows, permission u8 and the template's bytes (size 0: the id is used and the module does not give its template out) ·
`0005-count` u16, the answer of 09. All big endian.

What is restored of a fingerprint is permission byte and template together: `data.template` covers both, so that a
changed permission is a difference, and is written back with the template that it belongs to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

from construct import Bytes, GreedyRange, Int8ub, Int16ub, Struct, Tell, Terminated, this

from lockmigrate.errors import FrameError
from lockmigrate.formats import Sections, build, parse
from lockmigrate.formats.f5 import CAPTURE_TIMEOUT, DUPLICATES, LEVEL, MAX_USER, parse_list
from lockmigrate.model.capabilities import Capabilities, CredentialCapabilities, CredentialCapability
from lockmigrate.model.records import Attachment, Coverage, Credential, Lock, Loss, RawRef, Setting, TemplateData

FAMILY: Final = "f5"
VERSION: Final = "0001-version"
LIST: Final = "0002-list"
SETTINGS: Final = "0003-settings"
TEMPLATES: Final = "0004-templates"
COUNT: Final = "0005-count"
ALL_TABLES: Final = (VERSION, LIST, SETTINGS, TEMPLATES, COUNT)
SETTING_KEYS: Final = {
    LEVEL.code: "setting/f5.security_level",
    DUPLICATES.code: "setting/f5.duplicates",
    CAPTURE_TIMEOUT.code: "setting/f5.capture_timeout",
}
"""Command to the setting's key; `duplicates` is 0 where they are allowed, the time-out counts in 0.2 to 0.3 s."""
MAX_VERSION_CHARACTERS: Final = 64
"""Ours: more of a version's text does not go into a format id."""

_COUNT: Final = Struct("number" / Int16ub, Terminated)
_PAIRS: Final = Struct("pairs" / GreedyRange(Struct("command" / Int8ub, "value" / Int8ub)), Terminated)
_ROW: Final = Struct("slot" / Int16ub, "size" / Int16ub, "at" / Tell, "data" / Bytes(this.size))
_ROWS: Final = Struct("rows" / GreedyRange(_ROW), Terminated)


def text_of(raw: bytes) -> str | None:
    """Return the version's text without its padding, None if empty.

    What is not printable ASCII is shown as hex, and so is a lone `*`, which in a format id means any version.
    """
    body = raw.rstrip(b"\x00 \xff\r\n")
    if not body:
        return None
    plain = body.isascii() and body.decode("ascii").isprintable() and body != b"*"
    return body.decode("ascii") if plain else body.hex()


def format_id(version: str | None, size: int | None) -> str:
    """Build the id of the template format: `f5/f5/TFS-1.0/193`; `-` for a unit without a version, `?` without a size.

    Optical and capacitive modules must be assumed not to take one another's templates; nothing on the wire but the
    version tells them apart, so two versions are a question to a person. A profile alone gives `*` as the version.
    """
    text = (version or "-")[:MAX_VERSION_CHARACTERS].replace("/", "_").replace(" ", "_")
    return f"f5/f5/{text}/{size or '?'}"


def split_templates(raw: bytes) -> list[tuple[int, int, int]]:
    """Return (id, offset of permission and template, size of both) for each row of the table.

    Raises:
        FrameError: the table is cut short, names an id twice, or holds a permission without a template.
    """
    try:
        rows = [(row.slot, row.at, row.size) for row in parse(_ROWS, raw, "the table of templates").rows]
    except FrameError:  # which carries the bytes that it complains about: here, people's fingers
        raise FrameError("the table of templates is cut short") from None
    if len({slot for slot, _, _ in rows}) != len(rows):
        raise FrameError("the table of templates names an id twice")
    if any(size == 1 for _, _, size in rows):
        raise FrameError("the table of templates holds a permission without a template")
    return rows


def join_templates(templates: Iterable[tuple[int, bytes]]) -> bytes:
    """Build the table of templates from (id, permission byte and template).

    Raises:
        FrameError: an id or a size does not fit its field.
    """
    rows = [{"slot": slot, "size": len(data), "data": data} for slot, data in templates]
    return build(_ROWS, {"rows": rows}, "the table of templates")


def join_settings(values: Mapping[int, int]) -> bytes:
    """Build the table of settings from command to value.

    Raises:
        FrameError: a value does not fit its byte.
    """
    pairs = [{"command": command, "value": value} for command, value in values.items()]
    return build(_PAIRS, {"pairs": pairs}, "the table of settings")


def decode(tables: Mapping[str, bytes], variant: Mapping[str, Any]) -> Sections:
    """Decode all tables of one module; of `variant` the keys `slots` and `template_size` (stated, not measured) count.

    Raises:
        FrameError: a table does not follow its layout.
    """
    version = text_of(tables[VERSION]) if VERSION in tables else None
    stated, listed = parse_list(tables[LIST]) if LIST in tables else (None, {})
    rows = split_templates(tables.get(TEMPLATES, b""))
    credentials, losses = _fingerprints(tables.get(TEMPLATES, b""), rows, listed, version)
    counts = [len(listed)] if LIST in tables else []
    counts += [] if stated is None else [stated]
    counts += [parse(_COUNT, tables[COUNT], "the count").number] if COUNT in tables else []
    read = sum(1 for _, _, size in rows if size)
    # Whichever names more: what is missing is not passed over.
    expected = max(*counts, len(rows)) if counts else None
    agree = all(count == len(rows) for count in counts)
    slots, told = (variant[key] if isinstance(variant.get(key), int) else None for key in ("slots", "template_size"))
    measured = next((size - 1 for _, _, size in rows if size), told)
    fingerprint = CredentialCapability(
        slots=slots,
        used=max(counts) if counts else len(rows),
        first_slot=1,
        last_slot=MAX_USER,
        readback="full",
        writable="data",
        template_formats=(format_id(version, measured),),
        template_size_bytes=measured,
    )
    return Sections(
        lock=Lock(family=FAMILY, firmware_rev=version, protocol={"name": FAMILY}),
        capabilities=Capabilities(
            basis="profile", credentials=CredentialCapabilities(fingerprint=fingerprint)
        ),  # the module does not tell its capacity
        credentials=tuple(credentials),
        settings=tuple(_settings(tables)),
        coverage={
            "users": Coverage(state="unsupported", why="the module knows ids and permissions, not people"),
            "credentials": Coverage(
                state="full" if agree and read == len(rows) else "partial",
                device_count=expected,
                read_count=read,
                why=None if agree else "the module's count, its list and what answered differ",
            ),
            "settings": Coverage(state="full" if SETTINGS in tables else "unsupported"),
            "schedules": Coverage(state="unsupported"),
            "log": Coverage(state="unsupported"),
        },
        losses=tuple(losses),
        attachments=tuple(
            Attachment(
                id=name, entry=f"raw/{name}.bin", offset=0, size=len(data), sha256=hashlib.sha256(data).hexdigest()
            )
            for name, data in sorted(tables.items())
        ),
    )


def occupied(tables: Mapping[str, bytes], variant: Mapping[str, Any]) -> frozenset[str] | None:
    """Return the keys of what the module's list names; None where it was not read.

    Raises:
        FrameError: the list does not follow its layout.
    """
    del variant
    if LIST not in tables:
        return None
    return frozenset(f"fingerprint/{user}" for user in parse_list(tables[LIST])[1])


def _fingerprints(
    raw: bytes, rows: list[tuple[int, int, int]], listed: Mapping[int, int], version: str | None
) -> tuple[list[Credential], list[Loss]]:
    credentials, losses = [], []
    for user, offset, size in rows:
        key = f"fingerprint/{user}"
        ref = RawRef(attachment=TEMPLATES, offset=offset, size=size)
        permission = raw[offset] if size else listed.get(user)
        data = None
        if size:
            data = TemplateData(
                template_format=format_id(version, size - 1),
                template=ref,
                size=size,
                sha256=hashlib.sha256(raw[offset : offset + size]).hexdigest(),
            )
        else:
            losses.append(
                Loss(record=key, stage="read", code="template-unreadable", detail="the module does not give it out")
            )
        credentials.append(
            Credential(
                key=key,
                origin={"credential_index": user},
                credential_type="Fingerprint",
                data_state="known" if size else "present_unreadable",
                data=data,
                raw=(ref,) if size else (),
                vendor={} if permission is None else {"f5": {"permission": permission}},
            )
        )
    return credentials, losses


def _settings(tables: Mapping[str, bytes]) -> Iterable[Setting]:
    seen: set[int] = set()
    for index, pair in enumerate(parse(_PAIRS, tables.get(SETTINGS, b""), "the table of settings").pairs):
        if pair.command not in SETTING_KEYS or pair.command in seen:
            raise FrameError("the table of settings names a setting that there is not, or one twice")
        seen.add(pair.command)
        yield Setting(
            key=SETTING_KEYS[pair.command],
            value=pair.value,
            portable=True,
            raw=(RawRef(attachment=SETTINGS, offset=2 * index + 1, size=1),),
        )
