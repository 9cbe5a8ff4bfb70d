"""Plan a restore against a unit as it is now, carry it out, and prove it by reading back.

Three parts, because a person decides between them: `prepare` reads the target and plans; `Prepared.before` keeps a copy
of what the target holds; `execute` writes. Nothing is written to a unit before the whole plan stands.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

from msgspec.structs import replace

from lockmigrate.errors import MismatchError, PolicyError
from lockmigrate.formats import occupied
from lockmigrate.model.document import Gap, Snapshot
from lockmigrate.model.records import Loss
from lockmigrate.model.results import WRITTEN, PlanResult, Progress, RecordResult, RestoreResult, Unit, counts_of
from lockmigrate.model.steps import Done, Step
from lockmigrate.operations.journal import Journal
from lockmigrate.operations.pairing import reminder
from lockmigrate.operations.planned import plan_between
from lockmigrate.operations.reading import Reading, read_unit
from lockmigrate.planning.draft import StepId, step_id
from lockmigrate.planning.plan import Plan
from lockmigrate.planning.policy import Policy
from lockmigrate.protocols import QUICK, Lock

_BLOCK_TEXTS = {
    "wrong-target": (
        "none of the fingerprints can be written to this unit: its templates are of another kind",
        "choose a replacement of the same model, or enrol everybody again",
    ),
    "target-not-empty": (
        "the target already holds records that this backup would not write",
        "--existing merge keeps them, --existing replace removes them after a copy of them was sealed",
    ),
    "needs-input": (
        "some records need a decision before anything is written",
        "the plan lists them (plan --decisions-out FILE writes a file to answer with); --suggest gives new PINs, "
        "--accept-look-alike takes look-alikes",
    ),
    "plan-blocked": ("the plan would widen a right or lose a safety meaning", "answer by record with --decisions FILE"),
    "firmware-older": (
        "the target's firmware is older than the old unit's: it may know less of what the records say",
        'update it first; or answer with [guards] firmware-older = "override" in --decisions FILE',
    ),
    "consent": (
        "the policy demands a reference to the people's consent for moving fingerprints",
        "give it with --consent REF",
    ),
}
"""Code of a block to its sentence and its hint."""
_OTHER_KIND = (
    "nothing of this backup can be written to this unit: it is of another kind",
    "choose a replacement of the same kind; else enrol fingers again and enter the rest by hand (show lists it)",
)
TABLES = ("schedule", "group", "combination")
"""Kinds of records that people rest on."""
CODE_ON_EXIT = {"needs-input": "plan-blocked", "firmware-older": "plan-blocked", "consent": "plan-blocked"}
"""Machine codes of decision 8 for blocks that have none of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An opened backup, as a restore needs it."""

    file: str
    backup_id: str
    unit: Unit
    snapshot: Snapshot
    gaps: tuple[Gap, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A plan against one unit, with the unit still open."""

    lock: Lock
    source: Source
    target: Reading
    plan: Plan
    policy: Policy
    started_s: float = field(default_factory=time.monotonic)

    def result(self) -> PlanResult:
        """The plan as data: what `plan` and `--dry-run` show."""
        return PlanResult(
            exit_code=0 if self.plan.executable else 10,
            warnings=(*self.target.unit.warnings, *self.plan.warnings),
            file=self.source.file,
            backup_id=self.source.backup_id,
            source=self.source.unit,
            unit=self.target.unit,
            executable=self.plan.executable,
            blocked_by=self.plan.blocked_by,
            records=self.plan.records,
            removals=self.plan.removals,
            existing=self.plan.existing,
            overwrites=self.plan.overwrites,
            counts=counts_of(self.plan.records),
            gaps=self.source.gaps,
            losses=(*self.source.snapshot.losses, *self.plan.losses),
        )

    def insist(self) -> None:
        """Stop here unless the plan can be carried out as it stands.

        Raises:
            PolicyError: with the code and hint of the first thing that forbids it.
        """
        if self.plan.blocked_by:
            trouble = blocked(self.plan.blocked_by[0], self.source.unit, self.target.unit)
            asked = [item for item in self.plan.records if item.outcome == "needs_input" and item.follows is None]
            if self.plan.blocked_by[0] == "needs-input" and asked:
                first = f"{asked[0].key}: {asked[0].detail or ', '.join(asked[0].reasons)}"
                raise PolicyError(f"{trouble.message} ({len(asked)}); {first}", hint=trouble.hint, code=trouble.code)
            raise trouble


def blocked(code: str, source: Unit | None = None, target: Unit | None = None) -> PolicyError:
    """Build the refusal for one kind of block, between these units."""
    message, hint = _BLOCK_TEXTS.get(code, (code, ""))
    if code == "wrong-target" and source and target and (source.family != target.family or target.family == "image"):
        message, hint = _OTHER_KIND
    return PolicyError(message, hint=hint or None, code=CODE_ON_EXIT.get(code, code))


