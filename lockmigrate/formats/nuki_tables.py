"""Tables of Nuki locks to neutral records (no I/O).

Raw tables, named as in the archive; absent ones are left out:
`0001-device` lines `name=value` of the Device Information service · `0002-config` payload of Config · `0003-advanced`
payload of Advanced Config · `0004-update-count` one byte · `0005-battery` payload of Battery Report · lists (the number
that the lock announced as u16, FFFF for none, then each payload after its length as u16): `0006-authorisations`,
`0007-codes`, `0008-fingerprints`, `0009-timers`, `0010-log`.

The variant may hold: `generation` (`1-4`, `5`, `opener`), `code_slots`, `fingerprint_slots`, `clock_offset_s`,
`address`, and `unsupported`, the names of tables that were asked for and that the lock does not have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from msgspec import UNSET

from lockmigrate.errors import FrameError
from lockmigrate.formats import Sections, parse
from lockmigrate.formats.nuki import FAMILY
from lockmigrate.formats.nuki_config import (
    ADVANCED,
    CONFIG,
    TOTAL_DEGREES_BYTES,
    Facts,
    Field,
    parse_facts,
    time_zone,
    values_of,
)
from lockmigrate.formats.nuki_fit import differences as differences
from lockmigrate.formats.nuki_fit import fitted as fitted
from lockmigrate.formats.nuki_fit import with_pin as with_pin
from lockmigrate.formats.nuki_log import log_entry
from lockmigrate.formats.nuki_records import (
    FINGERPRINT,
    ID_TYPES,
    PERSON,
    CodeRow,
    announced_of,
    neutral_days,
    parse_code,
    parse_date,
    parse_tail,
    parse_timer,
    split_list,
    text_of,
)
from lockmigrate.model.capabilities import (
    Capabilities,
    CredentialCapabilities,
    CredentialCapability,
    NameCapability,
)
from lockmigrate.model.records import (
    AppKeyData,
    Attachment,
    Coverage,
    Credential,
    Lock,
    LockSchedule,
    PinData,
    RawRef,
    Schedule,
    Setting,
)
from lockmigrate.model.secret import Secret

DEVICE: Final = "0001-device"
CONFIG_TABLE: Final = "0002-config"
ADVANCED_TABLE: Final = "0003-advanced"
UPDATE_COUNT: Final = "0004-update-count"
BATTERY: Final = "0005-battery"
PEOPLE: Final = "0006-authorisations"
CODES: Final = "0007-codes"
FINGERPRINTS: Final = "0008-fingerprints"
TIMERS: Final = "0009-timers"
LOG_TABLE: Final = "0010-log"
ALL_TABLES: Final = (
    DEVICE, CONFIG_TABLE, ADVANCED_TABLE, UPDATE_COUNT, BATTERY, PEOPLE, CODES, FINGERPRINTS, TIMERS, LOG_TABLE,
)  # fmt: skip
DIGITS: Final = 6
ALPHABET: Final = "123456789"
FORBIDDEN_PREFIXES: Final = ("12",)
"""A keypad code (section 11)."""
ACTIONS: Final = {
    1: "unlock", 2: "lock", 3: "unlatch", 4: "lock-n-go", 5: "lock-n-go-with-unlatch", 6: "full-lock",
}  # fmt: skip
"""Lock actions (10.1)."""


def decode(tables: Mapping[str, bytes], variant: Mapping[str, Any]) -> Sections:
    """Decode all tables of one lock.

    Raises:
        FrameError: a table does not follow its layout.
    """
    facts = parse_facts(tables[CONFIG_TABLE]) if CONFIG_TABLE in tables else None
    opener = variant.get("generation") == "opener"
    credentials: list[Credential] = []
    schedules: list[Schedule] = []
    for made, limits in (_codes(tables.get(CODES)), _people(tables.get(PEOPLE))):
        credentials += made
        schedules += limits
    credentials += _fingerprints(tables.get(FINGERPRINTS), {item.key for item in credentials})
    log = [log_entry(raw) for _, raw in split_list(tables[LOG_TABLE])] if LOG_TABLE in tables else []
    return Sections(
        lock=_lock(tables, facts, variant),
        capabilities=capabilities(variant, len([item for item in credentials if item.credential_type == "PIN"])),
        credentials=tuple(credentials),
        schedules=tuple(schedules),
        lock_schedules=tuple(_timers(tables.get(TIMERS))),
        log=tuple(log),
        settings=() if opener else tuple(_settings(tables)),
        coverage=_coverage(tables, variant),
        attachments=tuple(
            Attachment(
                id=name, entry=f"raw/{name}.bin", offset=0, size=len(data), sha256=hashlib.sha256(data).hexdigest()
            )
            for name, data in sorted(tables.items())
        ),
    )


def occupied(tables: Mapping[str, bytes], variant: Mapping[str, Any]) -> frozenset[str] | None:
    """Return None: a new lock numbers its codes itself, so that its numbers say nothing about those of a backup."""
    del tables, variant
    return None


def capabilities(variant: Mapping[str, Any], used: int | None) -> Capabilities:
    """Say what a lock can hold; how many codes is the profile's word (section 11)."""
    slots, fingers = (
        value if isinstance(value := variant.get(name), int) else None for name in ("code_slots", "fingerprint_slots")
    )
    return Capabilities(
        basis="profile",
        name=NameCapability(max_bytes=20, encodings=("utf-8",)),
        credentials=CredentialCapabilities(
            pin=CredentialCapability(
                slots=slots,
                used=used,
                min_len=DIGITS,
                max_len=DIGITS,
                alphabet=ALPHABET,
                forbidden_prefixes=FORBIDDEN_PREFIXES,
                readback="full",
                writable="none" if variant.get("generation") == "opener" else "data",
                unique="type",
            ),
            fingerprint=CredentialCapability(slots=fingers, readback="presence", writable="enrol_only"),
        ),
    )


