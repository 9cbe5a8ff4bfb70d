"""Look at a profile's `[tables]` key by key; everything that is wrong is noted with its dotted path (no I/O)."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

MAX_LISTED: Final = 256
"""Ours: entries of one list. Each is looked at for each record, so two long lists would be work for days."""
MAX_JSON: Final = 2**53 - 1
"""The largest integer that the manifest of a backup can hold."""
SHOWN_CHARACTERS: Final = 40
"""How much of a value a message repeats."""
_LARGE: Final = re.compile(r"0x[0-9a-f]{14,16}")
_NUMBER: Final = re.compile(r"(0[xX][0-9a-fA-F]{1,8}|0[bB][01]{1,32}|[0-9]{1,10})")


class Asked:
    """One table of a profile. What is never asked for is unknown, and is told with the nearest known key."""

    def __init__(self, table: Any, path: str, problems: list[str]) -> None:
        self.path, self.problems = path, problems
        if not isinstance(table, Mapping):
            problems.append(f"{path}: a table is needed, {shown(table)} is none")
        self.is_table = isinstance(table, Mapping)
        self._table: Mapping[str, Any] = table if isinstance(table, Mapping) else {}
        self._known: set[str] = set()

    def problem(self, key: str, text: str) -> None:
        """Note what is wrong with one key."""
        self.problems.append(f"{self.path}.{key}: {text}")

    def has(self, key: str) -> bool:
        """Tell whether a key is there; it is known from then on."""
        self._known.add(key)
        return key in self._table

    def value(self, key: str) -> Any:
        """Return a value as it stands, None where it is absent."""
        return self._table[key] if self.has(key) else None

    def integer(self, key: str, low: int, high: int, *, needed: bool = False) -> int | None:
        """Return a whole number between two bounds; None where it is absent or wrong."""
        if not self.has(key):
            if needed and self.is_table:
                self.problem(key, "is needed and not there")
            return None
        return self.whole(self._table[key], key, low, high)

    def whole(self, value: Any, key: str, low: int, high: int) -> int | None:
        """Return a whole number between two bounds, or one as `portable` wrote it; None where it is something else."""
        if isinstance(value, str) and _LARGE.fullmatch(value):
            value = int(value, 16)
        if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
            self.problem(key, f"{shown(value)} is text; write the number without quotes")
        elif not isinstance(value, int) or isinstance(value, bool):
            self.problem(key, f"a whole number is needed, {shown(value)} is none")
        elif not low <= value <= high:
            self.problem(key, f"{shown(value)} is not between {low} and {high}")
        else:
            return value
        return None

    def choice(self, key: str, options: Iterable[str], what: str, *, needed: bool = False) -> str | None:
        """Return one of some words; None where it is absent or wrong."""
        if not self.has(key):
            if needed and self.is_table:
                self.problem(key, f"is needed and not there; one of {', '.join(options)}")
            return None
        return self.one_of(self._table[key], key, options, what)

    def one_of(self, value: Any, key: str, options: Iterable[str], what: str) -> str | None:
        """Return the value if it is one of some words, else None."""
        options = list(options)
        if isinstance(value, str) and value in options:
            return value
        self.problem(key, f"{shown(value)} is no {what}; {_nearest(value, options)}")
        return None

    def text(self, key: str, most: int = 64) -> str | None:
        """Return a short printable text; None where it is absent or wrong."""
        value = self.value(key)
        if value is None:
            return None
        if not isinstance(value, str) or not value or len(value) > most or not value.isprintable():
            self.problem(key, f"a text of 1 to {most} characters is needed")
            return None
        return value

    def items(self, key: str) -> list[Any]:
        """Return a list, or one thing as a list of one; empty where it is absent."""
        value = self.value(key)
        if value is None:
            return []
        found = list(value) if isinstance(value, list | tuple) else [value]
        if len(found) > MAX_LISTED:
            self.problem(key, f"more than {MAX_LISTED} entries")
            return []
        return found

    def only(self, allowed: bool, why: str, *keys: str) -> None:
        """Note keys that mean nothing here."""
        for key in keys:
            if self.has(key) and not allowed:
                self.problem(key, f"has no meaning here: {why}")

    def finish(self) -> None:
        """Note every key that was never asked for."""
        for key in self._table:
            if key not in self._known:
                near = difflib.get_close_matches(str(key), sorted(self._known), n=1, cutoff=0.5)
                self.problem(_key(key), f'unknown key; did you mean "{near[0]}"?' if near else "unknown key")


def portable(value: Any) -> Any:
    """Return a profile's value as JSON can carry it: integers that are too large for it become `0x…`."""
    if isinstance(value, Mapping):
        return {key: portable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [portable(item) for item in value]
    return f"{value:#016x}" if isinstance(value, int) and value > MAX_JSON else value


def shown(value: Any) -> str:
    """Return a value of a profile as a message repeats it: short, and never more than its beginning."""
    if isinstance(value, str):
        cut = value if len(value) <= SHOWN_CHARACTERS else value[:SHOWN_CHARACTERS] + "…"
        return f'"{cut}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if abs(value) < 10**20 else "a number of more than 20 digits"
    if isinstance(value, float):
        return f"{value:g}"
    return "a table" if isinstance(value, Mapping) else "a list" if isinstance(value, list | tuple) else "this value"


def number_of(text: Any) -> int | None:
    """Return the number that the key of a mapping stands for, decimal, `0x…` or `0b…`; None where it is none."""
    if not isinstance(text, str) or not _NUMBER.fullmatch(text):
        return None
    return int(text, 10 if text.isdigit() else 0)


def _nearest(value: Any, options: list[str]) -> str:
    near = difflib.get_close_matches(value, options, n=1, cutoff=0.5) if isinstance(value, str) else []
    return f'did you mean "{near[0]}"?' if near else f"known are {', '.join(options)}"


def _key(key: Any) -> str:
    text = str(key)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
