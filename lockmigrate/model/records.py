"""The records of the neutral document (neutral-format sections 1 to 3).

Three different kinds of nothing: a field that a decoder does not know is `UNSET` (the key is absent); `None` means
that the unit has the field and said "no value"; `data_state = "present_unreadable"` means that the unit holds a value
and will not give it out.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import UNSET, Struct, UnsetType

from lockmigrate.model.secret import Secret, secret_fields

Kind = Literal[
    "user", "group", "combination", "pin", "card", "fingerprint", "face",
    "schedule", "lock_schedule", "setting", "access_key", "log",
]  # fmt: skip
"""What `plan --json` calls a record (decision 30)."""

DataState = Literal["known", "masked", "hashed", "present_unreadable", "empty"]
CoverageState = Literal["full", "partial", "unsupported", "refused", "not_asked"]

LOSS_CODES: Final = frozenset(
    {
        "capacity",
        "capacity-unknown",
        "pin-length",
        "pin-alphabet",
        "pin-prefix",
        "pin-duplicate",
        "pin-weak",
        "pin-equals-admin",
        "name-not-stored",
        "name-cut",
        "name-encoding",
        "template-format",
        "template-size",
        "template-dialect",
        "template-look-alike",
        "template-size-unverified",
        "template-unreadable",
        "consent",
        "duress-unsupported",
        "rule-unsupported",
        "user-type-unsupported",
        "disabled-unsupported",
        "expired",
        "one-time-code",
        "schedule-unsupported",
        "schedule-unreadable",
        "schedule-midnight",
        "time-rounded",
        "end-2400",
        "zone-differs",
        "zone-table-unknown",
        "holiday-unsupported",
        "no-public-layout",
        "card-number-rule",
        "card-too-long",
        "card-keyed",
        "setting-unsupported",
        "device-bound",
        "notepad-in-use",
        "log",
        "app-invitation",
        "own-authorisation",
        "admin-not-migrated",
        "no-keypad",
        "write-refused",
        "read-back-differs",
    }
)
"""The closed list of neutral-format 2.10."""


class RawRef(Struct, frozen=True, kw_only=True):
    """Which bytes of an attachment a record was decoded from."""

    attachment: str
    offset: int
    size: int


class Lock(Struct, frozen=True, kw_only=True):
    """Identity of the unit (2.1)."""

    family: str
    vendor: str | None = None
    model: str | None = None
    serial: str | None = None
    address: str | None = None
    hardware_rev: str | None = None
    firmware_rev: str | None = None
    protocol: dict[str, Any] = {}
    lock_name: str | UnsetType | None = UNSET
    lock_type: str | UnsetType | None = UNSET
    time_zone: str | UnsetType | None = UNSET
    clock_offset_s: int | UnsetType | None = UNSET


class User(Struct, frozen=True, kw_only=True):
    """A person known to the unit (2.3). Families without users have none; names then come from a job file."""

    key: str
    origin: dict[str, Any]
    user_name: str | None = None
    user_unique_id: int | UnsetType | None = UNSET
    user_status: Literal["OccupiedEnabled", "OccupiedDisabled"] = "OccupiedEnabled"
    user_type: str | UnsetType = UNSET
    credential_rule: Literal["Single", "Dual", "Tri"] | UnsetType = UNSET
    privilege: Literal["user", "enroller", "admin", "owner"] | UnsetType | None = UNSET
    raw: tuple[RawRef, ...] = ()
    vendor: dict[str, Any] = {}


class TemplateData(Struct, frozen=True, kw_only=True):
    """What is known of a fingerprint (2.4): the template itself lies in an attachment."""

    template_format: str
    template: RawRef
    size: int
    sha256: str
    finger: int = 0
    """ISO 19794-2 finger position; 0 is unknown, which it is wherever a module only numbers slots."""


class Credential(Struct, frozen=True, kw_only=True):
    """Something that opens (2.4)."""

    key: str
    origin: dict[str, Any]
    credential_type: Literal["PIN", "RFID", "Fingerprint", "Face"]
    user: str | None = None
    status: Literal["enabled", "disabled", "blocked", "unknown"] = "enabled"
    data_state: DataState = "known"
    data: TemplateData | None = None
    duress: bool = False
    schedules: tuple[str, ...] = ()
    name: str | UnsetType | None = UNSET
    raw: tuple[RawRef, ...] = ()
    vendor: dict[str, Any] = {}


class Setting(Struct, frozen=True, kw_only=True):
    """One parameter of the unit (2.7). Exactly one of `value` and `hidden` is used."""

    key: str
    value: int | str | bool | None = None
    hidden: Secret | UnsetType = UNSET
    """A value that may carry a pairing secret (an EF01 notepad page, for example)."""
    unit: str | None = None
    portable: bool = False
    device_bound: bool = False
    raw: tuple[RawRef, ...] = ()


class AccessKey(Struct, frozen=True, kw_only=True):
    """What opens or administers the old unit (2.9). Never shown, never exported, never written to a replacement."""

    key: str
    kind: str
    secret: Secret
    raw: tuple[RawRef, ...] = ()


class Coverage(Struct, frozen=True, kw_only=True):
    """How far one section was read (2.10)."""

    state: CoverageState
    device_count: int | None = None
    read_count: int | None = None
    why: str | None = None


class Loss(Struct, frozen=True, kw_only=True):
    """Something that could not be read, moved, written or proven (2.10); `code` is one of `LOSS_CODES`."""

    record: str
    stage: Literal["read", "plan", "write", "verify"]
    code: str
    field: str | None = None
    detail: str | None = None
    severity: Literal["info", "warn", "block"] = "warn"


class Attachment(Struct, frozen=True, kw_only=True):
    """A reference to bytes kept as they were read: an entry of the archive, or a part of one."""

    id: str
    entry: str
    offset: int
    size: int
    sha256: str
    media: str = "application/octet-stream"


SECRET_FIELDS: Final = secret_fields(Lock, User, Credential, Setting, AccessKey, TemplateData)
"""Derived: struct name to its secret fields. Templates are attachments and are reached only through `Snapshot`."""
