"""A raw dump (an EEPROM or flash image of a lock's controller) to neutral records, by a profile's `[tables]` (no I/O).

One raw table: `0001-image`, the whole file. What the layout does not explain, a record whose checksum does not hold,
and a slot that two records claim are kept as bytes, told of, and never become something that a restore could write.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast

from lockmigrate.errors import FrameError, ImageError, ProfileError
from lockmigrate.formats import Sections
from lockmigrate.formats.tables_fields import CREDENTIALS, LIMITS
from lockmigrate.formats.tables_layout import ImageLayout, Row, carries_mark, compile_layout, read_rows
from lockmigrate.formats.tables_records import (
    TABLE,
    Marks,
    access_key_of,
    by_role,
    card_of,
    duress_of,
    fact_of,
    is_nothing,
    pin_of,
    ref_of,
    schedule_of,
    setting_of,
    status_of,
    template_of,
    user_of,
    vendor_of,
)
from lockmigrate.formats.tables_schema import MAX_RECORDS, Counter, TableSpec, parse_tables
from lockmigrate.formats.tables_types import MAX_IMAGE_BYTES
from lockmigrate.model.capabilities import Capabilities, CredentialCapabilities, CredentialCapability, NameCapability
from lockmigrate.model.document import Gap
from lockmigrate.model.records import (
    AccessKey,
    Attachment,
    CardData,
    Coverage,
    Credential,
    Lock,
    Loss,
    PinData,
    Schedule,
    Setting,
    TemplateData,
    User,
)

__all__ = [
    "MAX_IMAGE_BYTES",
    "TABLE",
    "Dump",
    "ImageLayout",
    "compile_tables",
    "decode",
    "occupied",
    "read_image",
    "recognises",
]

_ORDER: Final = ("user", "fingerprint", "face", "pin", "card")
"""Users first: the others refer to them."""
Data = TemplateData | PinData | CardData
_TYPES: Final[dict[str, Literal["PIN", "RFID", "Fingerprint", "Face"]]] = {
    "pin": "PIN",
    "card": "RFID",
    "fingerprint": "Fingerprint",
    "face": "Face",
}
_DATA: Final[dict[str, Callable[[Row, Marks], Data | Literal["empty"] | None]]] = {
    "pin": pin_of,
    "card": card_of,
    "fingerprint": template_of,
    "face": template_of,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dump:
    """What a dump gave."""

    sections: Sections
    gaps: tuple[Gap, ...]
    records: int
    """Records that are not empty, damaged ones included."""
    damaged: int
    marked: int
    """Records with something that the profile does not explain."""


def compile_tables(tables: Any) -> ImageLayout:
    """Check a profile's `[tables]` and compile it to construct.

    Raises:
        ProfileError: something is wrong with it; the message begins with the dotted path, the hint names more faults.
    """
    spec, problems = parse_tables(tables)
    if spec is None:
        raise ProfileError(problems[0], hint="; ".join(problems[1:4]) or None)
    return compile_layout(spec)


def recognises(layout: ImageLayout, data: bytes) -> bool:
    """Tell whether a dump carries every mark of a layout; one without marks recognises nothing."""
    return carries_mark(layout.spec, data)


def occupied(tables: Mapping[str, bytes], variant: Mapping[str, Any]) -> frozenset[str] | None:
    """A dump has no list of its own beside its records; see `lockmigrate.formats.occupied`."""
    del tables, variant
    return None


def decode(tables: Mapping[str, bytes], variant: Mapping[str, Any]) -> Sections:
    """Decode a dump; `variant["tables"]` is the profile's layout.

    Raises:
        FrameError: the dump does not follow the layout, or the layout is none.
    """
    try:
        layout = compile_tables(variant.get("tables"))
        if TABLE not in tables:
            return Sections(lock=Lock(family="image", protocol={"name": "image"}), capabilities=Capabilities())
        return read_image(layout, tables[TABLE]).sections
    except (ImageError, ProfileError) as error:
        raise FrameError(error.message) from None


def read_image(layout: ImageLayout, data: bytes) -> Dump:
    """Read a dump.

    Raises:
        ImageError: it is too large, cut, damaged, or of another kind.
    """
    return _Reader(layout, data).read()


@dataclass(slots=True)
class _Reader:
    """Works out the records of one dump."""

    layout: ImageLayout
    data: bytes = field(repr=False)
    users: dict[int, User] = field(default_factory=dict, repr=False)
    credentials: list[Credential] = field(default_factory=list, repr=False)
    schedules: dict[str, Schedule] = field(default_factory=dict, repr=False)
    settings: list[Setting] = field(default_factory=list, repr=False)
    keys: list[AccessKey] = field(default_factory=list, repr=False)
    facts: dict[str, str | None] = field(default_factory=dict)
    losses: list[Loss] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    marked: set[tuple[str, int]] = field(default_factory=set)
    gave: set[tuple[str, int]] = field(default_factory=set)
    """Records from which something came."""
    uncounted: list[TableSpec] = field(default_factory=list)
    """Tables whose counter lies in a damaged record."""
    doubted: set[tuple[str, int]] = field(default_factory=set)
    """Records whose number another one claims too."""

    def read(self) -> Dump:
        rows = read_rows(self.layout, self.data)
        good = [row for row in rows if row.intact]
        bad = [row for row in rows if not row.intact]
        for row in bad:
            self._damaged(row)
        for table in self.layout.spec.tables:
            self._uncounted(table, bad)
        people = [row for row in good if row.table.kinds != ("setting",)]
        claims: dict[tuple[str, int], list[Row]] = {}
        for row in people:
            slot = row.slot()
            if slot >= MAX_RECORDS:
                raise ImageError(f'record {row.index} of "{row.table.name}" would have slot {slot}, above 65535')
            for kind in row.table.kinds:
                claims.setdefault((kind, slot), []).append(row)
        for kind, slot in sorted(claims, key=lambda claim: (_ORDER.index(claim[0]), claim[1])):
            rivals = claims[kind, slot]
            if len(rivals) > 1 and kind != "user":
                rivals = [row for row in rivals if _DATA[kind](row, Marks()) != "empty"]
            if rivals:
                self._claimed(kind, slot, rivals)
        for row in good:
            if row.table.kinds == ("setting",):
                self._settings(row)
            elif (row.table.name, row.index) not in self.gave:
                kinds = " or ".join(row.table.kinds)
                self._gap(row, "record-blank", f"it is not empty by the profile, and holds no {kinds}")
        return Dump(
            sections=self._sections(bad),
            gaps=tuple(self.gaps),
            records=len(rows),
            damaged=len(bad),
            marked=len(self.marked),
        )

    # ---- records ----------------------------------------------------------------------------------------------------

    def _damaged(self, row: Row) -> None:
        self._gap(row, "record-damaged", "its checksum does not hold; its bytes are kept and never restored")

    def _uncounted(self, table: TableSpec, bad: list[Row]) -> None:
        """Tell of a table whose counter cannot be trusted: behind what it counts there may be more."""
        count = table.count
        if not isinstance(count, Counter):
            return
        for row in bad:
            if row.offset < count.offset + count.type.size and count.offset < row.offset + len(row.raw):
                self.uncounted.append(table)
                where = f'its counter lies in the damaged record {row.index} of "{row.table.name}"'
                detail = f"{where}: there may be more records than it says"
                self.gaps.append(
                    Gap(section=_section_of(table), record=table.name, code="record-damaged", detail=detail)
                )
                return

    def _gap(self, row: Row, code: str, detail: str) -> None:
        section = _section_of(row.table)
        where = f'record {row.index} of "{row.table.name}" at {row.offset:#x}'
        self.gaps.append(
            Gap(section=section, record=f"{row.table.name}/{row.index}", code=code, detail=f"{where}: {detail}")
        )

    def _claimed(self, kind: str, slot: int, rivals: list[Row]) -> None:
        """Make the record of a slot; several that claim it are equal, or none of them is believed."""
        first = rivals[0]
        same = all((row.table.name, row.raw) == (first.table.name, first.raw) for row in rivals)
        places = [(row.table.name, row.index) for row in rivals]
        marks = Marks()
        if len(rivals) > 1:
            self.gave.update(places)
            names = " and ".join(f"{table}/{index}" for table, index in places[:4])
            more = f" and {len(rivals) - 4} more" if len(rivals) > 4 else ""
            marks.add(
                f"{names}{more} {'are the same record' if same else 'claim this slot, and differ'}",
                None if same else "uid-duplicate",
            )
        if same:
            made = self._user(slot, first, marks) if kind == "user" else self._credential(kind, slot, first, marks)
        else:
            made = self._contested(kind, slot, rivals, marks)
            self.doubted.update(places)
        if made is None:
            return
        self.gave.add(places[0])
        self.marked.update(places if marks.texts else ())
        for code, detail in marks.codes:
            self.losses.append(Loss(record=made.key, stage="read", code=code, detail=detail))
        if isinstance(made, User):
            self.users[slot] = made
        else:
            self.credentials.append(made)
            if made.data is None:
                code, detail = marks.codes[0]
                self.gaps.append(Gap(section="credentials", record=made.key, code=code, detail=detail))

    def _user(self, slot: int, row: Row, marks: Marks) -> User:
        return user_of(row, slot, self._limits(row), marks)

    def _credential(self, kind: str, slot: int, row: Row, marks: Marks) -> Credential | None:
        data = _DATA[kind](row, marks)
        if data == "empty":
            return None
        owner = self._owner(row, slot, marks)
        status, duress = status_of(row, marks), duress_of(row, marks)
        if (row.table.name, row.index) in self.doubted:
            marks.add("another record claims the number of its user", "uid-duplicate")
        if any(code in ("user-missing", "uid-duplicate") for code, _ in marks.codes):
            status = "unknown"  # what its user may not do is not known
        return Credential(
            key=f"{kind}/{slot}",
            origin={"credential_index": slot},
            credential_type=_TYPES[kind],
            user=owner,
            status=status,
            data_state="present_unreadable" if data is None else "known",
            data=data,
            duress=duress,
            schedules=self._limits(row),
            raw=(ref_of(row),),
            vendor=vendor_of(row, marks),
        )

    def _contested(self, kind: str, slot: int, rivals: list[Row], marks: Marks) -> User | Credential:
        refs = tuple(ref_of(row) for row in rivals)
        vendor = {"image": {"table": rivals[0].table.name, "record": rivals[0].index, "marks": list(marks.texts)}}
        if kind == "user":
            return User(
                key=f"user/{slot}",
                origin={"user_index": slot},
                user_status="OccupiedDisabled",
                raw=refs,
                vendor=vendor,
            )
        return Credential(
            key=f"{kind}/{slot}",
            origin={"credential_index": slot},
            credential_type=_TYPES[kind],
            status="unknown",
            data_state="present_unreadable",
            raw=refs,
            vendor=vendor,
        )

    def _owner(self, row: Row, slot: int, marks: Marks) -> str | None:
        if "user" in row.table.kinds:
            return f"user/{slot}"
        told = by_role(row, "user")
        if told is None or is_nothing(row, told):
            return None
        number = row.number(told.name)
        if number not in self.users:
            marks.add(f"{told.name}: there is no user {number}", "user-missing")
            return None
        return f"user/{number}"

    def _limits(self, row: Row) -> tuple[str, ...]:
        found = schedule_of(row, len(self.schedules))
        if found is None:
            return ()
        if found.key not in self.schedules:
            self.schedules[found.key] = found
            names = ", ".join(found.vendor["image"]["fields"])
            self.gaps.append(
                Gap(
                    section="schedules",
                    record=found.key,
                    code="schedule-unreadable",
                    detail=f'record {row.index} of "{row.table.name}" has a limit whose meaning is not known: {names}',
                )
            )
        return (found.key,)

    def _settings(self, row: Row) -> None:
        for item in row.table.fields:
            if item.role == "setting":
                setting, loss = setting_of(row, item)
                self.settings.append(setting)
                self.losses += [loss] if loss is not None else []
            elif item.role == "access_key":
                key = access_key_of(row, item)
                self.keys += [key] if key is not None else []
            elif item.role is not None:
                self.facts[item.role] = fact_of(row, item)

    # ---- sections ---------------------------------------------------------------------------------------------------

    def _sections(self, bad: list[Row]) -> Sections:
        data = self.data
        return Sections(
            lock=Lock(
                family="image",
                serial=self.facts.get("serial"),
                firmware_rev=self.facts.get("firmware"),
                hardware_rev=self.facts.get("hardware"),
                protocol={"name": "image"},
            ),
            capabilities=self._capabilities(),
            users=tuple(self.users.values()),
            credentials=tuple(self.credentials),
            schedules=tuple(self.schedules.values()),
            settings=tuple(self.settings),
            access_keys=tuple(self.keys),
            coverage=self._coverage(bad),
            losses=tuple(self.losses),
            attachments=(
                Attachment(
                    id=TABLE,
                    entry=f"raw/{TABLE}.bin",
                    offset=0,
                    size=len(data),
                    sha256=hashlib.sha256(data).hexdigest(),
                ),
            ),
        )

    def _coverage(self, bad: list[Row]) -> dict[str, Coverage]:
        kinds = {kind for table in self.layout.spec.tables for kind in table.kinds}
        limits = any(item.role in LIMITS for table in self.layout.spec.tables for item in table.fields)
        why = f"{len(bad)} records fail their checksum" if len(bad) > 1 else "one record fails its checksum"
        sorts = {"users": {"user"}, "credentials": CREDENTIALS, "settings": {"setting"}}
        lost = {name: sum(1 for row in bad if set(row.table.kinds) & of) for name, of in sorts.items()}
        uncounted = {name: any(set(table.kinds) & of for table in self.uncounted) for name, of in sorts.items()}

        def section(name: str, present: bool, read: int, missing: int) -> Coverage:
            if not present:
                return Coverage(state="unsupported", why=f"the profile names no {name}")
            if uncounted[name]:
                told = "a counter lies in a record that fails its checksum"
                return Coverage(state="partial", device_count=None, read_count=read, why=told)
            state: Literal["full", "partial"] = "partial" if missing else "full"
            return Coverage(state=state, device_count=read + missing, read_count=read, why=why if lost[name] else None)

        known = sum(1 for item in self.credentials if item.data is not None)
        unread = len(self.credentials) - known
        return {
            "users": section("users", "user" in kinds, len(self.users), lost["users"]),
            "credentials": section("credentials", bool(kinds & CREDENTIALS), known, unread + lost["credentials"]),
            "settings": Coverage(
                state="unsupported" if "setting" not in kinds else "partial" if lost["settings"] else "full"
            ),
            "schedules": Coverage(state="unsupported" if not limits else "partial" if self.schedules else "full"),
            "log": Coverage(state="unsupported"),
        }

    def _capabilities(self) -> Capabilities:
        tables = self.layout.spec.tables

        def slots(kind: str) -> int | None:
            counts = [table.count for table in tables if kind in table.kinds]
            return sum(cast("list[int]", counts)) if all(isinstance(count, int) for count in counts) else None

        def held(kind: str) -> CredentialCapability | None:
            if not any(kind in table.kinds for table in tables):
                return None
            mine = [item for item in self.credentials if item.credential_type == _TYPES[kind]]
            formats = {item.template.template_format for item in mine if item.template is not None}
            return CredentialCapability(
                slots=slots(kind), used=len(mine), readback="full", template_formats=tuple(sorted(formats))
            )

        has_users = any("user" in table.kinds for table in tables)
        name = next((item for table in tables for item in table.fields if item.role == "name"), None)
        return Capabilities(
            basis="profile",
            user_records=has_users,
            number_of_total_users_supported=slots("user") if has_users else None,
            name=NameCapability(max_bytes=name.size, encodings=(name.type,)) if name is not None else None,
            credentials=CredentialCapabilities(
                pin=held("pin"), card=held("card"), fingerprint=held("fingerprint"), face=held("face")
            ),
        )


def _section_of(table: TableSpec) -> Literal["settings", "credentials", "users"]:
    kinds = set(table.kinds)
    return "settings" if kinds == {"setting"} else "credentials" if kinds & CREDENTIALS else "users"
