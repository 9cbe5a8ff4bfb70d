"""The plan: one outcome for every source record, and the steps that make it true.

A pure function of the backup, of what the target holds now, and of what was decided. R0: a change may narrow a
right, never widen one.
"""

from __future__ import annotations

from collections.abc import Mapping

from lockmigrate.model.adopted import Adopter
from lockmigrate.model.document import Snapshot
from lockmigrate.model.results import Unit
from lockmigrate.model.steps import Fitted
from lockmigrate.planning.codes import plan_codes
from lockmigrate.planning.cross import plan_across
from lockmigrate.planning.draft import Draft, Plan
from lockmigrate.planning.entries import plan_entries
from lockmigrate.planning.foreign import plan_foreign
from lockmigrate.planning.guards import guards
from lockmigrate.planning.people import plan_people
from lockmigrate.planning.policy import Policy
from lockmigrate.planning.slots import plan_slots

__all__ = ["Plan", "make_plan"]


def make_plan(
    source: Snapshot,
    target: Snapshot,
    unit: Unit,
    policy: Policy,
    *,
    unconfirmed: frozenset[str] = frozenset(),
    fitted: Mapping[str, Fitted] | None = None,
    adopter: Adopter | None = None,
) -> Plan:
    """Plan a restore.

    Args:
        source: what the backup holds.
        target: what the new unit holds now.
        unit: the new unit's identity and limits.
        policy: what was decided.
        unconfirmed: keys that an interrupted restore of this backup started on this unit and did not confirm.
        fitted: how the target would hold the source's records (`formats.fitted`).
        adopter: what builds records of the target's family out of another one's (`formats.adopter`).
    """
    families = (source.lock.family, target.lock.family)
    draft = Draft()
    writable = True
    if "image" in families:
        plan_foreign(draft, source, target)
        writable = all(record.done or record.kind in ("access_key", "log") for record in draft.records)
    elif families[0] != families[1]:
        writable = plan_across(draft, source, target, unit, policy, unconfirmed, fitted or {}, adopter)
    elif target.lock.family == "ttlock":
        plan_entries(draft, source, target, unit, policy, unconfirmed, fitted or {})
    elif target.lock.family == "nuki":
        plan_codes(draft, source, target, unit, policy, unconfirmed, fitted or {})
    elif source.users or source.groups or source.schedules or unit.capabilities.user_records:
        plan_people(draft, source, target, unit, policy, unconfirmed, fitted or {})
    else:
        plan_slots(draft, source, target, unit, policy, unconfirmed)
    return draft.finish(policy, unit, writable=writable, guards=guards(source, target, policy))
