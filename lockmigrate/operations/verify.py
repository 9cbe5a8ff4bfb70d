"""Compare: a file with itself (opened, checked, decoded again), and a file with a unit."""

from __future__ import annotations

from collections.abc import AsyncIterator

from lockmigrate.model.results import Progress, VerifyResult
from lockmigrate.operations.journal import Journal
from lockmigrate.operations.opening import Opened
from lockmigrate.operations.restore import Prepared, prepare
from lockmigrate.planning.policy import Policy
from lockmigrate.protocols import Lock
from lockmigrate.protocols.clock import local_now, utc_now


def verify_file(opened: Opened) -> VerifyResult:
    """The outcome of all container checks, for people and scripts."""
    source = opened.source
    return VerifyResult(
        exit_code=10 if opened.refusal else 0,
        file=source.file,
        backup_id=source.backup_id,
        signer=opened.signer,
        trust=opened.trust,
        unit=source.unit,
        counts=source.snapshot.counts(),
        gaps=source.gaps,
        losses=source.snapshot.losses,
        label=opened.label,
    )


async def verify_unit(
    lock: Lock, opened: Opened, journal: Journal, policy: Policy | None = None
) -> AsyncIterator[Progress | VerifyResult]:
    """Compare a backup with a unit: equal exactly when a plan with these answers would write nothing and nothing extra
    is there.

    Device-bound things are listed, not compared. The last item is the result; exit code 8 if it differs.

    Raises:
        LinkError, RefusedError: from the unit.
    """
    policy = policy or Policy(existing="replace", now_utc=utc_now(), now_local=local_now())
    async for item in prepare(lock, opened.source, policy, journal):
        if isinstance(item, Prepared):
            prepared = item
        else:
            yield item
    plan = prepared.plan
    other = opened.source.unit.family != prepared.target.unit.family
    announced = {gap.record for gap in opened.source.gaps if gap.announced and gap.record is not None}
    beyond = {
        record.key
        for record in plan.records
        if record.outcome == "skip"
        or record.noted
        # What the old unit keeps to itself cannot be held against anything.
        or (record.outcome in ("re_enrol", "reissue") and (other or announced & {record.key, record.follows}))
    }
    not_compared = tuple(record.key for record in plan.records if record.key in beyond)
    compared = [record for record in plan.records if record.key not in beyond]
    differs = [record for record in compared if not record.done]
    extra = (*plan.removals, *plan.overwrites)
    equal = not differs and not extra
    in_use = [record.key for record in plan.records if "notepad-in-use" in record.reasons]
    remarks: list[str] = []
    if in_use:
        remarks.append(f"{', '.join(in_use)}: the unit has notes of its own there; --with notepad moves them")
    come = sum(1 for record in plan.records if other and record.outcome in ("re_enrol", "reissue"))
    if come:
        remarks += (f"not compared, as people enrol or are invited again on a unit of another family: {come}",)
    if not equal and not policy.decisions.answer and any(item.outcome == "needs_input" for item in differs):
        remarks.append("was it restored with answers? name them: --decisions FILE")
    yield VerifyResult(
        exit_code=10 if opened.refusal else (0 if equal else 8),
        warnings=(*prepared.target.unit.warnings, *remarks),
        file=opened.source.file,
        backup_id=opened.source.backup_id,
        signer=opened.signer,
        trust=opened.trust,
        unit=opened.source.unit,
        target=prepared.target.unit,
        counts={
            "equal": len(compared) - len(differs),
            "different": len(differs),
            "extra": len(extra),
        },
        records=plan.records,
        extra=extra,
        not_compared=not_compared,
        gaps=opened.source.gaps,
        losses=opened.source.snapshot.losses,
        label=opened.label,
    )