def code_rows(table: bytes) -> Iterator[CodeRow]:
    """Yield the keypad codes of a table.

    Raises:
        FrameError: the table or an entry does not follow its layout.
    """
    for _, raw in split_list(table):
        yield parse_code(raw)


def key_of(code_id: int) -> str:
    return f"pin/{code_id}"


def _codes(table: bytes | None) -> tuple[list[Credential], list[Schedule]]:
    credentials, schedules = [], []
    for at, raw in split_list(table) if table is not None else ():
        row = parse_code(raw)
        key, ref = key_of(row.code_id), RawRef(attachment=CODES, offset=at, size=len(raw))
        limits = list(_limits(row.limited, row.tail, key, ref))
        credentials.append(
            Credential(
                key=key,
                origin={"code_id": row.code_id},
                credential_type="PIN",
                status="enabled" if row.enabled else "disabled",
                data=PinData(digits=Secret(row.digits)),
                schedules=tuple(item.key for item in limits),
                name=text_of(row.name),
                raw=(ref,),
                vendor={"nuki": _history(row.created, row.last_active, row.lock_count)},
            )
        )
        schedules += limits
    _all_different(credentials, "keypad codes")
    return credentials, schedules


def _people(table: bytes | None) -> tuple[list[Credential], list[Schedule]]:
    credentials: list[Credential] = []
    schedules: list[Schedule] = []
    for at, raw in split_list(table) if table is not None else ():
        row = parse(PERSON, raw, "an authorisation")
        key, ref = f"app_key/{row.authorization_id}", RawRef(attachment=PEOPLE, offset=at, size=len(raw))
        limits = list(_limits(row.limited != 0, row.tail, key, ref))
        own = not credentials  # the first entry is the caller's (9.2)
        credentials.append(
            Credential(
                key=key,
                origin={"authorization_id": row.authorization_id},
                credential_type="AppKey",
                status="enabled" if row.enabled else "disabled",
                data_state="present_unreadable",
                data=AppKeyData(kind=ID_TYPES.get(row.id_type, "unknown"), remote_allowed=row.remote_allowed != 0),
                schedules=tuple(item.key for item in limits),
                name=text_of(bytes(row.name)),
                raw=(ref,),
                vendor={
                    "nuki": _history(row.created, row.last_active, row.lock_count) | ({"own": True} if own else {})
                },
            )
        )
        schedules += limits
    _all_different(credentials, "authorisations")
    return credentials, schedules


