"""What would move from one unit to another, asked before the replacement is bought: no backup is needed."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lockmigrate.errors import ConfigError, ProfileError
from lockmigrate.formats.files import read_whole
from lockmigrate.model.comparison import Compared, CompatResult
from lockmigrate.operations.compat_rules import Side, fates, fits
from lockmigrate.operations.on_paper import unit_of_profile
from lockmigrate.profiles import load_profile
from lockmigrate.protocols import Lock, Uncounted

MAX_STOCK_BYTES: Final = 1_000_000
"""Ours: a list of what is on the shelf has a few lines."""
MAX_PIECES: Final = 1_000_000_000
_COLUMNS: Final = ("profile", "count", "minimum")
_FORM: Final = "its first line is: profile,count,minimum (and label, if you like); for example: r503,4,2"


@dataclass(frozen=True, slots=True, kw_only=True)
class StockLine:
    """One line of the list of what is in stock."""

    profile: str
    count: int
    minimum: int
    label: str | None = None


def side_on_paper(name: str) -> Side:
    """Describe a model as its profile does.

    Raises:
        ProfileError: there is no such profile.
    """
    profile = load_profile(name)
    return Side(unit=unit_of_profile(profile), gaps=profile.gaps, variant=profile.variant, on_paper=True)


async def side_of(lock: Lock) -> Side:
    """Describe a unit as it describes itself; nothing but its identity and its counts is read.

    Raises:
        LinkError, RefusedError: from the unit.
    """
    if isinstance(lock, Uncounted):
        await lock.count()
    unit = await lock.identify()
    profile = load_profile(unit.profile)
    return Side(unit=unit, gaps=profile.gaps, variant=profile.variant)


def compare(old: Side, new: Iterable[Side], stock: Iterable[StockLine] = ()) -> CompatResult:
    """Compare an old unit with one or several that could replace it.

    Raises:
        ProfileError: the list of what is in stock names a profile that there is not.
    """
    compared = [_compared(old, side) for side in new]
    for line in stock:
        seen = _compared(old, side_on_paper(line.profile), line)
        compared.append(seen)
    shelf = [item for item in compared if item.in_stock]
    short = [item.unit.profile for item in shelf if item.below_minimum]
    fitting = [item.unit.profile for item in shelf if item.fits != "no" and item.count]
    return CompatResult(
        old=old.unit,
        compared=tuple(compared),
        fitting=tuple(dict.fromkeys(fitting)),
        below_minimum=tuple(dict.fromkeys(short)),
        warnings=tuple(dict.fromkeys((*old.unit.warnings, *_remarks(compared)))),
    )


def read_stock(path: Path) -> list[StockLine]:
    """Read the list of what is in stock: CSV with the columns profile, count, minimum, and label if it has one.

    Raises:
        ConfigError: it cannot be read, a column or a number is missing, or a profile is unknown.
        FileTrouble: it cannot be read.
    """
    data = read_whole(path, max_bytes=MAX_STOCK_BYTES)
    if data is None:
        raise ConfigError(f"the list of stock {path} is no file, or too large")
    try:
        rows = list(csv.reader(data.decode("utf-8-sig").splitlines()))
    except UnicodeDecodeError:
        raise ConfigError(f"the list of stock {path} is not UTF-8", hint="save it as CSV UTF-8") from None
    except csv.Error:
        raise ConfigError(f"the list of stock {path} is not CSV", hint=_FORM) from None
    heads = [cell.strip().lower() for cell in rows[0]] if rows else []
    if not set(_COLUMNS) <= set(heads) or len(set(heads)) < len(heads):
        raise ConfigError(f"the list of stock {path} has not the columns profile, count and minimum", hint=_FORM)
    lines = []
    for number, row in enumerate(rows[1:], start=2):
        if any(cell.strip() for cell in row):
            lines.append(_stock_line(dict(zip(heads, (cell.strip() for cell in row), strict=False)), number, path))
    if not lines:
        raise ConfigError(f"the list of stock {path} names nothing", hint=_FORM)
    return lines


def _stock_line(cells: dict[str, str], number: int, path: Path) -> StockLine:
    numbers = []
    for name in ("count", "minimum"):
        text = cells.get(name, "")
        if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= MAX_PIECES):
            raise ConfigError(f'line {number} of {path}: {name} is "{text}", not a number', hint=_FORM)
        numbers.append(int(text))
    name = cells.get("profile", "").removeprefix("profile:")
    try:
        load_profile(name)
    except ProfileError as error:
        raise ConfigError(f"line {number} of {path}: {error.message}", hint=error.hint, code=error.code) from None
    return StockLine(profile=name, count=numbers[0], minimum=numbers[1], label=cells.get("label") or None)


def _compared(old: Side, new: Side, line: StockLine | None = None) -> Compared:
    kinds = fates(old, new)
    if line is None:
        return Compared(unit=new.unit, fits=fits(old, kinds), kinds=kinds)
    return Compared(
        unit=new.unit,
        fits=fits(old, kinds),
        kinds=kinds,
        in_stock=True,
        label=line.label,
        count=line.count,
        minimum=line.minimum,
        below_minimum=line.count < line.minimum,
    )


def _remarks(compared: list[Compared]) -> list[str]:
    """What holds for the whole comparison."""
    found: list[str] = []
    for item in compared:
        found += item.unit.warnings
        pin = item.unit.capabilities.credentials.pin
        if item.unit.family == "nuki" and item.unit.details.get("keypad") is None:
            found.append("no-keypad: PINs on a Nuki need the maker's keypad; without one nobody can type them")
        if item.unit.family == "ttlock" and pin is not None and pin.slots is None:
            found.append(f"capacity-unknown: {item.unit.model or item.unit.profile} does not say how much it holds")
    return found