async def prepare(
    lock: Lock, source: Source, policy: Policy, journal: Journal, *, same_unit_allowed: bool = True
) -> AsyncIterator[Progress | Prepared]:
    """Read the target whole and plan; the last item is the `Prepared`.

    Raises:
        PolicyError: the target is the very unit the backup came from, and that is not wanted.
        LinkError, RefusedError: from the unit.
    """
    started = time.monotonic()
    async for item in read_unit(lock):
        if isinstance(item, Progress):
            yield replace(item, stage=f"target {item.stage}")
        else:
            reading = item
    unit = reading.unit
    if not same_unit_allowed and unit.serial is not None and unit.serial == source.unit.serial:
        raise PolicyError(
            f"old and new unit are one and the same, serial {unit.serial}",
            hint="to put a backup back on its own unit use restore",
            code="wrong-target",
        )
    unconfirmed = journal.unconfirmed(unit.id, source.backup_id)
    plan = plan_between(source.snapshot, reading.snapshot, unit, policy, unconfirmed=unconfirmed)
    yield Prepared(lock=lock, source=source, target=reading, plan=plan, policy=policy, started_s=started)


async def execute(
    prepared: Prepared, journal: Journal, *, before: str | None = None
) -> AsyncIterator[Progress | RestoreResult]:
    """Write what the plan says, each record proven by its read-back; the last item is the result.

    Args:
        prepared: an executable plan.
        journal: where starts and confirmations are noted.
        before: the file that keeps what the target held.

    Raises:
        PolicyError: the plan is not executable, or the target's memory does not take a template of this size.
        MismatchError: what is read at the end is not what the steps had proven.
        LinkError, RefusedError: from the unit; run again, what is done then counts as done.
    """
    prepared.insist()
    plan, lock, unit = prepared.plan, prepared.lock, prepared.target.unit
    await _try_size(prepared)
    put: dict[str, Done] = {}
    taken: dict[str, Done] = {}
    ident = {"unit_id": unit.id, "backup_id": prepared.source.backup_id}
    moved, total = 0, len(plan.steps)
    if plan.steps:
        yield Progress(stage="restore", done=0, total=total)
    number = 0
    failed: set[StepId] = set()
    for batch in _batches(plan, lock.batch):
        number += len(batch)
        steps = {}
        for step in batch:
            without = [other for other in plan.needs.get(step_id(step), ()) if other in failed]
            if without:
                failed.add(step_id(step))
                for done in _left_out(step, without[0]):
                    (taken if step.action == "remove" else put)[done.key] = done
            else:
                steps[step.key] = step
        if steps:
            journal.note_all("started", map(_noted, steps.values()), **ident)
            bearer = {key: step for step in steps.values() for key in (step.key, *step.also)}
            async for done in lock.write(steps.values()):
                step = bearer[done.key]
                # A slot that is cleared may bear the key of a source record that goes elsewhere or nowhere.
                (taken if step.action == "remove" else put)[done.key] = done
                if done.key == step.key and done.status not in ("written", "removed"):
                    failed.add(step_id(step))
                if done.key == step.key and _certain(step, done):
                    journal.note("confirmed", key=_noted(step), **ident)
        moved += sum(len(step.value) for step in steps.values() if isinstance(step.value, bytes))
        yield Progress(stage="restore", done=number, total=total, size_bytes=moved)
    put |= _shaken(plan, failed)
    records = tuple(_with_outcome(record, put.get(record.key)) for record in plan.records)
    removed = tuple(key for key in plan.removals if key in taken and taken[key].status == "removed")
    losses = [*prepared.source.snapshot.losses, *plan.losses, *_losses(put), *_losses(taken)]
    after = await _recheck(prepared, records, removed)
    yield RestoreResult(
        exit_code=_exit_code(records, losses, prepared),
        warnings=tuple(dict.fromkeys((*unit.warnings, *plan.warnings, *after.warnings, *reminder(after)))),
        file=prepared.source.file,
        backup_id=prepared.source.backup_id,
        source=prepared.source.unit,
        unit=after,
        before=before,
        records=records,
        written=sum(1 for done in put.values() if done.status == "written"),
        already_equal=sum(1 for record in plan.records if record.done),
        removed=removed,
        counts=counts_of(records),
        gaps=prepared.source.gaps,
        losses=tuple(losses),
        duration_s=round(time.monotonic() - prepared.started_s, 3),
    )


def _batches(plan: Plan, size: int) -> Iterator[list[Step]]:
    """Cut the steps into batches: none holds a key twice, or a step that another one of it rests on."""
    batch: list[Step] = []
    ids: set[StepId] = set()
    keys: set[str] = set()
    for step in plan.steps:
        own = {step.key, *step.also}
        if len(batch) == size or own & keys or not ids.isdisjoint(plan.needs.get(step_id(step), ())):
            yield batch
            batch, ids, keys = [], set(), set()
        batch.append(step)
        ids.add(step_id(step))
        keys |= own
    if batch:
        yield batch


