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
        # Added to the page's list for ZK terminals: two records that claim one number, a template that belongs
        # to nobody, a user id that the target cannot hold.
        "uid-duplicate",
        "user-id-duplicate",
        "user-id-unsupported",
        "user-missing",
        "count-differs",
        "other-family",
        "user-number",
        "no-card-reader",
        "as-decided",
    }
)
"""The closed list of neutral-format 2.10."""


FORMAT: Final = "lockmigrate/lock-data"
VERSION: Final = 1


class Metadata(Struct, frozen=True, kw_only=True):
    """Which form this is and who wrote it; a reader refuses a higher version."""

    format: str = FORMAT
    version: int = VERSION
    source: str = ""
    created_utc: str = ""
    suggestion_key: Secret | UnsetType = UNSET
    """32 random bytes that suggested PINs are made from (decision 21); backups of before there were any have none."""


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
    """`user_index`: the unit's own number, on which everything else hangs."""
    user_name: str | None = None
    """The decoded text, for people; None where it is no text in any encoding that we try."""
    user_name_raw: str | UnsetType = UNSET
    """Hex of the bytes as the unit holds them, up to the first NUL: what is written back."""
    user_name_encoding: str | UnsetType = UNSET
    user_unique_id: int | UnsetType | None = UNSET
    user_status: Literal["OccupiedEnabled", "OccupiedDisabled"] = "OccupiedEnabled"
    user_type: str | UnsetType = UNSET
    credential_rule: Literal["Single", "Dual", "Tri"] | UnsetType = UNSET
    privilege: Literal["user", "enroller", "admin", "owner"] | UnsetType | None = UNSET
    external_id: str | UnsetType | None = UNSET
    """What people know the person by: a payroll number (ZK's user id)."""
    group: str | UnsetType | None = UNSET
    """Key of the group."""
    schedules: tuple[str, ...] | UnsetType | None = UNSET
    """Keys of schedules; None: the group's."""
    raw: tuple[RawRef, ...] = ()
    vendor: dict[str, Any] = {}


class Group(Struct, frozen=True, kw_only=True):
    """A group of users that share schedules and a way of verifying (2.3)."""

    key: str
    origin: dict[str, Any]
    schedules: tuple[str, ...] = ()
    verify_style: int | UnsetType | None = UNSET
    """The family's own number, as the unit gave it."""
    honours_holidays: bool | UnsetType | None = UNSET
    raw: tuple[RawRef, ...] = ()
    vendor: dict[str, Any] = {}


class Combination(Struct, frozen=True, kw_only=True):
    """Groups that open together (2.3); a ZK user whose group is in no combination cannot open."""

    key: str
    origin: dict[str, Any]
    groups: tuple[str, ...] = ()
    raw: tuple[RawRef, ...] = ()
    vendor: dict[str, Any] = {}


class DayWindow(Struct, frozen=True, kw_only=True):
    """One day of a `WeekTable`: `HH:MM` as read; `start` later than `end` is closed all day (ZK)."""

    start: str
    end: str


class Schedule(Struct, frozen=True, kw_only=True):
    """When a user or a credential counts (2.5)."""

    key: str
    origin: dict[str, Any]
    kind: Literal["WeekDay", "YearDay", "DailyRepeating", "MonthDay", "WeekTable", "Unknown"]
    days: tuple[DayWindow, ...] = ()
    """`WeekTable`: seven, Sunday first."""
    days_mask: int | UnsetType = UNSET
    """`WeekDay`: bit 0 Sunday to bit 6 Saturday."""
    start: str | UnsetType | None = UNSET
    """`WeekDay`: `HH:MM` of the door's own time, as read; None: all day."""
    end: str | UnsetType | None = UNSET
    start_local: str | UnsetType | None = UNSET
    """`YearDay`, where the unit keeps the door's own time, as `YYYY-MM-DDTHH:MM`; None: not limited on this side."""
    end_local: str | UnsetType | None = UNSET
    start_utc: str | UnsetType | None = UNSET
    """`YearDay`, where the unit keeps UTC; None: not limited on this side."""
    end_utc: str | UnsetType | None = UNSET
    end_rule: Literal["inclusive", "exclusive", "unknown"] = "unknown"
    why: Literal["unreadable", "opaque", "missing-table", "impossible-date"] | None = None
    """`Unknown` only: a limit exists, and why its meaning is not known."""
    raw: tuple[RawRef, ...] = ()
    vendor: dict[str, Any] = {}


