"""A plan between two snapshots, whatever their families; again with new PINs where those were asked for."""

from __future__ import annotations

from lockmigrate.formats import adopter, fitted
from lockmigrate.formats.renew import renewed
from lockmigrate.model.document import Snapshot
from lockmigrate.model.results import Unit
from lockmigrate.planning.plan import Plan, make_plan
from lockmigrate.planning.policy import Policy
from lockmigrate.planning.renewal import Renewal, renewals, told


def plan_between(
    source: Snapshot, target: Snapshot, unit: Unit, policy: Policy, *, unconfirmed: frozenset[str] = frozenset()
) -> Plan:
    """Plan a restore; see `planning.plan.make_plan` for the arguments.

    Raises:
        FrameError, BackupError: a record of either side does not follow its layout.
    """

    def planned(given: dict[str, Renewal]) -> Plan:
        mine = renewed(source, {key: item.digits for key, item in given.items()}, for_family=target.lock.family)
        plan = make_plan(
            mine,
            target,
            unit,
            policy,
            unconfirmed=unconfirmed - {key for key, item in given.items() if item.chosen},
            fitted=fitted(mine, target),
            adopter=adopter(mine, target),
        )
        return told(plan, source, given) if given else plan

    first = planned({})
    given = renewals(first, source, target, unit, policy)
    if not given:
        return first
    plan = planned(given)
    # What nobody decided counts only where it was written before and is there just so.
    done = {record.key for record in plan.records if record.done}
    sure = {key: item for key, item in given.items() if item.answered or key in done}
    return plan if len(sure) == len(given) else planned(sure)
