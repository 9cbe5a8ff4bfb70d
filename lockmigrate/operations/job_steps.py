"""How far the steps of a door are, and running those that can be run: what is finished is not repeated.

A step is finished when its command ended well and what it was done with is still the same. The digest of that is kept
with its result. A step that fails stops its own door only.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from lockmigrate.errors import FileTrouble, LockmigrateError, MismatchError, PolicyError
from lockmigrate.formats.files import exists, read_whole, write_whole
from lockmigrate.model.job_results import DoorSeen, JobResult, StepName, StepSeen, StepState
from lockmigrate.model.results import WRITTEN
from lockmigrate.operations.jobs import DECISIONS_FILE, NAMES_FILE, STEPS, Door, Job, Notes, StepNote, is_profile
from lockmigrate.protocols.clock import utc_now

ENDED_WELL: Final[Mapping[StepName, tuple[int, ...]]] = {
    "backup": (0, 9),
    "plan": (0,),
    "restore": (0, 9),
    "verify": (0,),
}
"""Exit codes with which a step is finished; 9 says that not everything could be had or moved, and is told again."""
QUESTIONS_FILE: Final = "questions.toml"
"""What a plan asks, in the form of a decisions file."""
LEFT_OUT: Final = "it differs from the backup in what was left out or kept by decision, and in nothing else"
MAX_BACKUP_BYTES: Final = 1 << 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one command said."""

    document: str
    """One line of JSON."""
    exit_code: int
    error: LockmigrateError | None = None
    """The error that ends with the document, as a refused plan has."""
    unit: str | None = None
    """Serial number or id of the unit that was touched."""
    file: Path | None = None
    """The backup that was made."""


