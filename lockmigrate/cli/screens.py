"""What people see of each result, as blocks for `tables`: one screen, the most important first.

A backup whose signer is unknown says so before anything else; gaps and losses stand on every screen.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from rich.cells import cell_len

from lockmigrate.cli.parts import (
    counts_text,
    grouped,
    keys_text,
    kinds_text,
    missing,
    rows_table,
    section,
    unit_facts,
    unit_name,
)
from lockmigrate.cli.reasons import NEXT_STEPS, explain
from lockmigrate.cli.tables import GAP, Block, Facts, Line, pad
from lockmigrate.cli.words import clean, counted
from lockmigrate.model.results import (
    BackupResult,
    InfoResult,
    MigrateResult,
    PairResult,
    PlanResult,
    RecordResult,
    RehearsalSeen,
    RestoreResult,
    Result,
    ScanResult,
    ShowResult,
    TryResult,
    Unit,
    UnpairResult,
    VerifyResult,
    WipeResult,
)
from lockmigrate.planning.skeleton import skeleton

NARROW: Final = 80
"""Cells of the terminal that everything should fit on."""
SCAN_HINTS: Final = (
    "is the USB adapter plugged in, and does its light come on?",
    "some cables only charge: try another one",
    'on Linux "dmesg" shows whether the system saw the adapter; a container or virtual machine needs it passed through',
    "without hardware: lockmigrate info sim://r503/full",
)
MOST_EXTRA: Final = 40
"""Keys of what is on a unit besides; of what a person must act on, all are listed."""
_UNMOVED: Final = (
    ("adjust", "moves with a change", "bold"),
    ("re_enrol", "has to come back and enrol again", "bold yellow"),
    ("reissue", "has to be given out again", "bold yellow"),
    ("needs_input", "needs a decision", "bold yellow"),
    ("refuse", "refused", "bold red"),
    ("skip", "stays behind", "bold"),
)
"""Outcome, title, style."""
_DISTRUST: Final = {
    "untrusted": "UNKNOWN SIGNER {signer}: anybody may have made this file",
    "unsigned": "UNSIGNED: anybody may have made this file",
    "revoked": "REVOKED SIGNER {signer}: this key is no longer to be believed",
    "expired": "SIGNER NOT VALID {signer}: the key was not valid when the file was made",
    "drift": "DRIFT: the records are not what this version reads from the raw tables",
}


def screen(result: Result) -> list[Block]:
    """Return the blocks of a result's screen."""
    from lockmigrate.cli import answers

    for kind, build in _SCREENS.items():
        if isinstance(result, kind):
            return build(result)
    return answers.screen(result)


def _distrust(trust: str, signer: str) -> list[Block]:
    text = _DISTRUST.get(trust)
    return [Line(text.format(signer=signer), "bold red"), Line()] if text else []


# ---- looking --------------------------------------------------------------------------------------------------------


def _info(result: InfoResult) -> list[Block]:
    unit = result.unit
    rows = [*unit_facts(unit), ("target", unit.target), ("id", f"{unit.id} (what --confirm wants)")]
    rows += [(name.replace("_", " "), _fact(value)) for name, value in unit.details.items()]
    finger = unit.capabilities.credentials.fingerprint
    if finger is not None and finger.slots:
        rows.append(("room for", counted(finger.slots, "fingerprint")))
    blocks: list[Block] = [Facts(rows)]
    blocks += section("what can be carried:", list(result.carries.items()))
    blocks += section("notes:", [("-", note) for note in result.notes])
    return blocks


