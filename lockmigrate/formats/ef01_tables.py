"""Tables of the 0xEF01 modules to neutral records (no I/O).

Raw tables, named as in the archive (architecture section 3); absent ones are left out:
`0001-sysparams` 16 bytes · `0002-index` 32 bytes a page · `0003-notepad` 32 bytes a page · `0004-prodinfo` ·
`0005-infopage` 512 bytes (secret) · `0006-templates` per occupied slot: slot u16, size u16, bytes (size 0: the slot is
occupied and cannot be read) · `0007-algver`, `0008-fwver`, `0009-chipsn` 32 bytes each · `0010-count` u16.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from construct import Bytes, Construct, GreedyBytes, Int16ub, Int32ub, Struct, Terminated, this

from lockmigrate.errors import FrameError
from lockmigrate.formats import Sections, build, parse
from lockmigrate.formats.ef01 import BAUD_UNIT, NOTEPAD_PAGE_BYTES, Dialect, occupied_slots
from lockmigrate.model.capabilities import Capabilities, CredentialCapabilities, CredentialCapability
from lockmigrate.model.records import (
    AccessKey,
    Attachment,
    Coverage,
    Credential,
    Lock,
    Loss,
    RawRef,
    Setting,
    TemplateData,
)
from lockmigrate.model.secret import Secret

SYSPARAMS: Final = "0001-sysparams"
INDEX: Final = "0002-index"
NOTEPAD: Final = "0003-notepad"
PRODINFO: Final = "0004-prodinfo"
INFOPAGE: Final = "0005-infopage"
TEMPLATES: Final = "0006-templates"
ALGVER: Final = "0007-algver"
FWVER: Final = "0008-fwver"
CHIPSN: Final = "0009-chipsn"
COUNT: Final = "0010-count"
ALL_TABLES: Final = (SYSPARAMS, INDEX, NOTEPAD, PRODINFO, INFOPAGE, TEMPLATES, ALGVER, FWVER, CHIPSN, COUNT)

_CLASSIC: Final = Struct(
    "status" / Int16ub, "system_id" / Int16ub, "slots" / Int16ub, "level" / Int16ub, "address" / Int32ub,
    "packet_code" / Int16ub, "speed" / Int16ub, Terminated,
)  # fmt: skip
"""ReadSysPara, [Z20] 5.5 and [R503]."""
_HILINK: Final = Struct(
    "enrol_times" / Int16ub, "template_size" / Int16ub, "slots" / Int16ub, "level" / Int16ub, "address" / Int32ub,
    "packet_code" / Int16ub, "speed" / Int16ub, Terminated,
)  # fmt: skip
"""ReadSysPara, [HLK] "parameter table"."""
_PRODINFO: Final = Struct(
    "model" / Bytes(16), "batch" / Bytes(4), "serial" / Bytes(8), "hardware" / Bytes(2), "sensor" / Bytes(8),
    "width" / Int16ub, "height" / Int16ub, "template_size" / Int16ub, "slots" / Int16ub, "reserved" / GreedyBytes,
)  # fmt: skip
"""ReadProdInfo, [R503] 1.4.1; four reserved bytes may follow."""
_INFOPAGE: Final = Struct(
    "sysparams" / Bytes(16), "fake_guard" / Int16ub, "sensor_parameter" / Int16ub, "encryption_level" / Int16ub,
    "enrol_logic" / Int16ub, "image_format" / Int16ub, "packet_delay_ms" / Int16ub, "product" / Bytes(8),
    "software" / Bytes(8), "manufacturer" / Bytes(8), "sensor" / Bytes(8), "password" / Bytes(4), "jtag" / Bytes(4),
    "reserved" / Bytes(58), "valid" / Int16ub, "rest" / GreedyBytes,
)  # fmt: skip
"""Parameter table of a Hi-Link module, [HLK]; offsets agree with fingerprint_zw.h in dvb6666/esphome-components."""
TABLE_VALID: Final = 0x1234
TABLE_FIRST_PART: Final = 0x0204
"""Marks at the table's end, [HLK]: all of it is valid, or its first part only."""
_TEMPLATE: Final = Struct("slot" / Int16ub, "size" / Int16ub, "data" / Bytes(this.size))