def _left_out(step: Step, missing: StepId) -> Iterator[Done]:
    """Refuse a step because of another one that did not happen: nobody is let in on what is not there as planned."""
    action, key = missing
    table = key.partition("/")[0] in TABLES
    code = "zone-table-unknown" if table else "write-refused" if action == "remove" else "user-missing"
    did = "written" if action == "put" else "reset" if table else "taken away"
    detail = f"left out, because {key} could not be {did}"
    for bearer in (step.key, *step.also):
        yield Done(key=bearer, status="refused", code=code, detail=detail)


async def _try_size(prepared: Prepared) -> None:
    """Decision 31: where the size is not known, one template goes into memory and back before anything is stored."""
    if prepared.plan.sample is None:
        return
    if await prepared.lock.rehearse_write(prepared.plan.sample) is False:
        raise PolicyError(
            "the target's memory does not give back a template of this size; nothing was stored",
            hint="the replacement takes templates of another size; choose one of the same kind, or enrol again",
            code="template-size",
        )


def _shaken(plan: Plan, failed: set[StepId]) -> dict[str, Done]:
    """Find records that were equal before and may not be any more: some units take away more than they are told to."""
    detail = "something that it rests on could not be done for certain, so this was not proven either; restore again"
    return {
        record.key: Done(key=record.key, status="differs", code="read-back-differs", detail=detail)
        for record in plan.records
        if record.done and not failed.isdisjoint(plan.needs.get(("put", record.key), ()))
    }


def _noted(step: Step) -> str:
    """Return the key under which the journal notes a step; what goes is the unit's own, not the backup's."""
    return f"held/{step.key}" if step.action == "remove" else step.key


def _certain(step: Step, done: Done) -> bool:
    """Whether it is known what lies there now; else the journal keeps the record as unconfirmed."""
    if done.proof or "left empty" in (done.detail or ""):
        return True
    return done.status == "refused" and not (step.kind == "fingerprint" and step.action == "put" and step.was_empty)


def _with_outcome(record: RecordResult, done: Done | None) -> RecordResult:
    if done is None:
        return record
    if done.status == "written":
        return replace(record, proof=done.proof)
    return replace(record, reasons=(*record.reasons, done.code or "write-refused"), detail=done.detail, proof=None)


def _losses(outcome: dict[str, Done]) -> list[Loss]:
    losses = []
    for key, done in outcome.items():
        if done.status in ("refused", "differs"):
            loss = Loss(record=key, stage="write", code=done.code or "write-refused", detail=done.detail)
            losses.append(loss if done.status == "refused" else replace(loss, stage="verify"))
    return losses


def _exit_code(records: tuple[RecordResult, ...], losses: list[Loss], prepared: Prepared) -> int:
    """Decision 30: 0 when all is copied, adjusted or skipped, or re-enrolled as the source profile announced."""
    announced = {gap.record for gap in prepared.source.gaps if gap.announced and gap.record is not None}
    for record in records:
        written = record.outcome in WRITTEN and not record.noted
        if written and record.proof is None:
            return 9
        if record.outcome in ("re_enrol", "reissue") and not announced & {record.key, record.follows}:
            return 9
        if record.outcome in ("needs_input", "refuse"):
            return 9
    return 9 if any(loss.stage in ("write", "verify") for loss in losses) else 0


async def _recheck(prepared: Prepared, records: tuple[RecordResult, ...], removed: tuple[str, ...]) -> Unit:
    """At the end only identity, index, counts, settings and notepad are read again; each slot was proven before."""
    lock = prepared.lock
    async for item in read_unit(lock, sections=QUICK):
        if isinstance(item, Reading):
            reading = item
    held = occupied(reading.unit.family, {item.name: item.data for item in reading.snapshot.tables}, lock.variant)
    if held is None:
        return reading.unit
    kinds = {key.partition("/")[0] for key in held}
    kinds.add("user" if reading.unit.capabilities.user_records else "fingerprint")
    must = {
        _place_key(step)
        for step, record in _pairs(prepared.plan.steps, records)
        if step.kind in kinds and record.proof == "V4"
    }
    missing = sorted(must - held)
    still = sorted(key for key in removed if key.partition("/")[0] in kinds and key in held)
    if missing or still:
        raise MismatchError(
            "the unit's own list does not show what was just proven record by record",
            differences=(*(f"{key} is missing" for key in missing), *(f"{key} remains" for key in still)),
            hint="run verify FILE TARGET; if it differs, restore again: only what differs is written",
        )
    return reading.unit


def _place_key(step: Step) -> str:
    """The key under which the unit's list names the place of a step; a moved template has that of its new slot."""
    origin = step.origin
    if "credential_index" in origin:
        return f"fingerprint/{origin['credential_index']}"
    return f"user/{origin['user_index']}" if step.kind == "user" else step.key


def _pairs(steps: tuple[Step, ...], records: tuple[RecordResult, ...]) -> list[tuple[Step, RecordResult]]:
    by_key = {record.key: record for record in records}
    return [(step, by_key[step.key]) for step in steps if step.action == "put" and step.key in by_key]