Perform = Callable[[Door, StepName, "Work"], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a step works with."""

    place: Path
    backup: Path
    """The backup to read; of the step `backup`, the one to make."""
    old_unit: str | None = None
    """Of which unit the backup is."""
    names: Path | None = None
    decisions: Path | None = None


def see_job(job: Job, ran: tuple[str, ...] = ()) -> JobResult:
    """Say how far every door is.

    Raises:
        ConfigError, FileTrouble: a door's notes cannot be read.
    """
    doors = tuple(see_door(job, door) for door in job.file.door)
    failed = [door for door in doors if any(step.state in ("failed", "interrupted") for step in door.steps)]
    return JobResult(
        folder=str(job.folder),
        name=job.file.name,
        doors=doors,
        finished=sum(door.finished for door in doors),
        failed=len(failed),
        ran=ran,
    )


def see_door(job: Job, door: Door) -> DoorSeen:
    """Say how far one door is."""
    notes = job.notes(door)
    steps = tuple(_see_step(job, door, step, notes) for step in STEPS)
    note = notes.steps.get("backup")
    backup = f"{door.name}/{note.file}" if note is not None and note.file else None
    finished = all(step.state == "done" for step in steps)
    return DoorSeen(
        door=door.name,
        old=door.old,
        new=door.new,
        unit=door.unit,
        new_unit=door.new_unit,
        backup=backup,
        steps=steps,
        finished=finished,
        next=_next(job, door, steps),
    )


async def run_door(
    job: Job, door: Door, perform: Perform, *, only: StepName | None = None, again: bool = False
) -> tuple[str, ...]:
    """Run the steps of a door that can be run, one after the other; return which were, and stop at one that failed.

    Raises:
        ConfigError, FileTrouble: the door's own files cannot be read or written.
    """
    ran: list[str] = []
    for step in STEPS:
        if only is not None and step != only:
            continue
        seen = _see_step(job, door, step, job.notes(door))
        if seen.state == "waiting":
            break
        if seen.state == "done" and not again:
            continue
        ran.append(f"{door.name}/{step}")
        if not await _run_step(job, door, step, perform):
            break
    return tuple(ran)


async def _run_step(job: Job, door: Door, step: StepName, perform: Perform) -> bool:
    notes, place = job.notes(door), job.place(door)
    before = notes.steps.get(step)
    inputs = _inputs(job, door, step, notes)
    note = StepNote(
        state="running",
        inputs=inputs,
        tries=(before.tries if before else 0) + 1,
        started_at=utc_now(),
        # A backup that is there stays known while another is tried.
        file=before.file if before else None,
        file_sha256=before.file_sha256 if before else None,
        unit=before.unit if before else None,
    )
    job.write_note(door, step, note)
    try:
        outcome = await perform(door, step, _work(place, notes, step))
    except LockmigrateError as error:
        job.write_note(door, step, _failed(note, error))
        return False
    write_whole(place / f"{step}.json", outcome.document.encode("utf-8", "surrogateescape"), replace=True)
    note = replace(
        note, exit_code=outcome.exit_code, result=f"{door.name}/{step}.json", ended_at=utc_now(), unit=outcome.unit
    )
    if outcome.file is not None:
        note = replace(note, file=outcome.file.name, file_sha256=_sha256(outcome.file))
    differs = step == "verify" and outcome.exit_code == MismatchError.exit_code
    if differs and _as_restored(door, place / "restore.json", outcome.document):
        job.write_note(door, step, replace(note, state="done", message=LEFT_OUT))
        return True
    if step == "plan" and outcome.exit_code in ENDED_WELL[step]:
        (place / QUESTIONS_FILE).unlink(missing_ok=True)  # nothing is asked any more
    if outcome.exit_code in ENDED_WELL[step]:
        job.write_note(door, step, replace(note, state="done"))
        return True
    job.write_note(door, step, _failed(note, outcome.error))
    return False


def _as_restored(door: Door, restored: Path, verified: str) -> bool:
    """Whether the unit differs from the backup only in what the restore left out, or kept beside it, as decided."""
    try:
        before: dict[str, Any] = json.loads(read_whole(restored, max_bytes=MAX_BACKUP_BYTES) or b"")
        now: dict[str, Any] = json.loads(verified)
        left = {item["key"] for item in before["records"] if item["outcome"] not in WRITTEN}
        differs = {item["key"] for item in now["records"] if not item["done"]} - set(now["not_compared"])
        return differs <= left and (not now["extra"] or door.existing == "merge")
    except (FileTrouble, ValueError, KeyError, TypeError):
        return False


def _failed(note: StepNote, error: LockmigrateError | None) -> StepNote:
    if error is None:
        return replace(note, state="failed", ended_at=utc_now())
    return replace(
        note,
        state="failed",
        exit_code=error.exit_code,
        code=error.code,
        message=error.message,
        hint=error.hint,
        ended_at=utc_now(),
    )


def _work(place: Path, notes: Notes, step: StepName) -> Work:
    note = notes.steps.get("backup")
    backup = place / note.file if note is not None and note.file and step != "backup" else _free_name(place)
    names, decisions = place / NAMES_FILE, place / DECISIONS_FILE
    return Work(
        place=place,
        backup=backup,
        old_unit=note.unit if note is not None else None,
        names=names if exists(names) else None,
        decisions=decisions if exists(decisions) else None,
    )


def _free_name(place: Path) -> Path:
    """A new backup never takes the place of one: the old unit may have died since."""
    number = 1
    while exists(path := place / ("backup.age" if number == 1 else f"backup-{number}.age")):
        number += 1
    return path


def insist_on_unit(found: str, serial: str | None, wanted: str | None, *, old_unit: str | None = None) -> None:
    """Refuse a unit that is not the one this door was given.

    Args:
        found: `unit.id` of what is connected.
        serial: its serial number, where it has one.
        wanted: the id that was stored for it; None: any.
        old_unit: of which unit the backup is, where the new one is looked at.

    Raises:
        PolicyError: code `other-unit`, or `wrong-target` where old and new are one and the same.
    """
    if wanted is not None and found != wanted:
        raise PolicyError(
            f'this door expects the unit "{wanted}", and "{found}" is connected',
            hint="nothing was changed; connect the right one, or correct it: job add FOLDER DOOR --unit, --new-unit",
            code="other-unit",
        )
    if serial is not None and serial == old_unit:
        raise PolicyError(
            f"old and new unit are one and the same, serial {serial}",
            hint="connect the new unit; to put a backup back on its own unit use restore",
            code="wrong-target",
        )


# ---- how far a step is ----------------------------------------------------------------------------------------------


def _see_step(job: Job, door: Door, step: StepName, notes: Notes) -> StepSeen:
    note = notes.steps.get(step)
    state, why = _state(job, door, step, notes)
    if note is None:
        return StepSeen(step=step, state=state, why=why)
    return StepSeen(
        step=step,
        state=state,
        exit=note.exit_code,
        code=note.code,
        message=note.message,
        hint=note.hint,
        result=note.result,
        tries=note.tries,
        ended_at=note.ended_at,
        why=why,
    )


def _state(job: Job, door: Door, step: StepName, notes: Notes) -> tuple[StepState, str | None]:
    note = notes.steps.get(step)
    fresh = note is not None and note.inputs == _inputs(job, door, step, notes)
    if note is not None and fresh and note.state == "done" and (step != "backup" or _there(job, door, note)):
        waits = _waits_for(job, door, step, notes)
        return ("waiting", waits) if waits and step != "backup" else ("done", None)
    waits = _waits_for(job, door, step, notes)
    if waits is not None:
        return "waiting", waits
    if note is None:
        return "open", None
    if note.state == "running":
        return "interrupted", "it did not come to its end"
    if note.state == "failed" and fresh:
        return "failed", None
    gone = "the backup file is gone" if step == "backup" and fresh else "what it was done with has changed"
    return "changed", gone


def _waits_for(job: Job, door: Door, step: StepName, notes: Notes) -> str | None:
    if step == "backup":
        return "the old unit: job add --old TARGET" if is_profile(door.old) else None
    if step in ("restore", "verify") and is_profile(door.new):
        return "the new unit: job add --new TARGET"
    before = STEPS[STEPS.index(step) - 1]
    state, _ = _state(job, door, before, notes)
    return None if state == "done" else before


def _there(job: Job, door: Door, note: StepNote) -> bool:
    return note.file is not None and exists(job.place(door) / note.file)


def _inputs(job: Job, door: Door, step: StepName, notes: Notes) -> str:
    """Digest what a step is done with; keyed by the job's salt, for a decisions file may hold a PIN."""
    place = job.place(door)
    backup = notes.steps.get("backup", StepNote(state="", inputs=""))
    parts: dict[str, str | None]
    if step == "backup":
        parts = {"old": door.old, "unit": door.unit, "names": _content(place / NAMES_FILE), "consent": door.consent}
    else:
        parts = {"backup": backup.file_sha256, "new": door.new, "unit": door.new_unit}
        if step != "verify":
            parts |= {"existing": door.existing, "consent": door.consent}
            parts["decisions"] = _content(place / DECISIONS_FILE)
        else:
            parts["restored"] = notes.steps.get("restore", StepNote(state="", inputs="")).ended_at
    text = "\0".join(f"{name}={value!r}" for name, value in parts.items())
    return hmac.new(
        bytes.fromhex(job.file.salt), f"{step}\0{text}".encode("utf-8", "surrogateescape"), "sha256"
    ).hexdigest()


def _content(path: Path) -> str | None:
    data = read_whole(path, max_bytes=MAX_BACKUP_BYTES) if exists(path) else None
    return None if data is None else hashlib.sha256(data).hexdigest()


def _sha256(path: Path) -> str:
    return _content(path) or ""


def _next(job: Job, door: Door, steps: tuple[StepSeen, ...]) -> str:
    """Say what to do next, about the first step that is not done."""
    todo = next((item for item in steps if item.state != "done"), None)
    if todo is None:
        left = any(item.exit for item in steps)
        return "finished; its results say who has to come, and what did not move" if left else "finished"
    if todo.state == "waiting":
        return f"waits for {todo.why}"
    if todo.state == "failed":
        advice = _ADVICE.get(todo.code or todo.step, todo.hint) or "run it again"
        decide = job.place(door) / DECISIONS_FILE
        advice = advice.replace("DECISIONS", str(decide)).replace("QUESTIONS", QUESTIONS_FILE)
        return f"{todo.step}: {todo.message or f'exit code {todo.exit}'}; {advice}"
    if todo.state == "interrupted":
        return f"{todo.step} was interrupted: run it again, what is done counts"
    return f"run {todo.step}" + (f" again: {todo.why}" if todo.why else "")


_ADVICE: Final = {
    "plan-blocked": "answer what QUESTIONS beside it asks in DECISIONS, then run it again",
    "needs-input": "answer what QUESTIONS beside it asks in DECISIONS, then run it again",
    "verify": "its result says what differs; job run FOLDER DOOR --only restore --again writes it again",
    "target-not-empty": "job add FOLDER DOOR --existing merge, or replace; then run it again",
    "confirm-needed": "job add FOLDER DOOR --new-unit ID, or run it on a terminal",
}