SYSTEM_IDS: Final = frozenset({0, 2, 3, 7, 9})
"""Values on public record: 0 [Z20] [R503], 9 [Z14] [Z70] [R502A], sensor types of AS60x firmware [LD]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SysParams:
    """ReadSysPara of either dialect; what only the other has is None."""

    dialect: Dialect
    slots: int
    level: int
    address: int
    packet_bytes: int
    baud: int
    system_id: int | None = None
    enrol_times: int | None = None
    template_size: int | None = None


def tell_dialect(raw: bytes) -> Dialect | None:
    """Decide the dialect from ReadSysPara alone; None if neither rule fits (the rules are our inference, unconfirmed).

    Hi-Link has enrol times (1 to 12) and a template size (128 and more) where classic modules have a status register
    and a system id.
    """
    first, second, level = (int.from_bytes(raw[at : at + 2], "big") for at in (0, 2, 6))
    if second >= 0x0080 and 1 <= first <= 12:
        return "hilink"
    if second in SYSTEM_IDS and 1 <= level <= 5:
        return "classic"
    return None


def parse_sysparams(raw: bytes, dialect: Dialect) -> SysParams:
    """Read the 16 bytes of ReadSysPara.

    Raises:
        FrameError: not 16 bytes, or a packet size code that no manual has.
    """
    layout: Construct[Any, Any] = _CLASSIC if dialect == "classic" else _HILINK
    found = parse(layout, raw, "ReadSysPara")
    if found.packet_code > 3:
        raise FrameError(f"packet size code {found.packet_code} does not exist", received=raw)
    return SysParams(
        dialect=dialect,
        slots=found.slots,
        level=found.level,
        address=found.address,
        packet_bytes=32 << found.packet_code,
        baud=BAUD_UNIT * found.speed,
        system_id=found.system_id if dialect == "classic" else None,
        enrol_times=found.enrol_times if dialect == "hilink" else None,
        template_size=found.template_size if dialect == "hilink" else None,
    )


def parse_prodinfo(raw: bytes) -> Any:
    """Read ReadProdInfo; fields as in [R503], texts still as bytes."""
    return parse(_PRODINFO, raw, "the product information")


def parse_infopage(raw: bytes) -> Any:
    """Read the parameter table of a Hi-Link information page."""
    return parse(_INFOPAGE, raw, "the information page")


def text_of(raw: bytes) -> str | None:
    """Return a fixed text field without its padding; what is not printable ASCII is shown as hex, None if empty."""
    body = raw.rstrip(b"\x00 \xff")
    if not body:
        return None
    return body.decode("ascii") if body.isascii() and body.decode("ascii").isprintable() else body.hex()


def split_templates(raw: bytes) -> list[tuple[int, int, int]]:
    """Return (slot, offset of the bytes, size) for each template of the table.

    Raises:
        FrameError: the table is cut short or names a slot twice.
    """
    found: list[tuple[int, int, int]] = []
    at = 0
    while at < len(raw):
        if len(raw) - at < 4:
            raise FrameError("the table of templates is cut short")
        slot, size = int.from_bytes(raw[at : at + 2], "big"), int.from_bytes(raw[at + 2 : at + 4], "big")
        if at + 4 + size > len(raw):
            raise FrameError("the table of templates is cut short")
        found.append((slot, at + 4, size))
        at += 4 + size
    if len({slot for slot, _, _ in found}) != len(found):
        raise FrameError("the table of templates names a slot twice")
    return found


def join_templates(templates: Iterable[tuple[int, bytes]]) -> bytes:
    """Build the table of templates from (slot, bytes)."""
    return b"".join(
        build(_TEMPLATE, {"slot": slot, "size": len(data), "data": data}, "a template") for slot, data in templates
    )


def is_blank(page: bytes) -> bool:
    """A notepad page that holds nothing: all 00 or all FF (decision 28)."""
    return page in (bytes(len(page)), b"\xff" * len(page))


def format_id(params: SysParams | None, algorithm: str | None, size: int | None) -> str:
    """Build the id of the template format (decision 31): `ef01/classic-0000/BYD160/1536`; `?` for an unknown size."""
    if params is None:
        owner = "classic-none"
    elif params.dialect == "hilink":
        owner = "hilink"
    else:
        owner = f"classic-{params.system_id or 0:04X}"
    text = (algorithm or "-").replace("/", "_").replace(" ", "_")
    return f"ef01/{owner}/{text}/{size if size else '?'}"


def occupied(tables: Mapping[str, bytes], variant: Mapping[str, Any]) -> frozenset[str] | None:
    """Return the keys of the slots that the module's own index names; see `lockmigrate.formats.occupied`."""
    del variant
    if INDEX not in tables:
        return None
    return frozenset(f"fingerprint/{slot}" for slot in occupied_slots(tables[INDEX]))


