"""Pieces that several screens share: who a unit is, what became of records, what is missing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from lockmigrate.cli.reasons import NEXT_STEPS, explain, explain_all
from lockmigrate.cli.tables import Block, Facts, Line, Table
from lockmigrate.cli.words import counted
from lockmigrate.model.document import Gap
from lockmigrate.model.records import Loss
from lockmigrate.model.results import RecordResult, Unit

KIND_WORDS: Final = {
    "pin": "PIN",
    "lock_schedule": "lock schedule",
    "access_key": "access key",
    "app_key": "app key",
}
"""Kinds whose word for people is not the kind itself."""
MANY_GAPS: Final = 4
_NUMBERED: Final = re.compile(r"(?P<stem>.*\D)(?P<number>[0-9]+)")


def unit_name(unit: Unit) -> str:
    """Return how a unit is called in one line: model, whether simulated, serial number or id, label."""
    name = unit.model or ("files" if unit.details.get("medium") == "file" else unit.profile)
    kind = f"{name} (simulated)" if unit.simulated else name
    which = f"serial {unit.serial}" if unit.serial else f"at {unit.id}"
    return f'{kind} {which}, "{unit.label}"' if unit.label else f"{kind} {which}"


def unit_facts(unit: Unit, label: str = "unit") -> list[tuple[str, str]]:
    """Return the rows that say which unit it is and what it holds."""
    rows = [(label, unit_name(unit))]
    versions = [
        f"firmware {unit.firmware}" if unit.firmware else "",
        f"hardware {unit.hardware}" if unit.hardware else "",
    ]
    if any(versions):
        rows.append(("version", ", ".join(part for part in versions if part)))
    rows += [("profile", unit.profile), ("holds", counts_text(unit.counts) or "nothing")]
    return rows


def counts_text(counts: dict[str, int]) -> str:
    """Return `212 users, 1 card`; what there is none of is left out. Names of counts are plurals."""
    return ", ".join(_count(number, name) for name, number in counts.items() if number)


def _count(number: int, plural: str) -> str:
    words = {"pins": "PINs", "pin": "PIN"}
    name = plural.replace("_", " ")
    name = _singular(name) if number == 1 else name
    return f"{number} {words.get(name, name)}"


def _singular(plural: str) -> str:
    return f"{plural[:-3]}y" if plural.endswith("ies") else plural.removesuffix("s")


def kinds_text(records: Iterable[RecordResult]) -> str:
    """Return how many records of each kind: `200 fingerprints, 1 setting`."""
    found: dict[str, int] = {}
    for record in records:
        found[record.kind] = found.get(record.kind, 0) + 1
    return ", ".join(counted(number, KIND_WORDS.get(kind, kind)) for kind, number in found.items())


def keys_text(keys: Sequence[str], *, most: int | None = None) -> str:
    """Return keys as a list in which what they share stands once: `fingerprint/2, 4, 8 to 12, setting/ef01.address`.

    With `most`, a longer list ends with how many more there are.
    """
    parts: list[str] = []
    shared: str | None = None
    for stem, numbers in _runs(keys[:most]):
        if stem is not None and stem == shared:
            parts.append(numbers)
        else:
            parts.append(f"{stem or ''}{numbers}")
        shared = stem
    if most is not None and len(keys) > most:
        parts.append(f"and {len(keys) - most} more (--json lists all)")
    return ", ".join(parts)


def _runs(keys: Sequence[str]) -> Iterator[tuple[str | None, str]]:
    """Yield the stem and the number, or the run of numbers, of keys; an unnumbered key has no stem."""
    run: list[tuple[str, str]] = []
    for key in keys:
        match = _NUMBERED.fullmatch(key)
        piece = (match["stem"], match["number"]) if match else None
        if run and (piece is None or piece[0] != run[-1][0] or int(piece[1]) != int(run[-1][1]) + 1):
            yield from _run_text(run)
            run = []
        if piece is None:
            yield None, key
        else:
            run.append(piece)
    yield from _run_text(run)


def _run_text(run: list[tuple[str, str]]) -> Iterator[tuple[str | None, str]]:
    if len(run) < 3:
        yield from run
    else:
        yield run[0][0], f"{run[0][1]} to {run[-1][1]}"


def grouped(records: Iterable[RecordResult], *, todo: bool = False) -> list[tuple[str, str]]:
    """Return rows of keys and why, one row for all records with the same reasons.

    What shares the fate of a listed record (a PIN that of its user) is counted in a last row, not listed.
    """
    listed = list(records)
    keys_here = {record.key for record in listed}
    following = [record for record in listed if record.follows in keys_here]
    groups: dict[tuple[tuple[str, ...], str | None], list[str]] = {}
    details: list[tuple[str, str]] = []
    for record in listed:
        if record.follows in keys_here:
            continue
        # A detail that differs record by record would undo the grouping where the reason says it all.
        own = record.outcome in ("adjust", "needs_input", "copy", "refuse")
        detail = record.detail if own else None
        if record.outcome == "re_enrol" and record.detail:
            details.append((record.key, record.detail))
        groups.setdefault((record.reasons, detail), []).append(record.key)
    rows = []
    for (reasons, detail), keys in groups.items():
        says = [explain_all(reasons), detail or "", *(NEXT_STEPS.get(reason, "") for reason in reasons if todo)]
        text = "; ".join(part for part in says if part)
        # The code in brackets is what a decisions file has to name.
        rows.append((keys_text(keys), f"{text} [{', '.join(reasons)}]" if todo and reasons else text))
    with_them = [("with them", kinds_text(following))] if following else []
    return [*rows, *with_them, *details]


def section(title: str, rows: Sequence[tuple[str, str]], *, style: str | None = "bold") -> list[Block]:
    """Return a titled block of keys with what is to be said of them; nothing for no rows."""
    if not rows:
        return []
    blocks: list[Block] = [Line(), Line(title, style)]
    short = [row for row in rows if len(row[0]) <= 40]
    long = [row for row in rows if len(row[0]) > 40]
    if short:
        blocks.append(Facts(short, indent=2, style=None))
    for keys, text in long:
        blocks.append(Line(keys, indent=2))
        if text:
            blocks.append(Line(text, indent=6))
    return blocks


def missing(gaps: Sequence[Gap], losses: Sequence[Loss]) -> list[Block]:
    """Return what the old unit did not give out and what was lost on the way: it stands on every screen."""
    announced = _gap_rows([gap for gap in gaps if gap.announced])
    surprising = _folded_rows([_gap_row(gap) for gap in gaps if not gap.announced])
    return [
        *section("not given out by the unit, as its profile announces:", announced),
        *section("not given out by the unit, and not announced:", surprising, style="bold yellow"),
        *section("lost on the way:", _folded_rows([_loss_row(loss) for loss in losses]), style="bold yellow"),
    ]


def _gap_row(gap: Gap) -> tuple[str, str]:
    return gap.record or gap.section, gap.detail or explain(gap.code)


def _gap_rows(gaps: Sequence[Gap]) -> list[tuple[str, str]]:
    """Return a row for each thing said; of many fingers that each have words of their own, how many.

    What is to be done about each of those stands with its outcome, and `show` lists them.
    """
    fingers = [gap for gap in gaps if gap.record and gap.code == "template-unreadable"]
    if len(fingers) < MANY_GAPS or len({gap.detail for gap in fingers}) < 2:
        return _folded_rows(_gap_row(gap) for gap in gaps)
    counts = (counted(len(fingers), "fingerprint"), explain("template-unreadable"))
    return [counts, *_folded_rows(_gap_row(gap) for gap in gaps if gap not in fingers)]


def _loss_row(loss: Loss) -> tuple[str, str]:
    where = f"{loss.record} {loss.field}" if loss.field else loss.record
    text = explain(loss.code)
    return where, f"{text} ({loss.detail})" if loss.detail else text


def _folded_rows(rows: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    by_text: dict[str, list[str]] = {}
    for key, text in rows:
        by_text.setdefault(text, []).append(key)
    return [(keys_text(keys), text) for text, keys in by_text.items()]


def rows_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Return a table of dicts: columns in order of first use, those without any value left out; the key first."""
    names = list(dict.fromkeys(name for row in rows for name, value in row.items() if value not in (None, "", False)))
    return Table(names, [[_cell(row.get(name)) for name in names] for row in rows])


def _cell(value: Any) -> str:
    if value is None or value is False:
        return ""
    if value is True:
        return "yes"
    return value.hex() if isinstance(value, bytes) else str(value)
