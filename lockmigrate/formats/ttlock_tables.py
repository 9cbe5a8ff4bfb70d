"""Tables of TTLock locks to neutral records (no I/O).

Raw tables, named as in the archive; absent ones are left out. Lists begin with FFFF, each record follows its length
(u16, little endian): `0001-device` lines `name=value` · `0002-features` the feature words · `0003-passcodes` a list
of records without their length byte · `0004-cards`, `0005-fingers` lists of number, start, end · `0006-settings` a
list of command (1) and the answer to its query · `0007-passage` a list of records of 7 · `0008-log` a list of the
record's number (u32, big endian) and the record · `0009-seeds` the pair that generated codes are made from, and when
codes were last reset · `0010-admin-code` digits.

The variant may hold: `address`, `clock_offset_s`, `utc_offset_s`, and `unsupported`, the names of tables that were
asked for and that the lock does not have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec import UNSET

from lockmigrate.errors import FrameError
from lockmigrate.formats import Sections
from lockmigrate.formats.lists import split_list
from lockmigrate.formats.ttlock import FAMILY, Feature, has, parse_features
from lockmigrate.formats.ttlock_fit import differences as differences
from lockmigrate.formats.ttlock_fit import fitted as fitted
from lockmigrate.formats.ttlock_fit import with_pin as with_pin
from lockmigrate.formats.ttlock_log import log_entry
from lockmigrate.formats.ttlock_records import (
    CYCLIC,
    MAX_CODE,
    MIN_CODE,
    ONE_TIME,
    Holder,
    limits_of,
    parse_holder,
    parse_passage,
    parse_passcode,
)
from lockmigrate.formats.ttlock_settings import decode_settings
from lockmigrate.model.capabilities import (
    Capabilities,
    CredentialCapabilities,
    CredentialCapability,
)
from lockmigrate.model.records import (
    AccessKey,
    Attachment,
    CardData,
    Coverage,
    Credential,
    Lock,
    LockSchedule,
    LogEntry,
    Loss,
    PinData,
    RawRef,
    Schedule,
)
from lockmigrate.model.secret import Secret

DEVICE: Final = "0001-device"
FEATURES: Final = "0002-features"
PASSCODES: Final = "0003-passcodes"
CARDS: Final = "0004-cards"
FINGERS: Final = "0005-fingers"
SETTINGS: Final = "0006-settings"
PASSAGE: Final = "0007-passage"
LOG_TABLE: Final = "0008-log"
SEEDS: Final = "0009-seeds"
ADMIN_CODE: Final = "0010-admin-code"
ALL_TABLES: Final = (
    DEVICE, FEATURES, PASSCODES, CARDS, FINGERS, SETTINGS, PASSAGE, LOG_TABLE, SEEDS, ADMIN_CODE,
)  # fmt: skip


def decode(tables: Mapping[str, bytes], variant: Mapping[str, Any]) -> Sections:
    """Decode all tables of one lock.

    Raises:
        FrameError: a table does not follow its layout.
    """
    features = parse_features(tables.get(FEATURES, b""))
    # Where nobody has asked what the lock can do, a limit may lie behind each card all the same.
    weekly = has(features, Feature.CYCLIC_LIMITS) or FEATURES not in tables
    credentials: list[Credential] = []
    schedules: list[Schedule] = []
    for made, limits in (
        _passcodes(tables.get(PASSCODES)),
        _holders(tables.get(CARDS), CARDS, weekly=weekly),
        _holders(tables.get(FINGERS), FINGERS, weekly=weekly),
    ):
        credentials += made
        schedules += limits
    offset = variant.get("utc_offset_s")
    ahead = offset if isinstance(offset, int) else None
    log = [_logged(int.from_bytes(raw[:4], "big"), raw[4:], ahead) for _, raw in _items(tables.get(LOG_TABLE))]
    passage, odd = _passage(tables.get(PASSAGE))
    odd += [item.key for item in credentials if item.status == "unknown"]
    return Sections(
        lock=_lock(tables, variant, features),
        capabilities=capabilities(features, _counts(credentials)),
        credentials=tuple(credentials),
        schedules=tuple(schedules),
        lock_schedules=tuple(passage),
        log=tuple(log),
        settings=tuple(decode_settings(tables.get(SETTINGS), SETTINGS)),
        access_keys=tuple(_admin_code(tables.get(ADMIN_CODE))),
        coverage=_coverage(
            tables, variant, weekly=weekly and any(item.credential_type != "PIN" for item in credentials)
        ),
        losses=tuple(
            Loss(record=key, stage="read", code="no-public-layout", detail="kept as it is; nobody has explained it")
            for key in odd
        ),
        attachments=tuple(
            Attachment(
                id=name, entry=f"raw/{name}.bin", offset=0, size=len(data), sha256=hashlib.sha256(data).hexdigest()
            )
            for name, data in sorted(tables.items())
        ),
    )


def occupied(tables: Mapping[str, bytes], variant: Mapping[str, Any]) -> frozenset[str] | None:
    """Return None: records of these locks have no places, only what they say."""
    del tables, variant
    return None


def capabilities(features: int, counts: Mapping[str, int]) -> Capabilities:
    """Say what a lock can hold; how many of each is not on the wire (section 12)."""
    pin = CredentialCapability(
        used=counts.get("pins"),
        min_len=MIN_CODE,
        max_len=MAX_CODE,
        alphabet="0123456789",
        readback="full",
        writable="data",
        unique="type",
    )
    card = CredentialCapability(used=counts.get("cards"), readback="full", writable="data", unique="type")
    finger = CredentialCapability(used=counts.get("fingerprints"), readback="presence", writable="enrol_only")
    return Capabilities(
        basis="unit",
        credentials=CredentialCapabilities(
            pin=pin if has(features, Feature.PASSCODES) else None,
            card=card if has(features, Feature.CARDS) else None,
            fingerprint=finger if has(features, Feature.FINGERS) else None,
        ),
    )


def _counts(credentials: list[Credential]) -> dict[str, int]:
    names = {"PIN": "pins", "RFID": "cards", "Fingerprint": "fingerprints"}
    counts = dict.fromkeys(names.values(), 0)
    for item in credentials:
        counts[names[item.credential_type]] += 1
    return counts


def _items(table: bytes | None) -> Iterator[tuple[int, bytes]]:
    return split_list(table) if table is not None else iter(())


def _passcodes(table: bytes | None) -> tuple[list[Credential], list[Schedule]]:
    credentials: list[Credential] = []
    schedules: list[Schedule] = []
    for number, (at, raw) in enumerate(_items(table), start=1):
        key, ref = f"pin/{number}", RawRef(attachment=PASSCODES, offset=at, size=len(raw))
        try:
            row = parse_passcode(raw)
        except FrameError:  # of a type of a newer firmware: it costs no other record its place in the backup
            credentials.append(
                Credential(
                    key=key, origin={"list_position": number}, credential_type="PIN", status="unknown",
                    data_state="present_unreadable", raw=(ref,),
                )
            )  # fmt: skip
            continue
        limits = list(_limits(key, ref, row.start, row.end))
        if row.kind == CYCLIC:
            limits.append(_unknown(key, ref, "opaque"))
        facts: dict[str, Any] = {"type": row.kind}
        if row.code != row.original:
            facts["changed"] = True
        if row.rest:
            facts["unexplained_bytes"] = len(row.rest)
        credentials.append(
            Credential(
                key=key,
                origin={"list_position": number},
                credential_type="PIN",
                data=PinData(digits=Secret(row.code)),
                schedules=tuple(item.key for item in limits),
                use_limit=1 if row.kind == ONE_TIME else UNSET,
                raw=(ref,),
                vendor={"ttlock": facts},
            )
        )
        schedules += limits
    return credentials, schedules


def _holders(table: bytes | None, name: str, *, weekly: bool) -> tuple[list[Credential], list[Schedule]]:
    """Cards or fingers. With feature 34 a weekly limit may lie behind each, and nothing reads it back (9.1)."""
    credentials: list[Credential] = []
    schedules: list[Schedule] = []
    seen: set[bytes] = set()
    for number, (at, raw) in enumerate(_items(table), start=1):
        row = parse_holder(raw)
        if row.number in seen:
            raise FrameError("a list of cards or fingers names one of them twice")
        seen.add(row.number)
        finger = name == FINGERS
        key, ref = (
            f"fingerprint/{row.decimal}" if finger else f"card/{number}",
            RawRef(attachment=name, offset=at, size=len(raw)),
        )
        limits = list(_limits(key, ref, row.start, row.end))
        if weekly:
            limits.append(_unknown(key, ref, "unreadable"))
        credentials.append(
            Credential(
                key=key,
                origin={"list_position": number},
                credential_type="Fingerprint" if finger else "RFID",
                data_state="present_unreadable" if finger else "known",
                data=None if finger else _card(row),
                schedules=tuple(item.key for item in limits),
                raw=(ref,),
                vendor={"ttlock": {"number": row.decimal} if finger else {"number_bytes": len(row.number)}},
            )
        )
        schedules += limits
    return credentials, schedules


def _card(row: Holder) -> CardData:
    rule = "u32be" if len(row.number) == 4 else "u64be"
    return CardData(number=Secret(row.decimal), number_rule="u32be" if rule == "u32be" else "u64be")


def _limits(holder: str, ref: RawRef, start: bytes, end: bytes | None) -> Iterator[Schedule]:
    begins, ends, impossible = limits_of(start, end)
    if impossible:
        yield _unknown(holder, ref, "impossible-date")
    elif begins is not None or ends is not None:
        yield Schedule(
            key=f"schedule/{holder}.dates",
            origin={"holder": holder},
            kind="YearDay",
            start_local=begins,
            end_local=ends,
            raw=(ref,),
        )


def _unknown(holder: str, ref: RawRef, why: Any) -> Schedule:
    name = "week" if why != "impossible-date" else "limit"
    return Schedule(key=f"schedule/{holder}.{name}", origin={"holder": holder}, kind="Unknown", why=why, raw=(ref,))


def _logged(number: int, raw: bytes, utc_offset_s: int | None) -> LogEntry:
    try:
        return log_entry(number, raw, utc_offset_s)
    except FrameError:  # one damaged record of the log costs no backup
        return LogEntry(seq=number, time_local=None, vendor={"ttlock": {"cut": len(raw)}})


def _passage(table: bytes | None) -> tuple[list[LockSchedule], list[str]]:
    """Return the times of passage mode, and the keys of records that nobody has explained."""
    found: list[LockSchedule] = []
    odd: list[str] = []
    for number, (at, raw) in enumerate(_items(table), start=1):
        key = f"lock_schedule/passage.{number}"
        try:
            row = parse_passage(raw)
        except FrameError:
            odd.append(key)
            continue
        whole = (row.start, row.end) == ("00:00", "00:00")
        mask = (0x7F if row.day == 0 else 1 << (row.day % 7)) if row.weekly else 0
        found.append(
            LockSchedule(
                key=key,
                origin={"list_position": number},
                kind="Passage",
                days_mask=mask,
                month_days=() if row.weekly else (row.day,),
                start="00:00" if whole else row.start,
                end="24:00" if whole else row.end,
                action="hold-open",
                raw=(RawRef(attachment=PASSAGE, offset=at, size=len(raw)),),
            )
        )
    return found, odd


def _admin_code(table: bytes | None) -> Iterator[AccessKey]:
    if table:
        if not table.isdigit():
            raise FrameError("the administrator's code holds what is no digit")
        ref = RawRef(attachment=ADMIN_CODE, offset=0, size=len(table))
        yield AccessKey(
            key="access_key/ttlock.admin_code", kind="admin", secret=Secret(table.decode("ascii")), raw=(ref,)
        )


def device_lines(raw: bytes) -> dict[str, str]:
    """Read the table of what the lock says it is."""
    pairs = (line.partition("=") for line in raw.decode("utf-8", "replace").splitlines())
    return {name: value for name, found, value in pairs if found}


def _lock(tables: Mapping[str, bytes], variant: Mapping[str, Any], features: int) -> Lock:
    device = device_lines(tables.get(DEVICE, b""))
    offset, address = variant.get("clock_offset_s"), variant.get("address")
    return Lock(
        family=FAMILY,
        model=device.get("model"),
        serial=address if isinstance(address, str) else None,
        address=address if isinstance(address, str) else None,
        hardware_rev=device.get("hardware"),
        firmware_rev=device.get("firmware"),
        protocol={"name": FAMILY, "version": 3, "features": f"{features:x}"},
        clock_offset_s=offset if isinstance(offset, int) else UNSET,
    )


def _coverage(tables: Mapping[str, bytes], variant: Mapping[str, Any], *, weekly: bool) -> dict[str, Coverage]:
    absent = variant.get("unsupported")
    unsupported = set(absent) if isinstance(absent, list | tuple) else set()

    def judged(name: str, what: str) -> Coverage:
        if name in tables:
            return Coverage(state="full", read_count=sum(1 for _ in split_list(tables[name])))
        if name in unsupported:
            return Coverage(state="unsupported", why=f"the lock has no {what}")
        return Coverage(state="not_asked")

    schedules = Coverage(state="full")
    if weekly:
        schedules = Coverage(state="partial", why="no command reads weekly limits of cards and fingers back")
    return {
        "users": Coverage(state="unsupported", why="the lock knows codes, cards and fingers, not people"),
        "passcodes": judged(PASSCODES, "passcodes"),
        "cards": judged(CARDS, "cards"),
        "fingerprints": judged(FINGERS, "fingerprints"),
        "schedules": schedules,
        "lock_schedules": judged(PASSAGE, "passage mode"),
        "settings": judged(SETTINGS, "settings"),
        "log": judged(LOG_TABLE, "log"),
    }