def decode(tables: Mapping[str, bytes], variant: Mapping[str, Any]) -> Sections:
    """Decode all tables of one module.

    Raises:
        FrameError: a table does not follow its layout.
    """
    params = _params(tables, variant)
    info = parse_prodinfo(tables[PRODINFO]) if PRODINFO in tables else None
    page = None
    if INFOPAGE in tables and params and params.dialect == "hilink":
        page = parse_infopage(tables[INFOPAGE])
    algorithm = _algorithm(tables, page)
    rows = split_templates(tables.get(TEMPLATES, b""))
    credentials, losses = _fingerprints(tables.get(TEMPLATES, b""), rows, params, algorithm)
    sizes = [size for _, _, size in rows if size]
    stated = (info.template_size if info else params.template_size if params else None) or None
    slots = params.slots if params else variant.get("slots")
    fingerprint = CredentialCapability(
        slots=slots,
        used=len(rows),
        readback="full",
        writable="data",
        template_formats=(format_id(params, algorithm, sizes[0] if sizes else stated),),
        template_size_bytes=sizes[0] if sizes else stated,
    )
    # The count can be too low where the index is right (R503), and too high where the index is wrong (R551 clones):
    # whichever names more, what is missing is not passed over.
    told = [len(occupied_slots(tables[INDEX]))] if INDEX in tables else []
    told += [int.from_bytes(tables[COUNT], "big")] if COUNT in tables else []
    expected = max([*told, len(rows)]) if told else None
    read = sum(1 for _, _, size in rows if size)
    return Sections(
        lock=_lock(tables, params, info, page),
        capabilities=Capabilities(
            basis="unit" if params else "profile", credentials=CredentialCapabilities(fingerprint=fingerprint)
        ),
        credentials=tuple(credentials),
        settings=tuple(_settings(tables, params, page)),
        access_keys=tuple(_access_keys(tables, page)),
        coverage={
            "users": Coverage(state="unsupported", why="the module knows slots, not people"),
            "credentials": Coverage(
                state="full" if read == (len(rows) if expected is None else expected) else "partial",
                device_count=expected,
                read_count=read,
            ),
            "settings": Coverage(state="full" if params else "unsupported"),
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


def _params(tables: Mapping[str, bytes], variant: Mapping[str, Any]) -> SysParams | None:
    if SYSPARAMS not in tables:
        return None
    raw = tables[SYSPARAMS]
    dialect: Dialect = tell_dialect(raw) or ("hilink" if variant.get("dialect") == "hilink" else "classic")
    return parse_sysparams(raw, dialect)


def _algorithm(tables: Mapping[str, bytes], page: Any) -> str | None:
    if page is not None:
        return text_of(page.software)
    return text_of(tables[ALGVER]) if ALGVER in tables else None


def _lock(tables: Mapping[str, bytes], params: SysParams | None, info: Any, page: Any) -> Lock:
    serial = model = hardware = firmware = None
    if info is not None:
        model, serial = text_of(info.model), text_of(info.serial)
        hardware = f"{info.hardware[0]}.{info.hardware[1]}"
    if FWVER in tables:
        firmware = text_of(tables[FWVER])
    if page is not None:
        model, firmware = text_of(page.product), text_of(page.software)
    if CHIPSN in tables:
        serial = text_of(tables[CHIPSN])
    dialect = params.dialect if params else "classic"
    return Lock(
        family="ef01",
        model=model,
        serial=serial,
        hardware_rev=hardware,
        firmware_rev=firmware,
        protocol={"name": "ef01", "variant": dialect, "system_id": params.system_id if params else None},
    )


def _fingerprints(
    raw: bytes, rows: list[tuple[int, int, int]], params: SysParams | None, algorithm: str | None
) -> tuple[list[Credential], list[Loss]]:
    credentials, losses = [], []
    for slot, offset, size in rows:
        key = f"fingerprint/{slot}"
        ref = RawRef(attachment=TEMPLATES, offset=offset, size=size)
        data = None
        if size:
            data = TemplateData(
                template_format=format_id(params, algorithm, size),
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


def _settings(tables: Mapping[str, bytes], params: SysParams | None, page: Any) -> Iterable[Setting]:
    if params is not None:

        def at(offset: int, size: int) -> tuple[RawRef, ...]:
            return (RawRef(attachment=SYSPARAMS, offset=offset, size=size),)

        yield Setting(key="setting/ef01.security_level", value=params.level, portable=True, raw=at(6, 2))
        yield Setting(key="setting/ef01.address", value=f"{params.address:08x}", device_bound=True, raw=at(8, 4))
        yield Setting(
            key="setting/ef01.packet_size", value=params.packet_bytes, unit="bytes", device_bound=True, raw=at(12, 2)
        )
        yield Setting(key="setting/ef01.baud", value=params.baud, unit="baud", device_bound=True, raw=at(14, 2))
        if params.enrol_times is not None:
            yield Setting(key="setting/ef01.enrol_times", value=params.enrol_times, device_bound=True, raw=at(0, 2))
    if page is not None:
        ref = (RawRef(attachment=INFOPAGE, offset=20, size=2),)
        yield Setting(key="setting/ef01.encryption_level", value=page.encryption_level, device_bound=True, raw=ref)
    pages = tables.get(NOTEPAD, b"")
    if len(pages) % NOTEPAD_PAGE_BYTES:
        raise FrameError("the notepad is cut short")
    for number, at_byte in enumerate(range(0, len(pages), NOTEPAD_PAGE_BYTES)):
        data = pages[at_byte : at_byte + NOTEPAD_PAGE_BYTES]
        if not is_blank(data):
            yield Setting(
                key=f"setting/ef01.notepad.{number}",
                hidden=Secret(data),
                portable=True,
                raw=(RawRef(attachment=NOTEPAD, offset=at_byte, size=NOTEPAD_PAGE_BYTES),),
            )


def _access_keys(tables: Mapping[str, bytes], page: Any) -> Iterable[AccessKey]:
    if page is not None and page.valid == TABLE_VALID:
        ref = RawRef(attachment=INFOPAGE, offset=60, size=4)
        yield AccessKey(key="access_key/ef01.password", kind="password", secret=Secret(page.password), raw=(ref,))
    if INFOPAGE in tables:
        ref = RawRef(attachment=INFOPAGE, offset=0, size=len(tables[INFOPAGE]))
        yield AccessKey(
            key="access_key/ef01.infopage", kind="information-page", secret=Secret(tables[INFOPAGE]), raw=(ref,)
        )
