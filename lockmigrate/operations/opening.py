"""Open a backup as far as it may be believed: container checks 1 to 6, 8 and 9 in `formats`, 7 and 10 here."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeGuard

import msgspec

from lockmigrate.errors import BackupError, FrameError, LockmigrateError, PolicyError
from lockmigrate.formats import Sections, decode
from lockmigrate.formats.backup import DateCheck, OpenedBackup, open_backup, read_backup
from lockmigrate.model.document import Snapshot, Table, from_sections
from lockmigrate.model.records import Schedule
from lockmigrate.model.results import Unit
from lockmigrate.model.secret import Secret
from lockmigrate.operations.keyring import Keyring
from lockmigrate.operations.restore import Source
from lockmigrate.operations.vault_memory import freshness_of, remember
from lockmigrate.profiles import profile_names
from lockmigrate.vault.freshness import Freshness
from lockmigrate.vault.policy import load_policy

MAX_SLOT: Final = 0xFFFF
"""Slot numbers have two bytes on the wire of every family that has them."""
_NUMBERED: Final = {"code_id": 0xFFFF, "authorization_id": 0xFFFFFFFF, "list_position": 0xFFFF}
"""Numbers that locks without slots give their records (Nuki), and the highest of each."""
_ADDRESS: Final = re.compile("[0-9a-f]{8}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A backup that decrypted, is signed and whole; `refusal` is why it may not be restored, if anything forbids it."""

    source: Source
    signer: str
    signer_name: str | None
    created_at: str
    manifest_sha256: str
    trust: str
    """ "trusted", or the code of the refusal."""
    refusal: PolicyError | None
    label: str | None = None
    manifest: dict[str, Any] = field(default_factory=dict, repr=False)
    made: datetime | None = None

    def insist(self) -> None:
        """Raise the refusal, if there is one.

        Raises:
            PolicyError: code `untrusted` or `drift`.
        """
        if self.refusal is not None:
            raise self.refusal


async def open_file(file: Path, ring: Keyring, *, accept_drift: bool = False) -> Opened:
    """Open a backup file.

    Raises:
        BackupError: not a backup, damaged, malformed, badly signed or of an unknown kind.
        WrongKeyError: nothing that was given opens it.
        PolicyError: it is not signed at all.
        ConfigError, FileTrouble: a passphrase is missing, or a file cannot be read.
    """
    data = read_backup(file)
    identities, passphrase = await ring.identities_for(file, data)
    refusals: list[PolicyError] = []
    opened = open_backup(data, identities=identities, passphrase=passphrase, check_signer=_noting(ring, refusals))
    source = read_source(file, opened)
    drift = [] if refusals else drifted(opened, source.snapshot)
    if drift and accept_drift:
        source = replace(source, snapshot=read_again(opened, source.snapshot))
    elif drift:
        refusals.append(
            PolicyError(
                "the records in this backup are not what this lockmigrate reads from its raw tables: "
                + ", ".join(drift),
                hint="an older version decoded them otherwise; --accept-drift restores what the raw tables say",
                code="drift",
            )
        )
    refusal = refusals[0] if refusals else None
    if refusal is None and not ring.throw_away and ring.choice.config_dir.is_dir():
        # Seen is remembered: an older file of the same unit is stale from now on. A catalogue that cannot be written
        # says so when a restore asks it.
        remember(ring.choice.config_dir, file, data, opened)
    return Opened(
        source=source,
        signer=opened.signer,
        signer_name=ring.name_of(opened.signer_public_key),
        created_at=str(opened.manifest.get("created_at")),
        manifest_sha256=opened.manifest_sha256,
        trust=refusal.code if refusal else "trusted",
        refusal=refusal,
        label=_text(opened.manifest.get("label")),
        manifest=opened.manifest,
        made=opened.created_at,
    )


def age_of(opened: Opened, ring: Keyring) -> Freshness | None:
    """Judge how fresh a backup is (container check 11); None for throw-away keys, whose backups live for seconds.

    Raises:
        ConfigError, FileTrouble: the policy or the catalogue cannot be read; a restore must not go on without them.
    """
    if ring.throw_away or opened.made is None:
        return None
    folder = ring.choice.config_dir
    return freshness_of(folder, opened.manifest, opened.made, load_policy(folder))


def age_remarks(opened: Opened, ring: Keyring) -> tuple[str, ...]:
    """The same as sentences for a screen: looking at a backup stops for nothing."""
    try:
        judged = age_of(opened, ring)
    except LockmigrateError as error:
        return (error.message,)
    if judged is None or judged.state == "fresh":
        return ()
    return (f"{judged.state}: {judged.sentence}",)