def _fingerprints(table: bytes | None, keys: set[str]) -> Iterator[Credential]:
    for number, (at, raw) in enumerate(split_list(table) if table is not None else ()):
        row = parse(FINGERPRINT, raw, "a fingerprint")
        code = key_of(row.code_id)
        yield Credential(
            key=f"fingerprint/{number}",
            origin={"list_position": number},
            credential_type="Fingerprint",
            status="unknown",
            data_state="present_unreadable",
            name=text_of(bytes(row.name)),
            linked_to=code if code in keys else None,
            raw=(RawRef(attachment=FINGERPRINTS, offset=at, size=len(raw)),),
            vendor={"nuki": {"fingerprint_id": bytes(row.fingerprint_id).hex(), "code_id": row.code_id}},
        )


def _history(created: bytes, last_active: bytes, count: int) -> dict[str, Any]:
    return {"created_utc": parse_date(created), "last_active_utc": parse_date(last_active), "lock_count": count}


def _all_different(records: list[Credential], what: str) -> None:
    if len({item.key for item in records}) != len(records):
        raise FrameError(f"the list of {what} names one of them twice")


def _limits(limited: bool, tail: bytes | None, holder: str, ref: RawRef) -> Iterator[Schedule]:
    """Schedules of one holder: the dates and the week of a time limit both apply."""
    if not limited:
        return
    own = {"holder": holder}
    if tail is None:
        yield Schedule(key=f"schedule/{holder}.limit", origin=own, kind="Unknown", why="unreadable", raw=(ref,))
        return
    limit = parse_tail(tail)
    if limit.impossible:
        yield Schedule(key=f"schedule/{holder}.limit", origin=own, kind="Unknown", why="impossible-date", raw=(ref,))
        return
    if limit.dated:
        yield Schedule(
            key=f"schedule/{holder}.dates",
            origin=own,
            kind="YearDay",
            start_utc=limit.from_utc,
            end_utc=limit.until_utc,
            raw=(ref,),
        )
    if limit.weekly and limit.from_local is not None and limit.until_local is not None:
        known = limit.from_local < limit.until_local  # what a window over midnight means is not published
        yield Schedule(
            key=f"schedule/{holder}.week",
            origin=own,
            kind="WeekDay" if known else "Unknown",
            why=None if known else "opaque",
            days_mask=neutral_days(limit.weekdays),
            start=limit.from_local,
            end=limit.until_local,
            raw=(ref,),
        )
    elif limit.weekly:
        yield Schedule(
            key=f"schedule/{holder}.week",
            origin=own,
            kind="WeekDay",
            days_mask=neutral_days(limit.weekdays),
            start=None,
            end=None,
            raw=(ref,),
        )


def _timers(table: bytes | None) -> Iterator[LockSchedule]:
    seen: set[int] = set()
    for at, raw in split_list(table) if table is not None else ():
        row = parse_timer(raw)
        if row.timer_id in seen:
            raise FrameError("the list of timers names one of them twice")
        seen.add(row.timer_id)
        yield LockSchedule(
            key=f"lock_schedule/{row.timer_id}",
            origin={"timer_id": row.timer_id},
            kind="TimedAction",
            enabled=row.enabled,
            days_mask=neutral_days(row.weekdays),
            start=f"{row.hour:02}:{row.minute:02}",
            action=ACTIONS.get(row.action, f"unknown:{row.action}"),
            raw=(RawRef(attachment=TIMERS, offset=at, size=len(raw)),),
        )