def _fact(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_fact(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_fact(inner) for inner in value)
    if value is None:
        return "unknown"
    return value.hex() if isinstance(value, bytes) else str(value)


def _scan(result: ScanResult) -> list[Block]:
    blocks: list[Block] = []
    for port in result.ports:
        ids = ", ".join(part for part in (port.usb_id, f"serial {port.serial}" if port.serial else "") if part)
        about = [port.description] if port.description else []
        blocks.append(Facts([(port.target, f"{' '.join(about)}{f' ({ids})' if ids else ''}")]))
        if port.known:
            blocks.append(Line(port.known, indent=4))
        if not port.usable:
            blocks.append(Line(f"cannot be opened: {port.why or 'no permission'}", "yellow", indent=4))
    for lock in result.locks:
        who = [lock.family, lock.name or "", f"serial {lock.serial}" if lock.serial else "", lock.state or ""]
        signal = f"{lock.rssi_dbm} dBm" if lock.rssi_dbm is not None else ""
        blocks.append(Facts([(lock.target, ", ".join(part for part in (*who, signal) if part))]))
        if not lock.usable:
            blocks.append(Line(f"cannot be used: {lock.why}", "yellow", indent=4))
    if not result.ports:
        blocks += [Line("no serial port found"), Line(), *(Line(hint, indent=2) for hint in SCAN_HINTS)]
    if result.bluetooth is not None:
        blocks += [Line(), Line(f"nothing heard on Bluetooth: {result.bluetooth}")]
    return blocks


def _pair(result: PairResult) -> list[Block]:
    rows = [*unit_facts(result.unit, "paired"), ("keys", f"{result.credential_file} (readable by you alone)")]
    file = shlex.quote(result.credential_file)
    return [Facts(rows), Line(), Line(f"next: lockmigrate backup {result.unit.target} --credential-file {file}")]


def _unpair(result: UnpairResult) -> list[Block]:
    return [Line(f"{unit_name(result.unit)} does not know this computer any more", "bold green")]


def _try(result: TryResult) -> list[Block]:
    who = unit_name(result.unit)
    if not result.matched:
        return [Line(f"no match: {who} knows this finger in no slot", "yellow")]
    score = f", score {result.score}" if result.score is not None else ""
    return [Line(f"match: slot {result.slot}{score} on {who}", "bold green")]


# ---- files ----------------------------------------------------------------------------------------------------------


def _backup(result: BackupResult) -> list[Block]:
    if not result.file:
        rows = [("read", f"{unit_name(result.unit)}  {counts_text(result.counts) or 'nothing'}")]
        return [Facts(rows), Line(), Line("dry run: nothing was sealed"), *missing(result.gaps, result.losses)]
    rows = [
        ("read", f"{unit_name(result.unit)}  {counts_text(result.counts) or 'nothing'}"),
        ("sealed", f"{result.file}  opened again and verified"),
        ("signer", result.signer),
        ("opens with", _recipients(result.recipients)),
    ]
    if result.key_copy:
        rows.append(("key copy", f"{result.key_copy} (locked; your paper passphrase opens it on another computer)"))
    return [Facts(rows), *missing(result.gaps, result.losses)]


def _recipients(recipients: tuple[str, ...]) -> str:
    return ", ".join(recipients) if recipients else "its own passphrase"


def _show(result: ShowResult) -> list[Block]:
    signer = f"{result.signer} ({result.signer_name})" if result.signer_name else result.signer
    rows = [("file", result.file), ("made", result.created_at), ("signer", f"{signer}, {result.trust}")]
    if result.label:
        rows.append(("label", result.label))
    rows += unit_facts(result.unit)
    rows += [("backup holds", counts_text(result.counts) or "nothing"), ("backup id", result.backup_id)]
    blocks: list[Block] = [*_distrust(result.trust, result.signer), Facts(rows)]
    blocks += missing(result.gaps, result.losses)
    if result.records:
        from lockmigrate.cli.render import to_document

        blocks += [Line()]
        kinds = list(dict.fromkeys(str(row.get("kind", "")) for row in result.records))
        for kind in kinds:
            shown = [to_document(row) for row in result.records if str(row.get("kind", "")) == kind]
            blocks += [rows_table([{name: row[name] for name in row if name != "kind"} for row in shown]), Line()]
        blocks.pop()
    return blocks


def _verify(result: VerifyResult) -> list[Block]:
    blocks: list[Block] = _distrust(result.trust, result.signer)
    rows = [("file", f"{result.file}  intact"), ("signer", f"{result.signer}, {result.trust}")]
    if result.label:
        rows.append(("label", result.label))
    rows.append(("backup of", unit_name(result.unit)))
    beyond = {*result.not_compared}
    compared = [record for record in result.records if record.outcome != "skip" and record.key not in beyond]
    if result.target is None:
        rows.append(("holds", counts_text(result.counts) or "nothing"))
    else:
        equal = sum(1 for record in compared if record.done)
        rows += [("compared with", unit_name(result.target)), ("equal", f"{equal} of {len(compared)} records")]
    if result.rehearsal is not None:
        rows.append(("rehearsed", rehearsal_text(result.rehearsal)))
    blocks.append(Facts(rows))
    if result.target is not None:
        differing = [record for record in compared if not record.done]
        blocks += section(f"different on the unit ({len(differing)}):", grouped(differing), style="bold yellow")
        own = result.target.family != result.unit.family
        where = (
            "by the new unit's own numbers, and not as in the backup" if own else "on the unit and not in the backup"
        )
        blocks += section(f"{where} ({len(result.extra)}):", _keys(result.extra), style="bold yellow")
        blocks += section("left as it is on the unit, not compared:", _keys(result.not_compared))
    return [*blocks, *missing(result.gaps, result.losses)]


def rehearsal_text(seen: RehearsalSeen) -> str:
    """Say how a rehearsal ended, in one line."""
    if not seen.ok:
        return f"FAILED: {seen.detail}"
    cuts = f", and again with the line cut {counted(seen.cuts, 'time')}" if seen.cuts else ""
    return f"{seen.records} records restored into a simulated unit and read back{cuts} ({seen.duration_s:.1f} s)"


def _keys(keys: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(keys_text(keys, most=MOST_EXTRA), "")] if keys else []


# ---- changing -------------------------------------------------------------------------------------------------------


def _by_outcome(records: tuple[RecordResult, ...], *outcomes: str) -> list[RecordResult]:
    return [record for record in records if record.outcome in outcomes]


def _unmoved(records: tuple[RecordResult, ...]) -> list[Block]:
    """Return everything that does not simply move."""
    blocks: list[Block] = []
    for outcome, title, style in _UNMOVED:
        found = _by_outcome(records, outcome)
        todo = outcome in ("needs_input", "refuse")
        blocks += section(f"{title} ({len(found)}):", grouped(found, todo=todo), style=style)
    return blocks


def _plan(result: PlanResult) -> list[Block]:
    moving = [item for item in _by_outcome(result.records, "copy", "adjust") if not item.noted]
    write, there = [item for item in moving if not item.done], [item for item in moving if item.done]
    rows = [("from", f"{unit_name(result.source)}  {result.file}"), ("to", unit_name(result.unit))]
    rows.append(("writes", kinds_text(write) or "nothing"))
    if there:
        rows.append(("equal already", kinds_text(there)))
    if result.overwrites:
        held = keys_text(result.overwrites, most=MOST_EXTRA)
        rows.append(("overwrites", f"{counted(len(result.overwrites), 'record')} that lie there now: {held}"))
    if result.removals:
        removed = keys_text(result.removals, most=MOST_EXTRA)
        rows.append(("removes", f"{counted(len(result.removals), 'record')}: {removed}"))
    blocks: list[Block] = [Facts(rows)]
    if result.blocked_by:
        from lockmigrate.operations.restore import blocked

        blocks += [Line(), Line("cannot be carried out as it stands:", "bold red")]
        for code in result.blocked_by:
            trouble = blocked(code, result.source, result.unit)
            message = explain(code) if trouble.message == code else trouble.message
            hint = trouble.hint or NEXT_STEPS.get(code)
            blocks.append(Line(message, indent=2))
            if hint:
                blocks.append(Line(hint, indent=6))
    else:
        blocks += [Line(), Line("can be carried out as it stands", "green")]
    # Names of what would change follow the counts, so that the verdict stays on the first screen.
    changed = [item for item in write if item.outcome == "copy" and item.detail]
    blocks += section("changes on the target:", grouped(changed))
    blocks += _unmoved(result.records)
    blocks += _decisions(result.records)
    if not result.removals and not result.overwrites:
        blocks += section(
            f"on the target already, and not from this backup ({len(result.existing)}):", _keys(result.existing)
        )
    return [*blocks, *missing(result.gaps, _beside(result))]


def _decisions(records: tuple[RecordResult, ...]) -> list[Block]:
    """Return a decisions file to begin with, where something has to be decided."""
    lines = skeleton(records)
    if not lines:
        return []
    return [
        Line(),
        Line("a decisions file to begin with (--decisions-out writes it); skip leaves the record out:", "bold"),
        *(Line(line, indent=4) for line in lines),
    ]


def _beside(result: PlanResult | RestoreResult | MigrateResult) -> tuple[Any, ...]:
    """Return the losses that no line about its record tells already."""
    told = {record.key for record in result.records if record.reasons}
    return tuple(loss for loss in result.losses if loss.record not in told)


def _read_back(records: tuple[RecordResult, ...]) -> str:
    moving = [record for record in _by_outcome(records, "copy", "adjust") if not record.noted]
    equal = sum(1 for record in moving if record.proof is not None)
    return f"{equal} of {counted(len(moving), 'record')} equal"


def _written(result: RestoreResult) -> str:
    text = f"{counted(result.written, 'record')} written"
    if result.already_equal:
        text += f", {result.already_equal} {'was' if result.already_equal == 1 else 'were'} equal"
    return f"{text}, {len(result.removed)} removed" if result.removed else text


def _failed(records: tuple[RecordResult, ...]) -> list[Block]:
    moving = [record for record in _by_outcome(records, "copy", "adjust") if not record.noted]
    failed = [record for record in moving if record.proof is None]
    return section("not written or not proven:", grouped(failed), style="bold red")


def _fresh(result: RestoreResult) -> list[Block]:
    """Say how people are told their new PINs; no screen shows one."""
    fresh = sum(1 for record in result.records if record.new_pin and record.proof is not None)
    if not fresh:
        return []
    again = "the same command with --json > done.json writes nothing and keeps the result, then"
    page = f"lockmigrate report {shlex.quote(result.file)} done.json --new-pins pins.html tells them"
    return [Line(), Line(f"{counted(fresh, 'new PIN')}: {again} {page}", "bold yellow")]


def _restore(result: RestoreResult) -> list[Block]:
    if result.dry_run:
        moving = _by_outcome(result.records, "copy", "adjust")
        would = [item for item in moving if not item.done and not item.noted]
        rows = [("to", unit_name(result.unit)), ("would write", kinds_text(would) or "nothing")]
        head: list[Block] = [Facts(rows), Line(), Line("dry run: nothing was written")]
    else:
        rows = [
            ("restored", f"{unit_name(result.unit)}  {_written(result)}"),
            ("read back", _read_back(result.records)),
        ]
        if result.rehearsal is not None:
            rows.insert(0, ("rehearsed", rehearsal_text(result.rehearsal)))
        if result.before:
            rows.append(("before", f"what was there is kept in {result.before}"))
        head = [Facts(rows), *_failed(result.records), *_fresh(result)]
    return [*head, *_unmoved(result.records), *missing(result.gaps, _beside(result))]


def _migrate(result: MigrateResult) -> list[Block]:
    old: Unit = result.backup.unit
    steps = [
        ("read", unit_name(old), counts_text(result.backup.counts) or "nothing"),
        ("sealed", Path(result.file).name if result.throw_away_keys else result.file, "opened again and verified"),
        ("restored", unit_name(result.restore.unit), _written(result.restore)),
    ]
    if result.restore.rehearsal is not None:
        seen = result.restore.rehearsal
        steps.insert(2, ("rehearsed", "in a simulated unit", f"{seen.records} records read back equal"))
    blocks: list[Block] = [*_headless(steps), Facts([("read back", _read_back(result.records))])]
    if result.throw_away_keys:
        blocks += [Line(), Line("both units are simulated: throw-away keys were used and the file was removed")]
    elif result.backup.key_copy:
        blocks.append(Facts([("key copy ", result.backup.key_copy)]))
    if result.restore.before:
        blocks.append(Facts([("before   ", f"what was there is kept in {result.restore.before}")]))
    return [
        *blocks,
        *_failed(result.records),
        *_unmoved(result.records),
        *missing(result.gaps, _beside(result)),
    ]


def _headless(rows: list[tuple[str, str, str]]) -> list[Block]:
    """Return three columns without a header; a long file name pushes only its own line where 80 cells are few."""
    widths = [cell_len(clean(middle)) for _, middle, _ in rows]
    label, last = len("read back"), max(cell_len(text) for _, _, text in rows)
    width = max(widths)
    if label + width + last + 2 * len(GAP) > NARROW:
        width = max(cells for cells, (name, _, _) in zip(widths, rows, strict=True) if name != "sealed")
    return [Facts([(pad(name, label), f"{pad(clean(middle), width)}{GAP}{text}") for name, middle, text in rows])]


def _wipe(result: WipeResult) -> list[Block]:
    if result.dry_run:
        would = counts_text(result.left) or "nothing that it counts"
        rows = [("unit", unit_name(result.unit)), ("would erase", f"{would}, and what lies in its tables and log")]
        return [Facts(rows), Line(), Line("dry run: nothing was erased")]
    rows = [
        ("wiped", unit_name(result.unit)),
        ("erased", counts_text(result.erased) or "nothing was there"),
        ("left", counts_text(result.left) or "nothing"),
    ]
    if result.kept:
        rows.append(("kept", ", ".join(result.kept)))
    if result.backup:
        rows.append(("backup", result.backup))
    if result.certificate:
        rows.append(("certificate", result.certificate))
    return [Facts(rows)]


_SCREENS: Final[dict[type[Result], Callable[[Any], list[Block]]]] = {
    InfoResult: _info,
    ScanResult: _scan,
    TryResult: _try,
    PairResult: _pair,
    UnpairResult: _unpair,
    BackupResult: _backup,
    ShowResult: _show,
    VerifyResult: _verify,
    PlanResult: _plan,
    RestoreResult: _restore,
    MigrateResult: _migrate,
    WipeResult: _wipe,
}
