"""A decisions file to begin with: every question of a plan once, and every choice that answers it.

It never holds digits: a PIN is entered by a person, or suggested.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Final

from lockmigrate.model.results import RecordResult
from lockmigrate.planning.guards import OLDER, OVERRIDE
from lockmigrate.planning.policy import PIN_REASONS, Answer, Decisions

_OTHER: Final = {
    "capacity": "value, with value = a free number",
    "card-number-rule": 'value, with value = "same" or "reversed"',
    "zone-differs": 'value, with value = "Europe/Berlin" or the like',
    "name-encoding": 'write (without its name), or value, with value = "a name"',
    "no-keypad": "",
    "no-public-layout": "",
    "setting-unsupported": "",
    "schedule-unsupported": "",
    "template-format": "",
    "other-family": "",
    "user-missing": "",
    "card-too-long": "",
} | dict.fromkeys(PIN_REASONS, 'suggest, or value, with value = "digits"; a file with PINs must be yours alone (0600)')
"""Reason of a question to the choices that answer it besides `skip`; those that are not named here take `write`."""
MOST_KEYS: Final = 5


def skeleton(records: Iterable[RecordResult]) -> list[str]:
    """Return the lines of a decisions file for what is open; empty where nothing is."""
    open_ = [item for item in records if item.outcome in ("needs_input", "refuse") and item.follows is None]
    asked: dict[str, list[RecordResult]] = {}
    refused: dict[str, list[RecordResult]] = {}
    for item in open_:
        if item.outcome == "refuse":
            refused.setdefault(item.reasons[0], []).append(item)
            continue
        for reason in _each(item.reasons):
            asked.setdefault(reason, []).append(item)
    lines: list[str] = []
    for reason, found in asked.items():
        other = _OTHER.get(reason, "write")
        if reason == "capacity" and all(item.kind != "fingerprint" for item in found):
            other = ""  # only fingers have a slot to choose
        if reason == "pin-duplicate":
            other = f"write (it then opens for both, or replaces what is there), {other}"
        lines += ["[[answer]]", f'reason = "{reason}"  # {_keys(found)}']
        lines.append('choice = "skip"' + (f"  # or {other}" if other else "  # nothing else answers it"))
    for reason, found in refused.items():
        lines += ["[[answer]]", f'key = "{found[0].key}"  # {reason}']
        lines.append('choice = "skip"  # or override, record by record')
        if len(found) > 1:
            lines += ["[[answer]]", f'reason = "{reason}"  # {_keys(found)}', 'choice = "skip"']
    return lines


def _each(reasons: tuple[str, ...]) -> list[str]:
    """Several things that are wrong with a PIN have one answer."""
    pins = [reason for reason in reasons if reason in PIN_REASONS]
    return [*pins[:1], *(reason for reason in reasons if reason not in PIN_REASONS)]


def _keys(found: list[RecordResult]) -> str:
    more = f" and {len(found) - MOST_KEYS} more" if len(found) > MOST_KEYS else ""
    return ", ".join(item.key for item in found[:MOST_KEYS]) + more


def document(decisions: Decisions, records: Sequence[RecordResult], blocked_by: Iterable[str] = ()) -> str:
    """Return a decisions file: what was decided already, also by options, and what is still open."""
    lines = ["# Answers to what a plan asks: --decisions FILE. What is left out here is asked again.", ""]
    lines += ["[guards]"] if decisions.guards or OLDER in blocked_by else []
    lines += [f"{_value(name)} = {_value(choice)}" for name, choice in decisions.guards.items()]
    if OLDER in blocked_by:
        lines.append(f'# {OLDER} = "{OVERRIDE}"  # without the first sign: restore to the older firmware all the same')
    lines += [""] if decisions.guards or OLDER in blocked_by else []
    for answer in decisions.answer:
        lines += [*_given(answer), ""]
    answered = {answer.reason for answer in decisions.answer}
    given = {answer.key for answer in decisions.answer}
    fresh = [record for record in records if record.new_pin and record.key not in given]
    for reason in dict.fromkeys(reason for record in fresh for reason in _each(record.reasons)[:1]):
        if reason in PIN_REASONS and reason not in answered:
            lines += ["[[answer]]", f'reason = "{reason}"', 'choice = "suggest"', ""]
    for line in skeleton(records):
        lines += [""] if line == "[[answer]]" and lines[-1] else []
        lines.append(line)
    return "\n".join(lines).rstrip() + "\n"


def _given(answer: Answer) -> list[str]:
    what = f"key = {_value(answer.key)}" if answer.key is not None else f"reason = {_value(answer.reason or '')}"
    lines = ["[[answer]]", what, f'choice = "{answer.choice}"']
    if answer.holds_pin:
        head = "# a PIN was given here, which is not written down: enter it again, without the first signs"
        return [head, *(f"# {line}" for line in (*lines, 'value = ""'))]
    if answer.value is not None:
        lines.append(f"value = {_value(answer.value)}")
    return lines


def _value(value: int | str) -> str:
    return json.dumps(value, ensure_ascii=False)  # of TOML's strings those of JSON are a part
