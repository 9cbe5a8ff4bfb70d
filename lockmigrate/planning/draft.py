"""What a plan is, and the pieces that its rule books fill in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from lockmigrate.model.records import Loss
from lockmigrate.model.results import RecordResult, Unit
from lockmigrate.model.steps import Step
from lockmigrate.planning.policy import Policy, unsettled

BIOMETRIC: Final = ("fingerprint", "face")
StepId = tuple[str, str]
"""Action and key: a place may be cleared under a key and written under the same."""


def step_id(step: Step) -> StepId:
    return step.action, step.key


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a restore would do. Holds secrets inside its steps; results show only `records`."""

    records: tuple[RecordResult, ...]
    steps: tuple[Step, ...] = field(repr=False)
    removals: tuple[str, ...]
    existing: tuple[str, ...]
    """Records on the target that the plan would not write."""
    overwrites: tuple[str, ...]
    """Those of them whose place gets another record: they are lost but for the copy made before."""
    blocked_by: tuple[str, ...]
    """Machine codes of what forbids it as it stands."""
    losses: tuple[Loss, ...]
    warnings: tuple[str, ...]
    needs: Mapping[StepId, tuple[StepId, ...]] = field(default_factory=dict)
    """Step to the steps without which it must not happen; a record that is done may need some too, as a put."""
    sample: bytes | None = field(default=None, repr=False)
    """A template to send into memory and back first, where the target's size is not known."""

    @property
    def executable(self) -> bool:
        return not self.blocked_by

    @property
    def to_write(self) -> int:
        """How many records have to be written."""
        return sum(1 + len(step.also) for step in self.steps if step.action == "put")


@dataclass(slots=True, kw_only=True)
class Draft:
    """A plan in the making."""

    records: list[RecordResult] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    removals: list[str] = field(default_factory=list)
    existing: list[str] = field(default_factory=list)
    overwrites: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    needs: dict[StepId, tuple[StepId, ...]] = field(default_factory=dict)
    sample: bytes | None = None
    no_templates: bool = False
    """No template can be written to such a target at all."""

    def finish(self, policy: Policy, unit: Unit, *, writable: bool, guards: Iterable[str] = ()) -> Plan:
        """Judge the whole and freeze it."""
        losses = [
            Loss(record=item.key, stage="plan", code=reason, detail=item.detail)
            for item in self.records
            for reason in item.reasons
            if item.outcome in ("re_enrol", "needs_input", "refuse")
        ]
        replacing = policy.existing == "replace"
        return Plan(
            records=tuple(self.records),
            steps=tuple(self.steps),
            removals=tuple(self.removals) if replacing else (),
            existing=tuple(self.existing),
            overwrites=tuple(dict.fromkeys(self.overwrites)) if policy.existing is not None else (),
            blocked_by=(*self._blocked(policy, writable=writable), *guards),
            losses=tuple(losses),
            warnings=(*self.warnings, *unsettled(policy, self.records), *self._consent(policy, unit)),
            needs=dict(self.needs),
            sample=self.sample,
        )

    def _blocked(self, policy: Policy, *, writable: bool) -> list[str]:
        blocked = []
        read = [
            item for item in self.records if item.kind == "fingerprint" and item.reasons != ("template-unreadable",)
        ]
        others = any(item.kind in ("user", "pin", "card") for item in self.records)
        if not writable or (read and not others and all(item.outcome == "re_enrol" for item in read)):
            blocked.append("wrong-target")
        if self.existing and policy.existing is None:
            blocked.append("target-not-empty")
        if any(item.outcome == "needs_input" for item in self.records):
            blocked.append("needs-input")
        if any(item.outcome == "refuse" for item in self.records):
            blocked.append("plan-blocked")
        if self._people() and policy.require_consent and not policy.consent_ref:
            blocked.append("consent")
        return blocked

    def _people(self) -> bool:
        """Whether anybody's body moves along; who enrols again consents at the door."""
        return not self.no_templates and any(
            item.kind in BIOMETRIC and item.outcome not in ("re_enrol", "skip", "refuse") for item in self.records
        )

    def _consent(self, policy: Policy, unit: Unit) -> list[str]:
        if not self._people() or policy.consent_ref or unit.simulated:
            return []
        return [
            "consent: fingerprints are moved without a reference to the people's consent; --consent REF records one"
        ]
