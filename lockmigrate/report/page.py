"""The handover report as one HTML page: no network, no script, prints on A4, readable on a phone."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lockmigrate.model.document import Gap
from lockmigrate.model.records import Loss
from lockmigrate.model.report import MovePart, NewPin, RecordSeen, ReportResult, Valid
from lockmigrate.model.results import WRITTEN, Unit
from lockmigrate.report import words
from lockmigrate.report.texts import Texts

OPENING: Final = ("pin", "card", "fingerprint", "face")
"""Kinds that a person can try at the door."""
TODO: Final = ("re_enrol", "reissue", "needs_input", "refuse")
"""Outcomes that somebody has to act on, in the order of the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A record with those that share its fate."""

    record: RecordSeen
    following: tuple[RecordSeen, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Records that have the same to be said of them."""

    keys: tuple[str, ...]
    text: str


@functools.cache
def environment() -> Environment:
    """Return the templates; everything that is put into them is escaped."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates", encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"keys": keys_text, "unit": unit_name}
    return made


def render(result: ReportResult, lang: str = "en") -> str:
    """Return the page.

    Raises:
        ConfigError: there is no such language.
    """
    t = Texts(lang)
    return environment().get_template("report.html").render(
        t=t,
        w=words,
        r=result,
        title=t("Handover report"),
        doors=_doors(result),
        simulated=any(unit.simulated for unit in _units(result)),
        valid=functools.partial(valid_text, t),
        counts=functools.partial(counts_text, t),
        losses=functools.partial(_losses, t),
        gaps=functools.partial(_gaps, t),
        rows=rows,
        of=_of,
        grouped=functools.partial(_grouped, t),
        todo=TODO,
        ticks=_ticks,
        openers=_openers,
        newly=_newly,
        staying=_staying,
        by_hand=_by_hand,
        behind=_behind,
        details=functools.partial(_changes, t),
    )  # fmt: skip


def rows(records: Sequence[RecordSeen]) -> list[Row]:
    """Return one row for each record that does not follow another one, with those that follow it."""
    here = {record.key for record in records}
    behind: dict[str, list[RecordSeen]] = {}
    for record in records:
        if record.follows in here:
            behind.setdefault(record.follows or "", []).append(record)
    return [
        Row(record=record, following=tuple(behind.get(record.key, ())))
        for record in records
        if record.follows not in here
    ]


def unit_name(unit: Unit) -> str:
    """Return model and serial number, or what the unit can be told apart by."""
    return f"{unit.model or unit.profile} · {unit.serial or unit.id}"


def keys_text(keys: Iterable[str]) -> str:
    """Return keys as a list in which runs of numbers stand once: `fingerprint/2 – 9, card/4`."""
    parts: list[list[str]] = []
    for key in keys:
        stem, _, number = key.rpartition("/")
        last = parts[-1] if parts else None
        if last and number.isdecimal() and f"{stem}/{int(number) - 1}" == last[-1] and number == str(int(number)):
            last[1:] = [key]
        else:
            parts.append([key])
    return ", ".join(part[0] if len(part) == 1 else f"{part[0]} – {part[-1].rpartition('/')[2]}" for part in parts)


def valid_text(t: Texts, limits: Sequence[Valid]) -> str:
    """Say when a record counts; nothing for always."""
    said = []
    for limit in limits:
        if limit.unknown:
            said.append(t("a limit whose meaning is not known"))
        elif limit.table is not None:
            said.append(limit.table)
        elif limit.days_mask is not None:
            days = t(" ").join(t(words.DAYS[day % 7]) for day in range(1, 8) if limit.days_mask >> day % 7 & 1)
            hours = f" {limit.start}–{limit.end}" if limit.start else ""
            said.append(f"{days or t('no day')}{hours}")
        else:
            said.append(f"{_moment(limit.first) or '…'} – {_moment(limit.last) or '…'}")
    return t("; ").join(said)


def counts_text(t: Texts, counts: dict[str, int]) -> str:
    """Return `PINs: 3, cards: 1`; what there is none of is left out."""
    said = [f"{t(words.COUNTS.get(name, name))}: {number}" for name, number in counts.items() if number]
    return ", ".join(said) or t("nothing")


def _moment(text: str | None) -> str | None:
    return text.replace("T", " ").replace("Z", " UTC") if text else None


def _doors(result: ReportResult) -> list[str]:
    names = [part.label or part.unit.label for part in result.backups]
    names += [unit.label for unit in _units(result)]
    return list(dict.fromkeys(name for name in names if name))


def _units(result: ReportResult) -> list[Unit]:
    found = [part.unit for part in result.backups] + [part.unit for part in result.erasures]
    return found + [unit for move in result.moves for unit in (move.source, move.unit)]


def _of(records: Sequence[RecordSeen], *outcomes: str) -> list[RecordSeen]:
    return [record for record in records if record.outcome in outcomes]


def _ticks(records: Sequence[RecordSeen]) -> list[Row]:
    """Return what a person can try at the door: a row each holder, with the things that open."""
    opening = [record for record in records if record.outcome in WRITTEN]
    return [row for row in rows(opening) if _openers(row)]


def _openers(row: Row) -> list[RecordSeen]:
    return [item for item in (row.record, *row.following) if item.kind in OPENING]


def _newly(records: Sequence[RecordSeen]) -> list[RecordSeen]:
    return [record for record in records if record.new_pin and record.outcome in WRITTEN]


def _staying(records: Sequence[RecordSeen]) -> list[RecordSeen]:
    """Return what opens for somebody and is left out: these people have to be told."""
    return [record for record in records if record.outcome == "skip" and record.kind in OPENING]


def _by_hand(records: Sequence[RecordSeen]) -> list[RecordSeen]:
    """Return what the old unit was set to, and the new one is not."""
    kinds = ("lock_schedule", "setting")
    return [record for record in records if record.outcome == "skip" and record.kind in kinds and record.detail]


def _behind(records: Sequence[RecordSeen]) -> list[RecordSeen]:
    """Return what is left out and is told in no list of its own."""
    told = {record.key for record in (*_staying(records), *_by_hand(records))}
    return [record for record in _of(records, "skip") if record.key not in told]


def _changes(t: Texts, records: Sequence[RecordSeen]) -> list[tuple[RecordSeen, str]]:
    """Return what is not on the new unit as it was on the old one: old → new, or what was changed."""
    found = []
    for record in (row.record for row in rows(records)):
        if record.outcome == "adjust" or (record.outcome == "copy" and record.detail):
            said = [text for text in (t.reasons(record.reasons), t.detail(record.detail)) if text]
            found.append((record, t("; ").join(said)))
    return found


def _grouped(t: Texts, records: Sequence[RecordSeen]) -> list[Group]:
    found: dict[str, list[str]] = {}
    for record in records:
        found.setdefault(t.reasons(record.reasons) or t.detail(record.detail), []).append(record.key)
    return [Group(keys=tuple(keys), text=text) for text, keys in found.items()]


def _gaps(t: Texts, gaps: Sequence[Gap]) -> list[Group]:
    found: dict[str, list[str]] = {}
    for gap in gaps:
        announced = t("announced by its profile") if gap.announced else t("not announced")
        found.setdefault(f"{t.reason(gap.code)} ({announced})", []).append(gap.record or gap.section)
    return [Group(keys=tuple(keys), text=text) for text, keys in found.items()]


def _losses(t: Texts, move: MovePart | None, losses: Sequence[Loss]) -> list[Group]:
    """Return losses by their sentence; those that a record's own row tells already are left out."""
    told = {record.key: set(record.reasons) for record in move.records} if move else {}
    found: dict[str, list[str]] = {}
    for loss in losses:
        if loss.code in told.get(loss.record, set()):
            continue
        detail = t.detail(loss.detail)
        text = f"{t.reason(loss.code)} ({detail})" if detail else t.reason(loss.code)
        found.setdefault(text, []).append(f"{loss.record} {loss.field}" if loss.field else loss.record)
    return [Group(keys=tuple(keys), text=text) for text, keys in found.items()]


def render_pins(pins: Sequence[NewPin], result: ReportResult, lang: str = "en") -> str:
    """Return the page of new PINs: the only paper that holds secrets, a strip for each person to cut off.

    Raises:
        ConfigError: there is no such language.
    """
    t = Texts(lang)
    return environment().get_template("new_pins.html").render(
        t=t,
        r=result,
        title=t("New PINs"),
        doors=_doors(result),
        pins=pins,
        valid=functools.partial(valid_text, t),
    )  # fmt: skip
