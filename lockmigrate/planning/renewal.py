"""New PINs for records that a plan could not place under their old ones, and the plan that is made with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import PinData
from lockmigrate.model.results import WRITTEN, RecordResult, Unit
from lockmigrate.planning.draft import Plan
from lockmigrate.planning.new_pins import check_of, suggestions
from lockmigrate.planning.pins import unfit
from lockmigrate.planning.policy import PIN_REASONS, Choice, Policy, decided

NEW_PIN: Final = "gets a new PIN: tell the person"
SUITS: Final[tuple[Choice, ...]] = ("suggest", "value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """A PIN that a record gets."""

    digits: str = field(repr=False)
    reasons: tuple[str, ...]
    answered: bool
    """Whether a person decided so; else it was found on the target, where an earlier run had put it."""
    chosen: bool
    """Whether a person chose the digits: another run may have been told others."""


def renewals(plan: Plan, source: Snapshot, target: Snapshot, unit: Unit, policy: Policy) -> dict[str, Renewal]:
    """Say which PINs of the backup get other digits: those that the plan asks about, as answered.

    Args:
        plan: the plan with the PINs as they are.
        source: the backup.
        target: what the target holds.
        unit: the target.
        policy: what was decided.
    """
    pins = {item.key: item for item in source.credentials if isinstance(item.data, PinData)}
    bearers = {item.user: item.key for item in pins.values() if item.user is not None}
    open_ = [
        (record, reasons)
        for record in plan.records
        if record.outcome == "needs_input"
        and record.follows is None
        and (reasons := tuple(reason for reason in record.reasons if reason in PIN_REASONS))
        and (record.key in pins or record.key in bearers)
    ]
    if not open_:
        return {}
    capability = unit.capabilities.credentials.pin
    held = {_digits(item) for item in target.credentials if isinstance(item.data, PinData)}
    taken = {_digits(item) for item in pins.values()}
    suggested = suggestions(source, unit.id, capability)
    found: dict[str, Renewal] = {}
    for record, reasons in open_:
        key = record.key if record.key in pins else bearers[record.key]
        # In a terminal the question is the person's, and the answer may name either.
        answer = next((item for item in policy.decisions.answer if item.key == key and item.choice in SUITS), None)
        answer = answer or decided(replace(record, reasons=reasons), policy, SUITS)
        if answer is not None and answer.choice == "value":
            digits = answer.value if isinstance(answer.value, str) else ""
            spent = answer.key is None and any(other.new_pin for other in plan.records)
            if digits in taken or spent:  # one PIN is for one person
                continue
        else:
            digits = suggested.get(key, "")
            if (answer is None and digits not in held) or digits in taken:
                continue
        if digits and not unfit(digits, capability):
            taken.add(digits)
            chosen = answer is not None and answer.choice == "value"
            found[key] = Renewal(digits=digits, reasons=reasons, answered=answer is not None, chosen=chosen)
    return found


def told(plan: Plan, source: Snapshot, given: Mapping[str, Renewal]) -> Plan:
    """Say in a plan that was made with new PINs which records have them."""

    def marked(record: RecordResult) -> RecordResult:
        renewal = given.get(record.key)
        if renewal is None or record.outcome not in WRITTEN:
            return record
        reasons = tuple(dict.fromkeys((*renewal.reasons, *record.reasons)))
        parts = (*(record.detail or "").split("; "), NEW_PIN)
        detail = "; ".join(dict.fromkeys(part for part in parts if part))
        check = check_of(source, record.key, renewal.digits)
        return replace(record, outcome="adjust", reasons=reasons, detail=detail, new_pin=True, pin_check=check)

    warnings = tuple(line for line in plan.warnings if not _settled(line, plan, given))
    return dataclasses.replace(plan, records=tuple(marked(record) for record in plan.records), warnings=warnings)


def _settled(line: str, plan: Plan, given: Mapping[str, Renewal]) -> bool:
    """Whether a remark says that an answer changes nothing, which has given a PIN."""
    keys = {key for record in plan.records if record.key in given for key in (record.key, record.follows) if key}
    return line.startswith("decisions: nothing is asked about ") and any(f"about {key}," in line for key in keys)


def _digits(item: object) -> str:
    data = getattr(item, "data", None)
    return str(data.digits.reveal()) if isinstance(data, PinData) else ""
