"""What the person and the house rules decide: options, and the answers of a decisions file.

A decisions file is TOML: `[[answer]]` with `key`, or `reason` for all records having it, `choice` = write, skip,
override, suggest or value, and `value`; `[guards]` answers plan-wide refusals by their code.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Literal, get_args

import msgspec
from msgspec import Struct

from lockmigrate.errors import ConfigError
from lockmigrate.model.records import LOSS_CODES
from lockmigrate.model.results import RecordResult

Choice = Literal["write", "skip", "override", "suggest", "value"]
MAX_DECISIONS_BYTES: Final = 4_000_000
"""Ours: answers for ten thousand people have a quarter of it."""
NO_RECORD: Final = "decisions: no record is called"
"""How a remark begins that an answer names a record which the backup does not have."""
GUARDS: Final = ("firmware-older",)
"""What `[guards]` may answer."""
CHOICES: Final[tuple[Choice, ...]] = get_args(Choice)
CARD_RULES: Final = ("same", "reversed")
"""How the target shows a card that the old unit shows by a number: by the same number, or by its bytes in the other
order. One card held to both units tells which (neutral-format 6.8)."""
PIN_REASONS: Final = frozenset(
    {"pin-length", "pin-alphabet", "pin-prefix", "pin-duplicate", "pin-weak", "pin-equals-admin"}
)
"""Why a unit does not take a PIN: a new one answers it."""


_FORM: Final = (
    'each answer is [[answer]] with key = "user/3" or reason = "capacity", and choice = "write", "skip", "override", '
    '"suggest" or "value"'
)


class Answer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One answer to a record that needs input."""

    key: str | None = None
    reason: str | None = None
    choice: Choice
    value: int | str | None = None

    @property
    def holds_pin(self) -> bool:
        """Whether its value may be a PIN."""
        about = self.reason in PIN_REASONS or str(self.key).startswith(("pin/", "user/"))
        return about and self.value is not None and self.value not in CARD_RULES

    def __repr__(self) -> str:
        return f"Answer(key={self.key!r}, reason={self.reason!r}, choice={self.choice!r})"  # a value may be a PIN


class Decisions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All answers of one file."""

    answer: tuple[Answer, ...] = ()
    guards: dict[str, str] = {}

    def for_record(self, key: str, reason: str, suits: tuple[Choice, ...] = CHOICES) -> Answer | None:
        """Return the answer for a record, by its key first, else by its reason; only choices of `suits` count."""
        fitting = [item for item in self.answer if item.choice in suits]
        by_key = next((item for item in fitting if item.key == key), None)
        return by_key or next((item for item in fitting if item.key is None and item.reason == reason), None)


class Policy(Struct, frozen=True, kw_only=True):
    """Everything that was decided for one restore."""

    existing: Literal["merge", "replace"] | None = None
    """What happens to other records on the target; None: nobody has decided."""
    with_: frozenset[str] = frozenset()
    """Device-bound things that move because they were named: notepad, address, password."""
    accept_look_alike: bool = False
    decisions: Decisions = Decisions()
    consent_ref: str | None = None
    require_consent: bool = False
    suggest: bool = False
    """Give a new PIN wherever the target does not take the old one."""
    keep_expired: bool = False
    """Move what can open nothing any more, too."""
    now_local: str | None = None
    """The same in this computer's own time, as `YYYY-MM-DDTHH:MM`."""
    now_utc: str | None = None
    """By which windows are judged over, as `YYYY-MM-DDTHH:MM:SSZ`; None: nothing is."""


MOVABLE_BY_NAME: frozenset[str] = frozenset({"notepad", "address", "password", "cylinder"})


def parse_with(text: str | None) -> frozenset[str]:
    """Parse `--with notepad,address,password`.

    Raises:
        ConfigError: a name that cannot be moved.
    """
    names = frozenset(part.strip() for part in (text or "").split(",") if part.strip())
    unknown = sorted(names - MOVABLE_BY_NAME)
    if unknown:
        raise ConfigError(
            f'--with does not know "{unknown[0]}"', hint="it takes notepad, address, password and cylinder"
        )
    return names


def read_decisions(path: Path) -> Decisions:
    """Read a decisions file in clear; one that holds a PIN has to be its owner's alone.

    Raises:
        ConfigError: it cannot be read, is sealed, is not TOML, or holds something unknown.
    """
    data = decisions_bytes(path)
    if is_sealed(data):
        raise ConfigError(f"the decisions file {path} is sealed", hint="plan, restore, migrate and verify can open it")
    return clear_decisions(data, path)


def clear_decisions(data: bytes, path: Path) -> Decisions:
    """Parse a decisions file that lies in clear at `path`; one that holds a PIN has to be its owner's alone.

    Raises:
        ConfigError: it is not, is not TOML, or holds something unknown.
    """
    decisions = parse_decisions(data, path)
    if any(item.holds_pin for item in decisions.answer) and not _private(path):
        raise ConfigError(
            f"the decisions file {path} holds a PIN and can be read by others",
            hint=f"chmod 600 {shlex.quote(str(path))}, or seal it with age",
        )
    return decisions