class LockSchedule(Struct, frozen=True, kw_only=True):
    """Something that the lock itself does at times (2.6)."""

    key: str
    origin: dict[str, Any]
    kind: Literal["TimedAction", "Passage"]
    enabled: bool = True
    days_mask: int
    """Bit 0 Sunday to bit 6 Saturday."""
    start: str
    """`HH:MM` of the door's own time."""
    end: str | UnsetType = UNSET
    """`Passage`: until when the door stays open; `24:00` is the end of the day."""
    month_days: tuple[int, ...] = ()
    """`Passage`: days of each month, where it is not by weekdays."""
    action: str
    """`hold-open`, or Nuki's words: unlock, lock, unlatch …; `unknown:7` for one that we do not know."""
    raw: tuple[RawRef, ...] = ()
    vendor: dict[str, Any] = {}


class LogEntry(Struct, frozen=True, kw_only=True):
    """One line of the unit's log (2.8); archived, never written to a unit."""

    seq: int
    time_local: str | None = None
    time_utc: str | UnsetType | None = UNSET
    """Where the unit keeps UTC."""
    time_utc_estimated: str | UnsetType = UNSET
    """Where the unit keeps a time of its own whose distance to UTC was measured when the log was read."""
    operation: str | None = None
    source: str | None = None
    user: str | None = None
    """The unit's own id of the person, as the line holds it."""
    vendor: dict[str, Any] = {}


class TemplateData(Struct, frozen=True, kw_only=True, tag_field="type", tag="template"):
    """What is known of a fingerprint (2.4): the template itself lies in an attachment."""

    template_format: str
    template: RawRef
    size: int
    sha256: str
    finger: int = 0
    """ISO 19794-2 finger position; 0 is unknown, which it is wherever a unit only numbers slots."""
    origin_finger: int | UnsetType = UNSET
    """Device numbering (ZK 0..9); no public mapping to ISO finger codes exists."""


class PinData(Struct, frozen=True, kw_only=True, tag_field="type", tag="pin"):
    """A PIN: text, because leading zeros count."""

    digits: Secret


class CardData(Struct, frozen=True, kw_only=True, tag_field="type", tag="card"):
    """A card: the number as the unit shows it, and the rule by which it is made from the card."""

    number: Secret
    number_rule: Literal["u32be", "u32le", "u64be", "wiegand26", "text", "unknown"] = "unknown"


class AppKeyData(Struct, frozen=True, kw_only=True, tag_field="type", tag="app_key"):
    """An app, bridge, fob or keypad that holds a key of its own; no unit gives such a key out."""

    kind: Literal["app", "bridge", "fob", "keypad", "unknown"]
    remote_allowed: bool | UnsetType = UNSET


class Credential(Struct, frozen=True, kw_only=True):
    """Something that opens (2.4)."""

    key: str
    origin: dict[str, Any]
    credential_type: Literal["PIN", "RFID", "Fingerprint", "Face", "AppKey"]
    user: str | None = None
    status: Literal["enabled", "disabled", "blocked", "unknown"] = "enabled"
    data_state: DataState = "known"
    data: TemplateData | PinData | CardData | AppKeyData | None = None
    duress: bool = False
    schedules: tuple[str, ...] = ()
    use_limit: int | UnsetType | None = UNSET
    """How often it opens at all; 1 is a one-time code."""
    name: str | UnsetType | None = UNSET
    linked_to: str | UnsetType | None = UNSET
    """Key of the credential whose rights it has (a Nuki fingerprint: its keypad code)."""
    raw: tuple[RawRef, ...] = ()
    vendor: dict[str, Any] = {}

    @property
    def template(self) -> TemplateData | None:
        """The template, where this is a biometric credential that was given out."""
        return self.data if isinstance(self.data, TemplateData) else None


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


SECRET_FIELDS: Final = secret_fields(
    Metadata, Lock, User, Credential, Setting, AccessKey, TemplateData, PinData, CardData, AppKeyData
)
"""Derived: struct name to its secret fields. Templates are attachments and are reached only through `Snapshot`."""
