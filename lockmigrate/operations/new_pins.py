"""The new PINs of a plan or a restore, told again from the backup and the decisions: no result ever holds one."""

from __future__ import annotations

from collections.abc import Sequence

from lockmigrate.errors import ConfigError
from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import PinData
from lockmigrate.model.report import MovePart, NewPin, ReportResult
from lockmigrate.model.secret import Secret
from lockmigrate.operations.opening import Opened
from lockmigrate.planning.new_pins import suggest
from lockmigrate.planning.pins import unfit
from lockmigrate.planning.policy import Decisions, Policy


def new_pins(result: ReportResult, opened: Sequence[Opened], decisions: Decisions) -> list[NewPin]:
    """Return the PINs that people have to be told, of all moves of a report.

    Args:
        result: what the report tells.
        opened: the backups that it is about.
        decisions: the file with which the move was planned; without it all new PINs were suggested.

    Raises:
        ConfigError: a backup that is needed is not among them, or keeps no key to suggest PINs by.
    """
    snapshots = {item.source.backup_id: item.source.snapshot for item in opened}
    found: dict[tuple[str, str], NewPin] = {}
    for move in result.moves:
        if not any(record.new_pin for record in move.records):
            continue
        if move.backup_id not in snapshots:
            raise ConfigError(f"the new PINs of {move.saved_as} are made from {move.file}: name it too")
        for pin in _of(move, snapshots[move.backup_id], decisions):
            found[move.unit.id, pin.record.key] = pin
    return list(found.values())


def _of(move: MovePart, snapshot: Snapshot, decisions: Decisions) -> list[NewPin]:
    policy = Policy(decisions=decisions)
    capability = move.unit.capabilities.credentials.pin
    key = snapshot.metadata.suggestion_key
    old = {item.key: item.data.digits for item in snapshot.credentials if isinstance(item.data, PinData)}
    avoid = {str(digits.reveal()) for digits in old.values()}
    found = []
    for record in move.records:
        if not record.new_pin:
            continue
        reasons = (reason for reason in record.reasons)
        answers = (policy.decisions.for_record(record.key, reason, ("suggest", "value")) for reason in reasons)
        answer = next((item for item in answers if item is not None), None)
        digits = answer.value if answer is not None and answer.choice == "value" else None
        if digits is None:
            if not isinstance(key, Secret) or capability is None:
                raise ConfigError(f"{move.file} keeps no key to suggest PINs by, so {record.key} cannot be told")
            digits = suggest(key.reveal_bytes(), move.unit.id, record.key, capability, avoid)
        if not isinstance(digits, str) or unfit(digits, capability):
            raise ConfigError(f"the decisions say no PIN for {record.key} that the new unit takes")
        avoid.add(digits)
        if record.outcome in ("copy", "adjust") and record.key in old:
            found.append(NewPin(record=record, digits=Secret(digits), old=old[record.key], unit=move.unit))
    return found
