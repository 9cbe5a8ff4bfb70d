"""What every line for people goes through: our form of messages, and nothing that a terminal would obey.

Model names, labels and file names come from units and from other people's backups.
"""

from __future__ import annotations

import sys
from typing import Final

import click

_KEPT: Final = frozenset("\u00a0\u202f\u3000")
"""Blanks that are text: no-break spaces, and the wide one of East Asian names."""
_ESCAPED: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def clean(text: str) -> str:
    r"""Return one line that no terminal obeys: control, direction and line characters become `\x1b`, `\u202e`."""
    if text.isprintable():
        return text
    import unicodedata

    return "".join(
        char
        if char in _KEPT or unicodedata.category(char) not in _ESCAPED
        else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def say(kind: str, text: str) -> None:
    """Write `lockmigrate: KIND: TEXT` to stderr; without text only the kind."""
    to_stderr(f"lockmigrate: {kind}: {clean(text)}" if text else f"lockmigrate: {kind}")


def to_stderr(line: str) -> None:
    """Write a line to stderr; that nobody reads it any more must not stop a unit being written."""
    from lockmigrate.cli import silence

    try:
        click.echo(_wrapped(line), err=True)
    except OSError:
        silence(sys.stderr)


def _wrapped(line: str) -> str:
    """Break between words for a terminal; what is pasted back (a path, a fingerprint) is never broken."""
    if not sys.stderr.isatty():
        return line
    import shutil
    import textwrap

    width = max(40, shutil.get_terminal_size().columns)
    indent = line[: len(line) - len(line.lstrip())] + "  "
    return textwrap.fill(
        line, width - 1, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, drop_whitespace=True
    )


def counted(number: int, noun: str) -> str:
    """Return `1 record`, `2 records`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
