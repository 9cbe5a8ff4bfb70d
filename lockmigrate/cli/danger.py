"""What a person reads just before a restore writes: what happens to which unit."""

from __future__ import annotations

from typing import Final

from lockmigrate.cli.parts import grouped, keys_text, kinds_text, unit_name
from lockmigrate.cli.words import clean, counted
from lockmigrate.model.results import WRITTEN, PlanResult

MOST_EXTRA: Final = 40
"""Keys of what is on a unit besides."""
_NOBODYS: Final = ("setting", "access_key", "log")
"""Kinds that nobody opens with."""


def danger_lines(plan: PlanResult, before: str | None) -> list[str]:
    """Return what `ask.confirm_unit` shows before a restore: what happens to which unit; `before` keeps the old.

    What matters most stands last, where it is read: just above the question.
    """
    add = [record for record in plan.records if record.outcome in WRITTEN and not record.done and not record.noted]
    out = [record for record in plan.records if record.outcome not in WRITTEN]
    people = [record for record in out if record.kind not in _NOBODYS]
    lines = [f"  {keys}: {text}" for keys, text in grouped(people)]
    lines += [f"  note: {clean(warning)}" for warning in plan.warnings]
    does = "replaces the records on" if plan.existing or plan.removals else "writes to"
    lines.append(f"This {does} {unit_name(plan.unit)}:")
    if plan.file:
        lines.append(f"  from {clean(plan.file)}, a backup of {unit_name(plan.source)}")
    if add:
        lines.append(f"  write {kinds_text(add)}")
    fresh = sum(1 for record in add if record.new_pin)
    if fresh:
        lines.append(f"  give {'one person' if fresh == 1 else f'{fresh} people'} a new PIN")
    if plan.overwrites:
        held = keys_text(plan.overwrites, most=MOST_EXTRA)
        lines.append(f"  overwrite {counted(len(plan.overwrites), 'record')} that lie there now: {held}")
    if plan.removals:
        lines.append(f"  remove {counted(len(plan.removals), 'record')}: {keys_text(plan.removals, most=MOST_EXTRA)}")
    if out:
        lines.append(f"  leave out {kinds_text(out)}")
    if before:
        lines.append(f"A copy of what is there now goes to {before}")
    return lines
