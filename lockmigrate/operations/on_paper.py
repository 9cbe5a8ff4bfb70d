"""Plans without a unit at hand: against a profile, or from a snapshot that was never sealed."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from lockmigrate.formats.ef01_tables import SysParams, format_id
from lockmigrate.formats.f5_tables import format_id as f5_format_id
from lockmigrate.formats.gt511_tables import format_id as gt511_format_id
from lockmigrate.model.document import Gap, Metadata, Snapshot, Table
from lockmigrate.model.records import Coverage, Lock, Setting
from lockmigrate.model.results import PlanResult, RecordResult, Unit, counts_of
from lockmigrate.operations.planned import plan_between
from lockmigrate.operations.reading import Reading
from lockmigrate.operations.restore import Source
from lockmigrate.planning.policy import Policy
from lockmigrate.profiles import Profile, load_profile


def source_in_memory(reading: Reading) -> Source:
    """Wrap a reading for a dry run; nothing of it is sealed or stored."""
    return Source(file="", backup_id="0" * 32, unit=reading.unit, snapshot=reading.snapshot, gaps=reading.snapshot.gaps)


def plan_for_profile(source: Source, name: str, policy: Policy) -> PlanResult:
    """Plan against an empty unit of a model, as its profile describes it.

    Raises:
        ProfileError: there is no such profile.
    """
    profile = load_profile(name)
    unit = unit_of_profile(profile)
    variant = profile.variant
    empty = Snapshot(
        metadata=Metadata(),
        lock=Lock(
            family=profile.family,
            protocol={
                "name": profile.family,
                "variant": variant.get("dialect"),
                "record_bytes": variant.get("record_bytes"),
                "features": variant.get("features"),
            },
        ),
        capabilities=unit.capabilities,
        settings=_settings(source.snapshot, profile),
        tables=(Table(name="0003-notepad", data=b"", rows=variant.get("notepad_pages", 16), read_at_utc=""),),
        **_without_tables(profile),
    )
    plan = plan_between(source.snapshot, empty, unit, policy)
    warning = f"against the profile {name}, not a unit: the unit itself may say otherwise"
    if profile.family == "zk":
        warning += "; above all which algorithm its fingerprints are of, 9 or 10, is known only when it is there"
    records = tuple(_on_paper(record) for record in plan.records)
    return PlanResult(
        exit_code=0 if plan.executable else 10,
        warnings=(warning, *plan.warnings),
        file=source.file,
        backup_id=source.backup_id,
        source=source.unit,
        unit=unit,
        executable=plan.executable,
        blocked_by=plan.blocked_by,
        records=records,
        counts=counts_of(records),
        gaps=source.gaps,
        losses=(*source.snapshot.losses, *plan.losses),
    )


def _settings(source: Snapshot, profile: Profile) -> tuple[Setting, ...]:
    """The settings of a unit that nobody has seen: those of its family, each set to nobody knows what."""
    if profile.family != source.lock.family or profile.family == "image":
        return ()
    known = (item for item in source.settings if not item.key.startswith("setting/ef01.notepad"))
    return tuple(replace(item, value=None, raw=()) for item in known)


def _on_paper(record: RecordResult) -> RecordResult:
    """Say nothing of what a setting was before: nobody knows."""
    known = record.kind != "setting" or record.outcome != "copy"
    return record if known else replace(record, detail=None)


def unit_of_profile(profile: Profile) -> Unit:
    """Return a model as a unit that nobody has seen."""
    fingerprint = profile.capabilities.credentials.fingerprint
    credentials = profile.capabilities.credentials
    if fingerprint is not None and profile.family != "image":
        size = fingerprint.template_size_bytes
        fingerprint = replace(fingerprint, used=0, template_formats=_formats(profile, size))
        credentials = replace(credentials, fingerprint=fingerprint)
    return Unit(
        id=f"profile:{profile.name}",
        serial=None,
        family=profile.family,
        model=profile.title,
        vendor=profile.vendor,
        firmware=None,
        profile=profile.name,
        target=f"profile:{profile.name}",
        capabilities=replace(profile.capabilities, credentials=credentials),
    )


def _without_tables(profile: Profile) -> dict[str, Any]:
    """What a terminal with records of 28 bytes does not give out: then nothing is known of it before it is there."""
    if profile.family != "zk" or profile.variant.get("record_bytes") != 28:
        return {}
    gaps = tuple(
        Gap(section=name, record=None, code="no-public-layout", detail=why) for name, why in profile.gaps.items()
    )
    return {"coverage": {"schedules": Coverage(state="unsupported")}, "gaps": gaps}


def _formats(profile: Profile, size: int | None) -> tuple[str, ...]:
    """The formats of a model's templates as its profile tells; `*` for an algorithm that only the unit knows."""
    if profile.family == "ef01":
        return (format_id(_params(profile), "*", size),)
    if profile.family == "zk":
        stated = profile.variant.get("fp_version")
        return tuple(f"zk/zkfinger/{version}" for version in ([stated] if stated else [9, 10]))
    if profile.family == "gt511":
        return (gt511_format_id(profile.name, "*"),)
    if profile.family == "f5":
        return (f5_format_id("*", size),)
    return ()  # these give no template out


def _params(profile: Profile) -> SysParams | None:
    if profile.variant.get("dialect") not in ("classic", "hilink"):
        return None
    return SysParams(
        dialect=profile.variant["dialect"],
        slots=0,
        level=0,
        address=0,
        packet_bytes=0,
        baud=0,
        system_id=profile.variant.get("system_id"),
    )
