"""Users of a ZKTeco terminal and what opens for them, as neutral records (no I/O).

Everything hangs on the unit's own number (uid). A number that two records claim makes both of them, and the templates
of that number, ambiguous: all are kept, none is chosen.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from msgspec import UNSET, UnsetType

from lockmigrate.formats.zk_access import RULES, STYLE_MASK
from lockmigrate.formats.zk_records import (
    DISABLED_BIT,
    FLAG_DURESS,
    FLAG_INVALID,
    PRIVILEGES,
    Row,
    Row16,
    Row28,
    Row72,
    Template,
    Width,
    card_of,
    cut_text,
    decode_text,
    external_id_of,
    follows_v10,
    password_of,
    rights_of,
    split_templates,
    split_users,
)
from lockmigrate.model.records import CardData, Credential, Loss, PinData, RawRef, TemplateData, User
from lockmigrate.model.secret import Secret

USERS: Final = "0004-users"
TEMPLATES: Final = "0005-templates"
PASSWORD_OFFSET: Final = 3
CARD_AT: Final[Mapping[int, tuple[int, int]]] = {28: (16, 5), 72: (35, 4)}
"""Width of a record to (offset, size) of its card."""
TAIL_AT: Final[Mapping[int, tuple[int, int]]] = {28: (21, 3), 72: (39, 9)}
"""The same of what says where and when: group, flag and zones, or group and zone bits (neutral-format 8 and 9)."""
Rule = Literal["Single", "Dual", "Tri"]


@dataclass(slots=True)
class People:
    """What the tables of users and templates say."""

    users: list[User] = field(default_factory=list)
    credentials: list[Credential] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    groups: set[int] = field(default_factory=set)
    """Numbers of groups that users refer to."""
    zones: set[int] = field(default_factory=set)
    """Numbers of time zones that users refer to."""
    bit_zones: set[int] = field(default_factory=set)
    """Numbers that zone bits of 28-byte records may mean: bit 0 read as zone 1, which is unconfirmed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the other tables say about users."""

    encoding: str | None = None
    fp_version: int | None = None
    modes: Mapping[int, int] = field(default_factory=dict)
    """Number to verify mode, where it was read."""
    styles: Mapping[int, int] = field(default_factory=dict)
    """Number of a group to its verify style, where it was read."""


def decode_people(body: bytes | None, width: Width, templates: bytes | None, known: Known) -> People:
    """Decode users and templates; either table may be absent.

    Raises:
        FrameError: a table does not follow its layout.
    """
    found = People()
    rows = split_users(body, width) if body is not None else []
    keys = _keys([row.uid for row in rows], "user")
    twice = {uid for uid, times in Counter(row.uid for row in rows).items() if times > 1}
    owners: dict[int, User] = {}
    for index, (row, key) in enumerate(zip(rows, keys, strict=True)):
        raw = body[index * width : (index + 1) * width] if body is not None else b""
        user = _user(row, key, raw, index * width, width, known, ambiguous=row.uid in twice)
        owners.setdefault(row.uid, user)
        found.users.append(user)
        found.credentials += _pin_and_card(row, user, index * width, width, ambiguous=row.uid in twice)
        _note_references(found, row)
    found.losses += _doubled(rows, keys, twice)
    if templates is not None:
        _add_fingerprints(found, templates, known, owners if body is not None else None, twice)
    return found


def _keys(numbers: Iterable[int | str], kind: str) -> list[str]:
    """Number to key; the second record of a number gets `~2`, and so on."""
    seen: dict[int | str, int] = {}
    keys = []
    for number in numbers:
        times = seen[number] = seen.get(number, 0) + 1
        keys.append(f"{kind}/{number}" if times == 1 else f"{kind}/{number}~{times}")
    return keys


def _user(row: Row, key: str, raw: bytes, offset: int, width: Width, known: Known, *, ambiguous: bool) -> User:
    rights = rights_of(row)
    name = decode_text(row.name, known.encoding)
    vendor: dict[str, Any] = {"record_bytes": width}
    if width in TAIL_AT:
        at, size = TAIL_AT[width]
        vendor["tail"] = raw[at : at + size].hex()
    schedules: tuple[str, ...] | UnsetType | None = UNSET
    if isinstance(row, Row72):
        zones = [row.tz1, row.tz2, row.tz3]
        vendor |= {"own_tz": row.own_tz, "zones": zones}
        schedules = tuple(dict.fromkeys(f"schedule/{zone}" for zone in zones if zone)) if row.own_tz else None
        if external_id_of(row) is None and cut_text(row.user_id):
            vendor["user_id_raw"] = cut_text(row.user_id).hex()
    elif isinstance(row, Row28):
        vendor["tz_bits"] = row.tz_bits  # bit flags by the 2006 manual; what each bit means is unconfirmed
        schedules = UNSET if row.tz_bits else None
    mode = known.modes.get(row.uid)
    if mode is not None:
        vendor["verify_mode"] = mode
    if rights & ~DISABLED_BIT not in PRIVILEGES:
        vendor["privilege"] = row.privilege
    if ambiguous:
        vendor["ambiguous"] = True
    return User(
        key=key,
        origin={"user_index": row.uid},
        user_name=name.text or None,
        user_name_raw=cut_text(row.name).hex(),
        user_name_encoding=name.encoding,
        user_status="OccupiedDisabled" if rights & DISABLED_BIT else "OccupiedEnabled",
        credential_rule=_rule(row, mode, known.styles),
        privilege=PRIVILEGES.get(rights & ~DISABLED_BIT),  # type: ignore[arg-type]  # the table's values are those words
        external_id=external_id_of(row),
        group=UNSET if isinstance(row, Row16) else f"group/{row.group}",
        schedules=schedules,
        raw=(RawRef(attachment=USERS, offset=offset, size=width),),
        vendor={"zk": vendor},
    )


def _rule(row: Row, mode: int | None, styles: Mapping[int, int]) -> Rule | UnsetType:
    if mode:
        style: int | None = mode & STYLE_MASK
    elif isinstance(row, Row16):
        style = None
    else:
        style = styles.get(row.group)
        style = None if style is None else style & STYLE_MASK
    return RULES.get(style, UNSET) if style is not None else UNSET


def _pin_and_card(row: Row, user: User, offset: int, width: Width, *, ambiguous: bool) -> Iterable[Credential]:
    disabled = user.user_status == "OccupiedDisabled"
    status: Literal["enabled", "disabled"] = "disabled" if disabled else "enabled"
    number = user.key.partition("/")[2]
    vendor: dict[str, Any] = {"zk": {"ambiguous": True}} if ambiguous else {}
    password = password_of(row)
    if password:
        text = password.decode("ascii") if password.isascii() and password.decode("ascii").isprintable() else None
        yield Credential(
            key=f"pin/{number}",
            origin={"user_index": row.uid},
            credential_type="PIN",
            user=user.key,
            status=status,
            data_state="present_unreadable" if text is None else "known",
            data=None if text is None else PinData(digits=Secret(text)),
            raw=(RawRef(attachment=USERS, offset=offset + PASSWORD_OFFSET, size=len(row.password)),),
            vendor=vendor,
        )
    if card_of(row):
        at, size = CARD_AT[width]
        yield Credential(
            key=f"card/{number}",
            origin={"user_index": row.uid},
            credential_type="RFID",
            user=user.key,
            status=status,
            data=CardData(number=Secret(str(card_of(row)))),
            raw=(RawRef(attachment=USERS, offset=offset + at, size=size),),
            vendor=vendor,
        )


def _note_references(found: People, row: Row) -> None:
    if isinstance(row, Row16):
        return
    found.groups.add(row.group)
    if isinstance(row, Row28):
        found.bit_zones |= {bit + 1 for bit in range(16) if row.tz_bits >> bit & 1}
    elif row.own_tz:
        found.zones |= {zone for zone in (row.tz1, row.tz2, row.tz3) if zone}


def _doubled(rows: list[Row], keys: list[str], twice: set[int]) -> Iterable[Loss]:
    ids: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        if row.uid in twice:
            yield Loss(
                record=keys[index], stage="read", code="uid-duplicate", detail=f"several records claim number {row.uid}"
            )
        name = external_id_of(row)
        if name is not None:
            ids.setdefault(name, []).append(index)
    for places in ids.values():
        numbers = sorted({rows[index].uid for index in places})
        if len(numbers) > 1:
            listed = ", ".join(map(str, numbers[:5])) + (" …" if len(numbers) > 5 else "")
            for index in places:
                yield Loss(
                    record=keys[index],
                    stage="read",
                    code="user-id-duplicate",
                    field="external_id",
                    detail=f"one user id stands under the numbers {listed}",
                )


# ---- fingerprints ---------------------------------------------------------------------------------------------------


def format_id(fp_version: int | None, template: bytes) -> str:
    """Build the id of a template's format (neutral-format 6.4)."""
    if fp_version is not None:
        return f"zk/zkfinger/{fp_version}"
    return f"unknown/{hashlib.sha256(template[:8]).hexdigest()[:8]}/{len(template)}"