def stale(judged: Freshness) -> PolicyError:
    """Build the refusal of a backup that may re-admit people who were removed since."""
    return PolicyError(
        f"the backup is stale: {judged.sentence}",
        hint="read the old unit again if it still answers; --accept-stale restores this one all the same",
        code="stale",
    )


def _noting(ring: Keyring, refusals: list[PolicyError]) -> Any:
    """The signer check, noting a refusal instead of stopping: a backup of an unknown signer may still be looked at."""
    check = ring.signer_check()

    def noting(signer: str, public_key: bytes) -> DateCheck | None:
        try:
            inner = check(signer, public_key)
        except PolicyError as refusal:
            refusals.append(refusal)
            return None
        if inner is None:
            return None

        def date(created_at: datetime) -> None:
            try:
                inner(created_at)
            except PolicyError as refusal:
                refusals.append(refusal)

        return date

    return noting


def read_source(file: Path, opened: OpenedBackup) -> Source:
    """Turn verified entries into a snapshot.

    Raises:
        BackupError: a record is malformed, or of a version we do not know, or the profile is unknown.
    """
    manifest = opened.manifest
    notes = {note["entry"]: note for note in manifest.get("tables", []) if isinstance(note.get("entry"), str)}
    tables = tuple(
        Table(
            name=name.removeprefix("raw/").removesuffix(".bin"),
            data=data,
            rows=int(notes.get(name, {}).get("rows") or 0),
            read_at_utc=str((notes.get(name, {}).get("reads") or [{}])[0].get("at", "")),
            check=(notes.get(name, {}).get("device_check") or {}).get("kind"),
        )
        for name, data in opened.entries.items()
        if name.startswith("raw/")
    )
    sections = {
        name.removeprefix("records/").removesuffix(".jsonl"): data
        for name, data in opened.entries.items()
        if name.startswith("records/")
    }
    snapshot = from_sections(sections, tables)
    _check_records(snapshot)
    try:
        unit = msgspec.convert(manifest.get("unit"), Unit)
    except msgspec.ValidationError:
        raise BackupError("the manifest does not describe the unit", code="malformed") from None
    if manifest.get("counts", snapshot.counts()) != snapshot.counts():
        raise BackupError("the manifest counts other records than the backup holds", code="malformed")
    if unit.profile not in profile_names():
        raise BackupError(
            f'the backup was made with the profile "{unit.profile}", which is not known here',
            hint="name the folder that holds it in LOCKMIGRATE_PROFILE_PATH, or use a newer lockmigrate",
            code="unsupported",
        )
    return Source(file=str(file), backup_id=opened.backup_id, unit=unit, snapshot=snapshot, gaps=snapshot.gaps)


def drifted(opened: OpenedBackup, snapshot: Snapshot) -> list[str]:
    """Decode the raw tables again and name the sections that come out otherwise (check 10).

    Names from the technician's list and the credential that was given are not in the raw tables and are left out.
    """
    try:
        again = _decoded(opened, snapshot)
    except FrameError:
        return ["raw tables"]
    nameless = all(item.name is msgspec.UNSET for item in again.credentials)
    stored, read = (
        tuple(msgspec.structs.replace(item, name=msgspec.UNSET) for item in of) if nameless else of
        for of in (snapshot.credentials, again.credentials)
    )
    keys = tuple(item for item in snapshot.access_keys if item.kind != "given")
    pairs = {
        "users": (snapshot.users, again.users),
        "credentials": (stored, read),
        "groups": (snapshot.groups, again.groups),
        "combinations": (snapshot.combinations, again.combinations),
        "schedules": (snapshot.schedules, again.schedules),
        "lock_schedules": (snapshot.lock_schedules, again.lock_schedules),
        "log": (snapshot.log, again.log),
        "settings": (snapshot.settings, again.settings),
        "access_keys": (keys, again.access_keys),
        "coverage": (snapshot.coverage, again.coverage),
        "losses": (snapshot.losses, again.losses),
        "attachments": (snapshot.attachments, again.attachments),
    }
    return [name for name, (before, now) in pairs.items() if before != now]


