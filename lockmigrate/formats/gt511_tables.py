"""Tables of the GT-511 and GT-521 modules to neutral records (no I/O).

Raw tables, named as in the archive; absent ones are left out:
`0001-devinfo` the 24 bytes that Open gives · `0002-count` u32 as answered · `0003-settings` u32, the security level,
where the module knows it · `0004-templates` per used id: id u16, size u16, bytes (size 0: the id is used and the module
does not give its template out). All little endian.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from construct import Bytes, GreedyRange, Int16ul, Int32ul, Struct, Tell, Terminated, this

from lockmigrate.errors import FrameError
from lockmigrate.formats import Sections, build, parse
from lockmigrate.formats.gt511 import TEMPLATE_BYTES
from lockmigrate.model.capabilities import Capabilities, CredentialCapabilities, CredentialCapability
from lockmigrate.model.records import Attachment, Coverage, Credential, Lock, Loss, RawRef, Setting, TemplateData

FAMILY: Final = "gt511"
DEVINFO: Final = "0001-devinfo"
COUNT: Final = "0002-count"
SETTINGS: Final = "0003-settings"
TEMPLATES: Final = "0004-templates"
ALL_TABLES: Final = (DEVINFO, COUNT, SETTINGS, TEMPLATES)

_DEVINFO: Final = Struct("firmware" / Int32ul, "iso_area_max" / Int32ul, "serial" / Bytes(16), Terminated)
"""Device information of Open, [C3]."""
_NUMBER: Final = Struct("number" / Int32ul, Terminated)
_ROW: Final = Struct("slot" / Int16ul, "size" / Int16ul, "at" / Tell, "data" / Bytes(this.size))
_ROWS: Final = Struct("rows" / GreedyRange(_ROW), Terminated)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceInfo:
    """What Open tells."""

    firmware: str
    """The date that the number spells in hexadecimal, `20130410`."""
    iso_area_max: int
    serial: str | None
    """In hexadecimal; None where the unit says nothing but zeros."""


def parse_devinfo(raw: bytes) -> DeviceInfo:
    """Read the device information.

    Raises:
        FrameError: not 24 bytes.
    """
    found = parse(_DEVINFO, raw, "the device information")
    told = any(found.serial) and found.serial != b"\xff" * 16
    return DeviceInfo(
        firmware=f"{found.firmware:08x}",
        iso_area_max=found.iso_area_max,
        serial=found.serial.hex() if told else None,
    )


def format_id(model: str | None, firmware: str | None, size: int = TEMPLATE_BYTES) -> str:
    """Build the id of the template format: `gt511/gt511-511c3/20130410/498`.

    The first two parts up to the hyphen are equal for all models, so that between two of them, or between two
    firmwares, a person is asked: that their templates fit one another is unconfirmed, and not excluded either.

    Args:
        model: name of the profile, `gt-511c3`; None or `gt511` where the model is not known.
        firmware: its date; None where the unit tells none, `*` where a profile speaks and there is no unit.
        size: bytes of a template.
    """
    word = (model or FAMILY).removeprefix("gt-").replace("/", "_")
    owner = FAMILY if word == FAMILY else f"{FAMILY}-{word}"
    return f"{FAMILY}/{owner}/{firmware or '-'}/{size}"


def split_templates(raw: bytes) -> list[tuple[int, int, int]]:
    """Return (id, offset of the bytes, size) for each template of the table.

    Raises:
        FrameError: the table is cut short or names an id twice.
    """
    try:
        rows = [(row.slot, row.at, row.size) for row in parse(_ROWS, raw, "the table of templates").rows]
    except FrameError:  # which carries the bytes that it complains about: here, people's fingers
        raise FrameError("the table of templates is cut short") from None
    if len({slot for slot, _, _ in rows}) != len(rows):
        raise FrameError("the table of templates names an id twice")
    return rows


def join_templates(templates: Iterable[tuple[int, bytes]]) -> bytes:
    """Build the table of templates from (id, bytes).

    Raises:
        FrameError: an id or a size does not fit its field.
    """
    rows = [{"slot": slot, "size": len(data), "data": data} for slot, data in templates]
    return build(_ROWS, {"rows": rows}, "the table of templates")


def decode(tables: Mapping[str, bytes], variant: Mapping[str, Any]) -> Sections:
    """Decode all tables of one module; of `variant` the keys `model` and `slots` count.

    Raises:
        FrameError: a table does not follow its layout.
    """
    info = parse_devinfo(tables[DEVINFO]) if DEVINFO in tables else None
    firmware = info.firmware if info else None
    count = parse(_NUMBER, tables[COUNT], "the count").number if COUNT in tables else None
    rows = split_templates(tables.get(TEMPLATES, b""))
    model = variant["model"] if isinstance(variant.get("model"), str) else None
    slots = variant["slots"] if isinstance(variant.get("slots"), int) else None
    credentials, losses = _fingerprints(tables.get(TEMPLATES, b""), rows, model, firmware)
    read = sum(1 for _, _, size in rows if size)
    # Whichever names more: what is missing is not passed over, and what is too many is not hidden by a full score.
    expected = None if count is None else max(count, len(rows))
    whole = read == len(rows) and count in (None, len(rows))
    fingerprint = CredentialCapability(
        slots=slots,
        used=len(rows) if TEMPLATES in tables else count,
        first_slot=0,
        readback="full",
        writable="data",
        template_formats=(format_id(model, firmware),),
        template_size_bytes=TEMPLATE_BYTES,
    )
    return Sections(
        lock=Lock(
            family=FAMILY, serial=info.serial if info else None, firmware_rev=firmware, protocol={"name": FAMILY}
        ),
        capabilities=Capabilities(
            basis="unit" if slots else "profile",
            credentials=CredentialCapabilities(fingerprint=fingerprint),
        ),
        credentials=tuple(credentials),
        settings=tuple(_settings(tables)),
        coverage={
            "users": Coverage(state="unsupported", why="the module knows ids, not people"),
            "credentials": Coverage(
                state="full" if whole else "partial",
                device_count=expected,
                read_count=read,
                why=None if count in (None, len(rows)) else "the module's count and what answered differ",
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
    """Return None: these modules keep a count and no list, only asking every id tells which are used."""
    del tables, variant
    return None


def _fingerprints(
    raw: bytes, rows: list[tuple[int, int, int]], model: str | None, firmware: str | None
) -> tuple[list[Credential], list[Loss]]:
    credentials, losses = [], []
    for slot, offset, size in rows:
        key = f"fingerprint/{slot}"
        ref = RawRef(attachment=TEMPLATES, offset=offset, size=size)
        data = None
        if size:
            data = TemplateData(
                template_format=format_id(model, firmware, size),
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
                origin={"credential_index": slot},
                credential_type="Fingerprint",
                data_state="known" if size else "present_unreadable",
                data=data,
                raw=(ref,) if size else (),
            )
        )
    return credentials, losses


def _settings(tables: Mapping[str, bytes]) -> Iterable[Setting]:
    if SETTINGS in tables:
        level = parse(_NUMBER, tables[SETTINGS], "the security level").number
        yield Setting(
            key="setting/gt511.security_level",
            value=level,
            portable=True,
            raw=(RawRef(attachment=SETTINGS, offset=0, size=4),),
        )
