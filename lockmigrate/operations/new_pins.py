"""The new PINs of a restore, told again from the backup and the decisions: no result ever holds one.

A result holds a check of each, so that the paper tells what was written, or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from lockmigrate.errors import ConfigError
from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import PinData
from lockmigrate.model.report import MovePart, NewPin, ReportResult
from lockmigrate.model.secret import Secret
from lockmigrate.operations.opening import Opened
from lockmigrate.planning.new_pins import check_of, suggestions
from lockmigrate.planning.policy import Decisions


def new_pins(result: ReportResult, opened: Sequence[Opened], decisions: Decisions) -> list[NewPin]:
    """Return the PINs that people have to be told: of restores and migrations, and only where they were proven.

    Args:
        result: what the report tells.
        opened: the backups that it is about.
        decisions: the answers with which it was done; without them only PINs that were suggested are known.

    Raises:
        ConfigError: a backup that is needed is not among them, or a PIN is not the one of any answer.
    """
    snapshots = {item.source.backup_id: item.source.snapshot for item in opened}
    found: dict[tuple[str, str, str], NewPin] = {}
    for move in result.moves:
        told = [item for item in move.records if item.new_pin and item.proof is not None]
        if not told or move.what not in ("restore", "migrate"):
            continue
        if move.backup_id not in snapshots:
            raise ConfigError(f"the new PINs of {move.saved_as} are made from {move.file}: name it too")
        for pin in _of(move, snapshots[move.backup_id], decisions):
            found[move.unit.id, move.backup_id, pin.record.key] = pin
    return list(found.values())


def _of(move: MovePart, snapshot: Snapshot, decisions: Decisions) -> list[NewPin]:
    suggested = suggestions(snapshot, move.unit.id, move.unit.capabilities.credentials.pin)
    old = {item.key: item.data.digits for item in snapshot.credentials if isinstance(item.data, PinData)}
    given = [item.value for item in decisions.answer if isinstance(item.value, str)]
    found = []
    for record in move.records:
        if not record.new_pin or record.proof is None or record.key not in old:
            continue
        candidates = [suggested.get(record.key, ""), *given]
        check = record.pin_check
        digits = next((one for one in candidates if one and check_of(snapshot, record.key, one) == check), None)
        if digits is None or check is None:
            raise ConfigError(
                f"which PIN {record.key} got is not known from what was given",
                hint="name the answers with which it was restored: --decisions FILE",
            )
        found.append(NewPin(record=record, digits=Secret(digits), old=old[record.key], unit=move.unit))
    return found
