"""Tables of ZKTeco terminals to neutral records (no I/O).

Raw tables, named as in the archive; absent ones are left out:
`0001-options` lines `name=value` · `0002-firmware` text · `0003-capacity` 80 or 92 bytes · `0004-users` records of 16,
28 or 72 (equal to a user.dat) · `0005-templates` entries (equal to a template.fp10.1) · `0006-zones` 32 bytes each ·
`0007-groups` 8 · `0008-combinations` 8 · `0009-verify` 24 · `0010-attlog` · `0011-oplog` 16 · `0012-attlog-text` lines
of a USB disk. Tables that come with a length word on the wire are kept without it.

The variant may hold: `record_bytes`, `fp_version`, `encoding`, `attlog_bytes`, `clock_offset_s`, and `unsupported`, the
names of tables that were asked for and that the unit does not have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec import UNSET

from lockmigrate.formats import Sections, zk_log
from lockmigrate.formats.zk import Capacity, cut_text, parse_capacity, split_option
from lockmigrate.formats.zk_access import (
    COMBINATION_TABLE,
    GROUP_TABLE,
    VERIFY_BYTES,
    VERIFY_TABLE,
    ZONE_TABLE,
    parse_verify,
    pieces,
)
from lockmigrate.formats.zk_doors import decode_doors, group_styles
from lockmigrate.formats.zk_files import LOG_TEXT, log_entries
from lockmigrate.formats.zk_fit import fitted as fitted
from lockmigrate.formats.zk_fit import with_pin as with_pin
from lockmigrate.formats.zk_people import TEMPLATES as TEMPLATES
from lockmigrate.formats.zk_people import USERS as USERS
from lockmigrate.formats.zk_people import Known, People, decode_people
from lockmigrate.formats.zk_records import (
    NAME_USABLE_BYTES,
    PIN_BYTES,
    Width,
    decode_text,
    split_templates,
    split_users,
    tell_width,
)
from lockmigrate.model.capabilities import (
    Capabilities,
    CredentialCapabilities,
    CredentialCapability,
    NameCapability,
)
from lockmigrate.model.records import Attachment, Coverage, Lock, LogEntry, Loss, RawRef, Setting

OPTIONS: Final = "0001-options"
FIRMWARE: Final = "0002-firmware"
CAPACITY: Final = "0003-capacity"
ATTENDANCE: Final = "0010-attlog"
OPERATIONS: Final = "0011-oplog"
ALL_TABLES: Final = (
    OPTIONS, FIRMWARE, CAPACITY, USERS, TEMPLATES, ZONE_TABLE, GROUP_TABLE, COMBINATION_TABLE, VERIFY_TABLE, ATTENDANCE,
    OPERATIONS,
)  # fmt: skip

PORTABLE_OPTIONS: Final = frozenset({"LockOn"})
"""How long the door stays open: the one option of those that are read that is the door's behaviour (section 5). All
others say what the unit is, or belong to its network."""


def decode(tables: Mapping[str, bytes], variant: Mapping[str, Any]) -> Sections:
    """Decode all tables of one terminal.

    Raises:
        FrameError: a table does not follow its layout.
    """
    options = options_of(tables.get(OPTIONS, b""))
    capacity = parse_capacity(tables[CAPACITY]) if CAPACITY in tables else None
    width = _width(tables, variant, capacity)
    version = fp_version(options, variant)
    people = decode_people(
        tables.get(USERS),
        width,
        tables.get(TEMPLATES),
        Known(
            encoding=variant.get("encoding"),
            fp_version=version,
            modes=verify_modes(tables.get(VERIFY_TABLE, b"")),
            styles=group_styles(tables.get(GROUP_TABLE)),
        ),
    )
    doors = decode_doors(
        tables.get(ZONE_TABLE),
        tables.get(GROUP_TABLE),
        tables.get(COMBINATION_TABLE),
        used_groups=people.groups,
        used_zones=people.zones,
        perhaps_used=people.bit_zones,
    )
    log = _log(tables, variant, capacity)
    coverage, losses = _coverage(tables, variant, capacity, people, log)
    return Sections(
        lock=_lock(tables, options, variant, width, version),
        capabilities=capabilities(capacity, width, version),
        users=tuple(people.users),
        credentials=tuple(people.credentials),
        groups=tuple(doors.groups),
        combinations=tuple(doors.combinations),
        schedules=tuple(doors.schedules),
        log=tuple(log or ()),
        settings=tuple(_settings(tables.get(OPTIONS, b""))),
        coverage=coverage,
        losses=(*people.losses, *losses),
        attachments=tuple(
            Attachment(
                id=name, entry=f"raw/{name}.bin", offset=0, size=len(data), sha256=hashlib.sha256(data).hexdigest()
            )
            for name, data in sorted(tables.items())
        ),
    )


def occupied(tables: Mapping[str, bytes], variant: Mapping[str, Any]) -> frozenset[str] | None:
    """Return the keys of the users and the fingerprints that these tables hold; None if they hold neither table.

    Raises:
        FrameError: a table does not follow its layout.
    """
    if USERS not in tables and TEMPLATES not in tables:
        return None
    keys: set[str] = set()
    if USERS in tables:
        capacity = parse_capacity(tables[CAPACITY]) if CAPACITY in tables else None
        keys |= {f"user/{row.uid}" for row in split_users(tables[USERS], _width(tables, variant, capacity))}
    if TEMPLATES in tables:
        keys |= {f"fingerprint/{entry.uid}.{entry.finger}" for entry in split_templates(tables[TEMPLATES])}
    return frozenset(keys)


def options_of(raw: bytes) -> dict[str, str]:
    """Read the table of options; a value that is no text stands in hex. Lines that are no option are passed over."""
    found: dict[str, str] = {}
    for line in raw.split(b"\n"):
        pair = split_option(line)
        if pair is not None:
            name, value = pair
            found[_text(name)] = _text(value)
    return found


def _text(raw: bytes) -> str:
    text = decode_text(raw).text
    return raw.hex() if text is None else text


def fp_version(options: Mapping[str, str], variant: Mapping[str, Any]) -> int | None:
    """Return the generation of templates: what the unit says, else what is known beforehand, else None."""
    said = options.get("~ZKFPVersion", "").strip()
    if said.isascii() and said.isdigit() and 0 < int(said[:6]) < 1000:
        return int(said[:6])
    known = variant.get("fp_version")
    return known if isinstance(known, int) and not isinstance(known, bool) else None


def verify_modes(table: bytes) -> dict[int, int]:
    """Return the verify mode of each user that was asked.

    Raises:
        FrameError: the table is cut short.
    """
    return dict(parse_verify(raw) for _, raw in pieces(table, VERIFY_BYTES, "verify styles"))


def _width(tables: Mapping[str, bytes], variant: Mapping[str, Any], capacity: Capacity | None) -> Width:
    count = capacity.users if capacity else None
    return tell_width(tables.get(USERS, b""), count=count, hint=variant.get("record_bytes"))


def capabilities(capacity: Capacity | None, width: Width, version: int | None) -> Capabilities:
    """Say what a terminal can hold, as far as its counters and the width of its records tell it."""
    pin = CredentialCapability(
        used=capacity.passwords if capacity else None,
        min_len=1,
        max_len=PIN_BYTES[width],
        alphabet="0123456789",
        readback="full",
        writable="data",
    )
    card = CredentialCapability(readback="full", writable="data")
    fingerprint = CredentialCapability(
        slots=capacity.template_slots if capacity else None,
        used=capacity.templates if capacity else None,
        readback="full",
        writable="data",
        template_formats=(f"zk/zkfinger/{version}",) if version is not None else (),
    )
    face = None
    if capacity is not None and (capacity.faces or capacity.face_slots):
        face = CredentialCapability(slots=capacity.face_slots, used=capacity.faces, writable="enrol_only")
    return Capabilities(
        basis="unit" if capacity else "profile",
        user_records=True,
        number_of_total_users_supported=capacity.user_slots if capacity else None,
        name=NameCapability(max_bytes=NAME_USABLE_BYTES[width], encodings=("utf-8", "gbk")),
        credentials=CredentialCapabilities(
            pin=pin, card=None if width == 16 else card, fingerprint=fingerprint, face=face
        ),
    )


def _lock(
    tables: Mapping[str, bytes],
    options: Mapping[str, str],
    variant: Mapping[str, Any],
    width: Width,
    version: int | None,
) -> Lock:
    offset = variant.get("clock_offset_s")
    return Lock(
        family="zk",
        model=options.get("~DeviceName") or None,
        serial=options.get("~SerialNumber") or None,
        address=options.get("MAC") or None,
        hardware_rev=options.get("~Platform") or None,
        firmware_rev=_text(cut_text(tables.get(FIRMWARE, b""))) or None,
        protocol={"name": "zk", "record_bytes": width, "fp_version": version},
        clock_offset_s=offset if isinstance(offset, int) else UNSET,
    )


def _settings(raw: bytes) -> Iterable[Setting]:
    """Options that are settings; names that begin with `~` are facts and stand in `lock` and `capabilities`."""
    at = 0
    seen: set[str] = set()
    for line in raw.split(b"\n"):
        pair = split_option(line)
        if pair is not None and not pair[0].startswith(b"~"):
            name, value = _text(pair[0]), _text(pair[1])
            if name not in seen:
                seen.add(name)
                yield Setting(
                    key=f"setting/zk.{name}",
                    value=value,
                    portable=name in PORTABLE_OPTIONS,
                    device_bound=name not in PORTABLE_OPTIONS,
                    raw=(RawRef(attachment=OPTIONS, offset=at, size=len(line)),),
                )
        at += len(line) + 1


def _log(tables: Mapping[str, bytes], variant: Mapping[str, Any], capacity: Capacity | None) -> list[LogEntry] | None:
    """Return the lines of the attendance log; None where there is no table, or none whose lines we can tell apart."""
    if ATTENDANCE not in tables:
        return log_entries(tables[LOG_TEXT])[0] if LOG_TEXT in tables else None
    body = tables[ATTENDANCE]
    width = zk_log.tell_width(body, count=capacity.attendance if capacity else None, hint=variant.get("attlog_bytes"))
    return list(zk_log.entries(body, width)) if width is not None else None


def _coverage(
    tables: Mapping[str, bytes],
    variant: Mapping[str, Any],
    capacity: Capacity | None,
    people: People,
    log: list[LogEntry] | None,
) -> tuple[dict[str, Coverage], list[Loss]]:
    absent = variant.get("unsupported")
    unsupported = set(absent) if isinstance(absent, list | tuple) else set()
    losses: list[Loss] = []

    def judged(name: str, counted: int | None, read: int | None, record: str, what: str) -> Coverage:
        if name not in tables:
            if name in unsupported:
                return Coverage(state="unsupported", why="the terminal does not give this table")
            return Coverage(state="not_asked", device_count=counted)
        if read is None:
            losses.append(
                Loss(record=record, stage="read", code="log", detail="its lines have no length that is known")
            )
            return Coverage(state="partial", device_count=counted)
        if counted is not None and counted != read:
            detail = f"the terminal counts {counted} {what}, its table holds {read}"
            losses.append(Loss(record=record, stage="read", code="count-differs", detail=detail))
        fell_short = counted is not None and counted > read
        return Coverage(state="partial" if fell_short else "full", device_count=counted, read_count=read)

    fingers = sum(1 for item in people.credentials if item.credential_type == "Fingerprint")
    whole = {
        name: "full" if name in tables else "unsupported" if name in unsupported else "not_asked" for name in ALL_TABLES
    }
    access = [whole[name] for name in (ZONE_TABLE, GROUP_TABLE, COMBINATION_TABLE)]
    state: Any = access[0] if len(set(access)) == 1 else "partial" if "not_asked" in access else "full"
    return {
        "users": judged(USERS, capacity.users if capacity else None, len(people.users), "users", "users"),
        "credentials": judged(
            TEMPLATES, capacity.templates if capacity else None, fingers, "fingerprints", "templates"
        ),
        "settings": Coverage(state="full" if OPTIONS in tables else "not_asked"),
        "schedules": Coverage(state=state),
        "log": judged(
            LOG_TEXT if LOG_TEXT in tables else ATTENDANCE,
            capacity.attendance if capacity else None,
            None if log is None else len(log),
            "log",
            "lines",
        ),
    }, losses