def _add_fingerprints(
    found: People, body: bytes, known: Known, owners: Mapping[int, User] | None, twice: set[int]
) -> None:
    entries = split_templates(body)
    names = [f"{entry.uid}.{entry.finger}" for entry in entries]
    keys = _keys(names, "fingerprint")
    doubled = {name for name, times in Counter(names).items() if times > 1}
    for entry, name, key in zip(entries, names, keys, strict=True):
        owner = owners.get(entry.uid) if owners is not None else None
        if owners is not None and owner is None:
            found.losses.append(
                Loss(record=key, stage="read", code="user-missing", detail=f"no user has the number {entry.uid}")
            )
        if name in doubled or entry.uid in twice:
            found.losses.append(
                Loss(
                    record=key,
                    stage="read",
                    code="uid-duplicate",
                    detail=f"several records claim finger {entry.finger} of number {entry.uid}"
                    if name in doubled
                    else f"several users claim number {entry.uid}",
                )
            )
        if not entry.size:
            found.losses.append(Loss(record=key, stage="read", code="template-unreadable", detail="the entry is empty"))
        user = f"user/{entry.uid}" if owners is None else owner.key if owner else None
        disabled = owner is not None and owner.user_status == "OccupiedDisabled"
        found.credentials.append(
            _fingerprint(
                body, entry, key, user, known, disabled=disabled, ambiguous=name in doubled or entry.uid in twice
            )
        )


def _fingerprint(
    body: bytes, entry: Template, key: str, user: str | None, known: Known, *, disabled: bool, ambiguous: bool
) -> Credential:
    template = body[entry.offset : entry.offset + entry.size]
    ref = RawRef(attachment=TEMPLATES, offset=entry.offset, size=entry.size)
    vendor: dict[str, Any] = {"flag": entry.flag}
    if known.fp_version == 10 and template and not follows_v10(template):
        vendor["header"] = "unusual"
    if ambiguous:
        vendor["ambiguous"] = True
    data = None
    if template:
        data = TemplateData(
            template_format=format_id(known.fp_version, template),
            template=ref,
            size=entry.size,
            sha256=hashlib.sha256(template).hexdigest(),
            origin_finger=entry.finger,
        )
    return Credential(
        key=key,
        origin={"user_index": entry.uid, "finger": entry.finger},
        credential_type="Fingerprint",
        user=user,
        status="disabled" if disabled or entry.flag == FLAG_INVALID else "enabled",
        data_state="known" if data else "present_unreadable",
        data=data,
        duress=entry.flag == FLAG_DURESS,
        raw=(ref,) if template else (),
        vendor={"zk": vendor},
    )
