"""Blocks of a screen, laid out in terminal cells: Chinese names take two, and columns still stand under each other.

Through a pipe a row stays one line, however long; on a terminal the last column wraps under itself, keys never.
Nothing here prints.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len

from lockmigrate.cli.words import clean

GAP: Final = "  "
MIN_WRAPPED: Final = 24
"""Below this many cells a wrapped column is unreadable; then the line is left to the terminal."""

Styled = list[tuple[str, str | None]]
"""One line: pieces of text, each with a style of rich or None."""


@dataclass(frozen=True, slots=True)
class Line:
    """A sentence; empty text is a blank line."""

    text: str = ""
    style: str | None = None
    indent: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """Labels with a value each."""

    rows: Sequence[tuple[str, str]]
    indent: int = 0
    style: str | None = "bold"


@dataclass(frozen=True, slots=True)
class Table:
    """Columns with a header; only the last one wraps."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    indent: int = 0
    right: frozenset[int] = frozenset()
    """Columns of numbers."""


Block = Line | Facts | Table


def lay_out(blocks: Iterable[Block], *, width: int | None) -> list[Styled]:
    """Return the lines of a screen; `width` in cells, None for a pipe."""
    lines: list[Styled] = []
    for block in blocks:
        if isinstance(block, Line):
            lines += _columns([[block.text]], [block.style], block.indent, width)
        elif isinstance(block, Facts):
            lines += _columns([list(row) for row in block.rows], [block.style, None], block.indent, width)
        else:
            lines += _table(block, width)
    return lines


def plain(lines: Iterable[Styled]) -> str:
    """Return the text of laid-out lines without styles."""
    return "".join("".join(piece for piece, _ in line).rstrip(" ") + "\n" for line in lines)


def pad(text: str, cells: int, *, right: bool = False) -> str:
    """Fill a text up to so many cells."""
    blanks = " " * max(0, cells - cell_len(text))
    return blanks + text if right else text + blanks


def wrap(text: str, cells: int) -> list[str]:
    """Break a text between words, and between East Asian characters, into lines of at most so many cells.

    A longer word stays whole: it is a key, a path or a fingerprint, and is pasted elsewhere.
    """
    lines: list[str] = []
    line = ""
    for word in _words(text):
        if line and cell_len(line) + cell_len(word.rstrip(" ")) > cells:
            lines.append(line.rstrip(" "))
            line = ""
        line += word
    return [*lines, line.rstrip(" ")]


def _words(text: str) -> list[str]:
    """Split into pieces that must stay whole, each with the blank behind it."""
    words: list[str] = []
    current = ""
    for char in text:
        wide = cell_len(char) > 1
        if wide and current:
            words.append(current)
            current = ""
        current += char
        if char == " " or wide:
            words.append(current)
            current = ""
    return [*words, current] if current else words


def _table(block: Table, width: int | None) -> list[Styled]:
    rows = [list(block.headers), *(list(row) for row in block.rows)]
    styles: list[str | None] = [None] * len(block.headers)
    lines = _columns(rows, styles, block.indent, width, right=block.right)
    if lines:
        lines[0] = [("".join(piece for piece, _ in lines[0]), "bold")]
    return lines


def _columns(
    rows: list[list[str]],
    styles: list[str | None],
    indent: int,
    width: int | None,
    *,
    right: frozenset[int] = frozenset(),
) -> list[Styled]:
    cleaned = [[clean(cell) for cell in row] for row in rows]
    last = len(styles) - 1
    widths = [max((cell_len(row[column]) for row in cleaned), default=0) for column in range(last)]
    start = indent + sum(widths) + len(GAP) * last
    room = None if width is None or width - start < MIN_WRAPPED else width - start
    lines: list[Styled] = []
    for row in cleaned:
        head: Styled = [(" " * indent, None)]
        for column in range(last):
            head += [(pad(row[column], widths[column], right=column in right), styles[column]), (GAP, None)]
        wrapped = [row[last]] if room is None else wrap(row[last], room)
        lines.append([*head, (wrapped[0], styles[last])])
        lines += [[(" " * start, None), (more, styles[last])] for more in wrapped[1:]]
    return lines
