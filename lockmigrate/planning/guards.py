"""Refusals of a whole plan that a person may answer in `[guards]` of a decisions file (neutral-format 6.1)."""

from __future__ import annotations

import re
from typing import Final

from lockmigrate.model.document import Snapshot
from lockmigrate.planning.policy import Policy

OLDER: Final = "firmware-older"
"""The replacement's firmware is older than the old unit's: it may know less of what the records say. Tapkey's rule for
replacing a broken lock (neutral-format 6.1)."""
OVERRIDE: Final = "override"
_NUMBERS: Final = re.compile(r"\d+(?:\.\d+)+")


def guards(source: Snapshot, target: Snapshot, policy: Policy) -> list[str]:
    """Return the codes of guards that forbid a plan as it stands."""
    raised = [OLDER] if _older(source, target) else []
    return [code for code in raised if policy.decisions.guards.get(code) != OVERRIDE]


def _older(source: Snapshot, target: Snapshot) -> bool:
    """Numbers of one model count up; those of two models say nothing of each other."""
    same = source.lock.family == target.lock.family and source.lock.model == target.lock.model
    mine, theirs = _version(source.lock.firmware_rev), _version(target.lock.firmware_rev)
    return same and source.lock.model is not None and bool(mine and theirs) and theirs < mine


def _version(text: str | None) -> tuple[int, ...]:
    """Return the first dotted number of a firmware's name; empty where there is none."""
    found = _NUMBERS.search(text or "")
    return tuple(int(part) for part in found.group().split(".")[:6]) if found else ()
