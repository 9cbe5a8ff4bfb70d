"""The new PINs of a plan or a restore, told again from the backup and the decisions: no result ever holds one."""

from __future__ import annotations

from collections.abc import Sequence

from lockmigrate.errors import ConfigError
from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import PinData
from lockmigrate.model.report import MovePart, NewPin, ReportResult
from lockmigrate.model.secret import Secret
from lockmigrate.operations.opening import Opened
from lockmigrate.planning.new_pins import suggestions
from lockmigrate.planning.pins import unfit
from lockmigrate.planning.policy import Decisions


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
    suggested = suggestions(snapshot, move.unit.id, move.unit.capabilities.credentials.pin)
    old = {item.key: item.data.digits for item in snapshot.credentials if isinstance(item.data, PinData)}
    found = []
    for record in move.records:
        if not record.new_pin:
            continue
        answers = (decisions.for_record(record.key, reason, ("suggest", "value")) for reason in record.reasons)
        answer = next((item for item in answers if item is not None), None)
        digits = answer.value if answer is not None and answer.choice == "value" else suggested.get(record.key)
        if not isinstance(digits, str) or unfit(digits, move.unit.capabilities.credentials.pin):
            raise ConfigError(f"neither the backup nor the decisions say which PIN {record.key} got")
        if record.outcome in ("copy", "adjust") and record.key in old:
            found.append(NewPin(record=record, digits=Secret(digits), old=old[record.key], unit=move.unit))
    return found