def read_again(opened: OpenedBackup, snapshot: Snapshot) -> Snapshot:
    """Put what the raw tables say in place of the stored records; names and the given credential are kept.

    Raises:
        BackupError: this lockmigrate cannot read the raw tables at all.
    """
    try:
        again = _decoded(opened, snapshot)
    except FrameError as error:
        raise BackupError(f"the raw tables of the backup: {error.message}", code="malformed") from None
    names = {item.key: item.name for item in snapshot.credentials}
    keys = {item.key for item in again.access_keys}
    given = tuple(item for item in snapshot.access_keys if item.kind == "given" and item.key not in keys)
    fresh = msgspec.structs.replace(
        snapshot,
        credentials=tuple(
            item
            if item.name is not msgspec.UNSET
            else msgspec.structs.replace(item, name=names.get(item.key, msgspec.UNSET))
            for item in again.credentials
        ),
        users=again.users,
        groups=again.groups,
        combinations=again.combinations,
        schedules=again.schedules,
        lock_schedules=again.lock_schedules,
        log=again.log,
        settings=again.settings,
        access_keys=(*again.access_keys, *given),
        coverage=again.coverage,
        losses=again.losses,
        attachments=again.attachments,
    )
    _check_records(fresh)
    return fresh


def _decoded(opened: OpenedBackup, snapshot: Snapshot) -> Sections:
    profile = opened.manifest.get("profile") or {}
    told = profile.get("variant")
    variant: dict[str, Any] = told if isinstance(told, dict) else {}
    return decode(snapshot.lock.family, {table.name: table.data for table in snapshot.tables}, variant)


def _check_records(snapshot: Snapshot) -> None:
    """What planning relies on: keys stand once, each record has a place of its own, settings have their form.

    Raises:
        BackupError: code `malformed`.
    """
    tables: list[Any] = [*snapshot.groups, *snapshot.combinations, *snapshot.schedules]
    records: list[Any] = [*snapshot.users, *snapshot.credentials, *tables, *snapshot.lock_schedules]
    keys = [item.key for item in (*records, *snapshot.settings, *snapshot.access_keys)]
    if len(set(keys)) != len(keys):
        raise BackupError("two records of the backup have the same key", code="malformed")
    for record in records:
        for ref in record.raw:
            snapshot.bytes_of(ref)
    for item in snapshot.users:
        if not _number(item.origin.get("user_index"), MAX_SLOT) or not item.raw:
            raise BackupError(f"{item.key} has no number of its own", code="malformed")
    holders = {item.key for item in snapshot.credentials}
    for table in tables:
        if isinstance(table, Schedule) and "holder" in table.origin:
            if table.origin["holder"] in holders and table.raw:
                continue
            raise BackupError(f"{table.key} hangs on nothing", code="malformed")
        unread = isinstance(table, Schedule) and table.kind == "Unknown"
        if not _number(table.origin.get("number"), MAX_SLOT) or not (table.raw or unread):
            raise BackupError(f"{table.key} has no number of its own", code="malformed")
    slots: set[tuple[str, int]] = set()
    for credential in snapshot.credentials:
        origin = credential.origin
        if credential.template is not None:
            snapshot.bytes_of(credential.template.template)
        if "user_index" in origin:
            finger = credential.credential_type != "Fingerprint" or _number(origin.get("finger"), 0xFF)
            if _number(origin["user_index"], MAX_SLOT) and finger:
                continue
            raise BackupError(f"{credential.key} has no place of its own", code="malformed")
        if any(name in origin for name in _NUMBERED):
            if credential.raw and any(_number(origin.get(name), most) for name, most in _NUMBERED.items()):
                continue
            raise BackupError(f"{credential.key} has no number of its own", code="malformed")
        slot = origin.get("credential_index")
        if not _number(slot, MAX_SLOT) or (credential.credential_type, slot) in slots:
            raise BackupError(f"{credential.key} has no slot of its own", code="malformed")
        slots.add((credential.credential_type, slot))
    for timer in snapshot.lock_schedules:
        numbered = any(_number(timer.origin.get(name), 0xFFFF) for name in ("timer_id", "list_position"))
        if not numbered or not timer.raw:
            raise BackupError(f"{timer.key} has no number of its own", code="malformed")
    for setting in snapshot.settings:
        hidden = isinstance(setting.hidden, Secret)
        if setting.key.startswith("setting/ef01.notepad."):
            page = setting.key.rpartition(".")[2]
            fits = hidden and page.isascii() and page.isdigit() and len(page) <= 3
        elif setting.key == "setting/ef01.address":
            fits = isinstance(setting.value, str) and _ADDRESS.fullmatch(setting.value) is not None
        else:
            fits = not hidden
        if not fits:
            raise BackupError(f"{setting.key} has not the form of such a setting", code="malformed")


def _number(value: Any, highest: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= highest


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