def _where(error: msgspec.ValidationError) -> str:
    """Say which answer is wrong, and how."""
    text = _masked(str(error))
    at = re.search(r" - at `\$\.answer\[(?:(\d+)|\.\.\.)\]\.?(\w*)`", text)
    if at is None:
        return text
    said = text[: at.start()]
    number = f"answer {int(at.group(1)) + 1}" if at.group(1) else "an answer"
    return f"{number}, {at.group(2)}: {said}" if at.group(2) else f"{number}: {said}"


def _masked(text: str) -> str:
    """Leave out what may be a PIN that stands in the wrong place."""
    return re.sub(r"\d{4,}", "•••", text)


def is_sealed(data: bytes) -> bool:
    """Whether this is an age file, binary or armored (age-encryption.org/v1)."""
    return data.startswith((b"age-encryption.org/", b"-----BEGIN AGE ENCRYPTED FILE"))


def decisions_bytes(path: Path) -> bytes:
    """Read a decisions file, once: it may be a pipe.

    Raises:
        ConfigError: it cannot be read, or is too large for one.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_DECISIONS_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read the decisions file {path}: {error.strerror}") from None
    if len(data) > MAX_DECISIONS_BYTES:
        raise ConfigError(f"the decisions file {path} is larger than any")
    return data


def parse_decisions(data: bytes, path: Path) -> Decisions:
    """Parse a decisions file; `path` names it in errors.

    Raises:
        ConfigError: it is not TOML, or holds something unknown.
    """
    try:
        document: dict[str, Any] = tomllib.loads(data.decode("utf-8-sig"))
        decisions = msgspec.convert(document, Decisions)
    except msgspec.ValidationError as error:
        raise ConfigError(f"the decisions file {path}: {_where(error)}", hint=_FORM) from None
    except (ValueError, RecursionError) as error:  # its own error, bytes that are no text, a number without an end
        line = re.search(r"at line \d+", str(error))
        raise ConfigError(f"the decisions file {path} is not TOML{f' ({line.group()})' if line else ''}") from None
    for name in decisions.guards:
        if name not in GUARDS:
            raise ConfigError(
                f'the decisions file {path}: no guard is called "{_masked(name)}"', hint=f"there is {', '.join(GUARDS)}"
            )
    for item in decisions.answer:
        if item.reason is not None and item.reason not in LOSS_CODES:
            near = difflib.get_close_matches(item.reason, LOSS_CODES, n=1)
            hint = f'did you mean "{near[0]}"?' if near else '"lockmigrate plan" shows the reason of each question'
            raise ConfigError(f'the decisions file {path}: no reason is called "{_masked(item.reason)}"', hint=hint)
        if (item.key is None) == (item.reason is None):
            raise ConfigError(f"the decisions file {path}: each answer has either a key or a reason")
    return decisions


def _private(path: Path) -> bool:
    """Whether nobody else can read a file; systems without such modes have other means."""
    return os.name != "posix" or not path.stat().st_mode & 0o077


def unsettled(policy: Policy, records: Iterable[RecordResult]) -> list[str]:
    """Say which answers settle nothing: no such record, or a choice that is no answer to its question."""
    said: list[str] = []
    by_key = {record.key: record for record in records}
    still = [record for record in by_key.values() if record.outcome in ("needs_input", "refuse")]
    for item in policy.decisions.answer:
        if item.key is not None and item.key not in by_key:
            said.append(f'{NO_RECORD} "{_masked(item.key)}"')
        elif item.key is not None and by_key[item.key] in still:
            said.append(f'decisions: "{item.choice}" does not settle {item.key}')
        elif item.key is not None and item.choice != "skip" and _unasked(by_key[item.key]):
            said.append(f'decisions: nothing is asked about {item.key}, so that "{item.choice}" changes nothing')
        elif item.reason is not None:
            held = [record for record in still if item.reason in record.reasons and record.follows is None]
            refused = any(record.outcome == "refuse" for record in held)
            more = "; what is refused is overridden record by record" if refused else ""
            if held:
                said.append(f'decisions: "{item.choice}" does not settle {len(held)} with {item.reason}{more}')
    return said


def _unasked(record: RecordResult) -> bool:
    return record.outcome == "copy" and not record.reasons


def decided(record: RecordResult, policy: Policy, suits: tuple[Choice, ...] = CHOICES) -> Answer | None:
    """Return the answer to a record that needs input, if the policy holds one whose choice suits the question."""
    for reason in record.reasons:
        answer = policy.decisions.for_record(record.key, reason, suits)
        if answer is not None:
            return answer
        if policy.suggest and "suggest" in suits and reason in PIN_REASONS:
            return Answer(reason=reason, choice="suggest")
        if reason == "template-look-alike" and policy.accept_look_alike and "write" in suits:
            return Answer(reason=reason, choice="write")
    return None


def overridden(record: RecordResult, policy: Policy) -> Literal["override", "skip"] | None:
    """Return what was decided about a refused record: skipped by key or reason, but overridden by its own key only."""
    for item in policy.decisions.answer:
        if item.key == record.key and (item.choice == "override" or item.choice == "skip"):
            return item.choice
    by_reason = any(item.reason in record.reasons and item.choice == "skip" for item in policy.decisions.answer)
    return "skip" if by_reason else None
