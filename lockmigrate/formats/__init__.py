"""Bytes to values and back, pure: the only package that imports construct.

`parse` and `build` are the one place where construct's errors become ours; `decode` finds a family's decoder by name.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Final

from construct import Construct, ConstructError
from msgspec import Struct

from lockmigrate.errors import FrameError
from lockmigrate.model.adopted import Adopter
from lockmigrate.model.capabilities import Capabilities
from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import (
    AccessKey,
    Attachment,
    Combination,
    Coverage,
    Credential,
    Group,
    Lock,
    LockSchedule,
    LogEntry,
    Loss,
    Schedule,
    Setting,
    User,
)
from lockmigrate.model.steps import Fitted


class Sections(Struct, frozen=True, kw_only=True):
    """What a family's tables mean in neutral words."""

    lock: Lock
    capabilities: Capabilities
    users: tuple[User, ...] = ()
    credentials: tuple[Credential, ...] = ()
    groups: tuple[Group, ...] = ()
    combinations: tuple[Combination, ...] = ()
    schedules: tuple[Schedule, ...] = ()
    lock_schedules: tuple[LockSchedule, ...] = ()
    log: tuple[LogEntry, ...] = ()
    settings: tuple[Setting, ...] = ()
    access_keys: tuple[AccessKey, ...] = ()
    coverage: dict[str, Coverage] = {}
    losses: tuple[Loss, ...] = ()
    attachments: tuple[Attachment, ...] = ()


FAMILY_MODULES: Final = {
    "ef01": "lockmigrate.formats.ef01_tables",
    "zk": "lockmigrate.formats.zk_tables",
    "gt511": "lockmigrate.formats.gt511_tables",
    "f5": "lockmigrate.formats.f5_tables",
    "nuki": "lockmigrate.formats.nuki_tables",
    "ttlock": "lockmigrate.formats.ttlock_tables",
    "image": "lockmigrate.formats.tables",
}
"""Family to the module that decodes its tables."""
ADOPTERS: Final = {
    "nuki": ("lockmigrate.formats.nuki_adopt", "NukiAdopter"),
    "ttlock": ("lockmigrate.formats.ttlock_adopt", "TTLockAdopter"),
    "zk": ("lockmigrate.formats.zk_adopt", "ZkAdopter"),
}
"""Family to what builds its records out of those of other families."""


def decode(family: str, tables: Mapping[str, bytes], variant: Mapping[str, Any]) -> Sections:
    """Decode the raw tables of a unit; the only decoder there is (backup, drift check and image targets call it).

    Args:
        family: the family's name.
        tables: table name, as `0006-templates`, to its bytes.
        variant: the `[variant]` table of the profile that was used.

    Raises:
        FrameError: a table does not follow its layout.
        KeyError: never; an unknown family is a FrameError too.
    """
    if family not in FAMILY_MODULES:
        raise FrameError(f'no decoder for the family "{family}"')
    module = importlib.import_module(FAMILY_MODULES[family])
    sections: Sections = module.decode(tables, variant)
    return sections


def occupied(family: str, tables: Mapping[str, bytes], variant: Mapping[str, Any]) -> frozenset[str] | None:
    """Return the keys of what the unit's own index or list names; None where these tables hold no such list.

    Raises:
        FrameError: a table does not follow its layout.
    """
    module = importlib.import_module(FAMILY_MODULES[family])
    keys: frozenset[str] | None = module.occupied(tables, variant)
    return keys


def fitted(source: Snapshot, target: Snapshot) -> dict[str, Fitted]:
    """Say how the target would hold the source's users; empty for families without users.

    Raises:
        FrameError: a record does not follow its layout.
    """
    module = importlib.import_module(FAMILY_MODULES[target.lock.family])
    if not hasattr(module, "fitted"):
        return {}
    if source.lock.family != target.lock.family:
        # Of the source nothing can be said so; what the target itself holds is known all the same.
        held: dict[str, Fitted] = module.fitted(target, target) if target.lock.family in ADOPTERS else {}
        return {key: value for key, value in held.items() if key.startswith("held/")}
    found: dict[str, Fitted] = module.fitted(source, target)
    return found


def adopter(source: Snapshot, target: Snapshot) -> Adopter | None:
    """Return what builds records of the target's family out of the source's; None where nothing is adopted."""
    if source.lock.family == target.lock.family or target.lock.family not in ADOPTERS:
        return None
    module, name = ADOPTERS[target.lock.family]
    made = getattr(importlib.import_module(module), name)
    found: Adopter = made(target) if target.lock.family == "zk" else made()
    return found


def differences(source: Snapshot, target: Snapshot, written: set[str]) -> list[str] | None:
    """Name the records of `written` that the target does not hold, and what it holds beside them, where the family
    numbers its records anew; None where records of two units are compared under their own keys.

    Raises:
        FrameError: a record does not follow its layout.
    """
    module = importlib.import_module(FAMILY_MODULES[target.lock.family])
    if not hasattr(module, "differences"):
        return None
    found: list[str] = module.differences(source, target, written)
    return found


def parse(layout: Construct[Any, Any], data: bytes, what: str) -> Any:
    """Parse bytes by a layout.

    Raises:
        FrameError: they do not follow it; `what` names the thing in the message.
    """
    try:
        return layout.parse(data)
    except (ConstructError, ValueError, OverflowError) as error:
        raise FrameError(f"{what} of {len(data)} bytes does not follow its layout", received=data) from error


def build(layout: Construct[Any, Any], values: Mapping[str, Any], what: str) -> bytes:
    """Build bytes by a layout.

    Raises:
        FrameError: a value is missing or does not fit its field.
    """
    try:
        built: bytes = layout.build(dict(values))
    except (ConstructError, KeyError, ValueError, OverflowError) as error:
        raise FrameError(f"{what} cannot be built: {type(error).__name__}") from None
    return built
