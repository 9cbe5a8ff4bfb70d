"""A decisions file to begin with: every question of a plan once, and every choice that answers it.

It never holds digits: a PIN is entered by a person, or suggested.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from lockmigrate.model.results import RecordResult
from lockmigrate.planning.guards import OLDER, OVERRIDE
from lockmigrate.planning.policy import PIN_REASONS, Answer, Decisions

_OTHER: Final = {
    "capacity": ("value", "value = a free number"),
    "card-number-rule": ("value", 'value = "same", or "reversed"'),
    "zone-differs": ("value", 'value = "Europe/Berlin", or the like'),
    "name-encoding": ("write (without its name), or value", 'value = "a name"'),
    "no-keypad": ("", ""),
    "no-card-reader": ("", ""),
    "no-public-layout": ("", ""),
    "setting-unsupported": ("", ""),
    "schedule-unsupported": ("", ""),
    "template-format": ("", ""),
    "other-family": ("", ""),
    "user-missing": ("", ""),
} | dict.fromkeys(PIN_REASONS, ("suggest, or value", 'value = "digits"; then the file is yours alone: chmod 600'))
"""Reason of a question to the choices that answer it besides `skip`, and what they need; those that are not named here
take `write`."""
_BOTH: Final = "write (it then opens for both, or replaces what is there), "
MOST_KEYS: Final = 4


def skeleton(records: Iterable[RecordResult]) -> list[str]:
    """Return the lines of a decisions file for what is open, narrow enough for a page; empty where nothing is."""
    return [line for block in _blocks(records) for line in block]


def _blocks(records: Iterable[RecordResult]) -> Iterator[list[str]]:
    """Yield one answer after the other, with what it is about."""
    open_ = [item for item in records if item.outcome in ("needs_input", "refuse") and item.follows is None]
    asked: dict[str, list[RecordResult]] = {}
    refused: dict[str, list[RecordResult]] = {}
    for item in open_:
        if item.outcome == "refuse":
            refused.setdefault(item.reasons[0], []).append(item)
            continue
        for reason in _each(item.reasons):
            asked.setdefault(reason, []).append(item)
    for reason, found in asked.items():
        other, needs = _OTHER.get(reason, ("write", ""))
        if reason == "capacity" and all(item.kind != "fingerprint" for item in found):
            other = needs = ""  # only fingers have a slot to choose
        if reason == "pin-duplicate":
            other = _BOTH + other
        block = [f"# {_keys(found)}"]
        block += [f"# refused: {_keys(refused[reason])}"] if reason in refused else []
        block += ["[[answer]]", f"reason = {_value(reason)}"]
        block.append('choice = "skip"' + (f"  # or {other}" if other else "  # nothing else answers it"))
        yield block + ([f"# {needs}"] if needs else [])
    for reason, found in refused.items():
        about = f"# {reason}: override lets through what is named by its key"
        yield [about, "[[answer]]", f"key = {_value(found[0].key)}", 'choice = "skip"  # or override']
        if len(found) > 1 and reason not in asked:
            yield [f"# {_keys(found)}", "[[answer]]", f"reason = {_value(reason)}", 'choice = "skip"']


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
    fresh = [record for record in records if record.new_pin and not {record.key, record.follows} & given]
    for reason in dict.fromkeys(reason for record in fresh for reason in _each(record.reasons)[:1]):
        if reason in PIN_REASONS and reason not in answered:
            lines += ["[[answer]]", f'reason = "{reason}"', 'choice = "suggest"', ""]
    for block in _blocks(records):
        lines += [*block, ""]
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