def _settings(tables: Mapping[str, bytes]) -> Iterable[Setting]:
    for name, fields in ((CONFIG_TABLE, CONFIG), (ADVANCED_TABLE, ADVANCED)):
        raw = tables.get(name, b"")
        values = values_of(raw, fields)
        for item in fields:
            if item.name in values:
                yield _setting(
                    item, values[item.name], RawRef(attachment=name, offset=item.at, size=item.end - item.at)
                )
    degrees = tables.get(ADVANCED_TABLE, b"")[:TOTAL_DEGREES_BYTES]
    if len(degrees) == TOTAL_DEGREES_BYTES:
        ref = RawRef(attachment=ADVANCED_TABLE, offset=0, size=TOTAL_DEGREES_BYTES)
        yield _setting(
            Field("total_degrees", "u16", 0, bound=True, unit="degrees"), int.from_bytes(degrees, "little"), ref
        )


def _setting(item: Field, value: int | str, ref: RawRef) -> Setting:
    return Setting(
        key=f"setting/nuki.{item.name}",
        value=value,
        unit=item.unit,
        portable=not item.bound,
        device_bound=item.bound,
        raw=(ref,),
    )


def device_lines(raw: bytes) -> dict[str, str]:
    """Read the table of the Device Information service."""
    pairs = (line.partition("=") for line in raw.decode("utf-8", "replace").splitlines())
    return {name: value for name, found, value in pairs if found}


def _lock(tables: Mapping[str, bytes], facts: Facts | None, variant: Mapping[str, Any]) -> Lock:
    device = device_lines(tables.get(DEVICE, b""))
    offset, address = variant.get("clock_offset_s"), variant.get("address")
    return Lock(
        family=FAMILY,
        serial=f"{facts.nuki_id:08X}" if facts else None,
        address=address if isinstance(address, str) else None,
        hardware_rev=facts.hardware if facts else device.get("hardware"),
        firmware_rev=facts.firmware if facts else device.get("firmware"),
        protocol={"name": FAMILY, "variant": variant.get("generation")},
        lock_name=text_of(facts.name) if facts else UNSET,
        time_zone=time_zone(facts.timezone_id) if facts else UNSET,
        clock_offset_s=offset if isinstance(offset, int) else UNSET,
    )


def _coverage(tables: Mapping[str, bytes], variant: Mapping[str, Any]) -> dict[str, Coverage]:
    absent = variant.get("unsupported")
    unsupported = set(absent) if isinstance(absent, list | tuple) else set()

    def judged(name: str, what: str) -> Coverage:
        if name not in tables:
            if name in unsupported:
                return Coverage(state="unsupported", why=f"the lock does not give out {what}")
            return Coverage(state="not_asked")
        read, told = sum(1 for _ in split_list(tables[name])), announced_of(tables[name])
        # Whether the log's number is that of all entries or of the first page is unconfirmed (section 6).
        whole = told is None or told == read or (name == LOG_TABLE and told < read)
        return Coverage(state="full" if whole else "partial", device_count=told, read_count=read)

    opener = variant.get("generation") == "opener"
    settings = Coverage(state="full" if CONFIG_TABLE in tables and ADVANCED_TABLE in tables else "not_asked")
    if CONFIG_TABLE in tables and ADVANCED_TABLE in unsupported:
        settings = Coverage(state="unsupported", why="the lock has no advanced configuration")
    if opener:
        settings = Coverage(state="unsupported", why="sources disagree about an Opener's configuration; kept as bytes")
    return {
        "users": judged(PEOPLE, "its authorisations"),
        "credentials": judged(CODES, "keypad codes"),
        "fingerprints": judged(FINGERPRINTS, "its list of fingerprints"),
        "lock_schedules": judged(TIMERS, "its timers"),
        "settings": settings,
        "log": judged(LOG_TABLE, "its log"),
    }
