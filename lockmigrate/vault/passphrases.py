"""Passphrases: generated, typed by a person, or read from a file. Always in Unicode's NFC, since age hashes bytes."""

from __future__ import annotations

import secrets
import unicodedata
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from lockmigrate.errors import ConfigError
from lockmigrate.formats.files import read_whole

MIN_PASSPHRASE_CHARS: Final = 12
GENERATED_WORDS: Final = 6
WORD_LIST_SIZE: Final = 7776
"""EFF's long list, 6^5 words."""

_MAX_PASSPHRASE_FILE_BYTES: Final = 4096


def generate_passphrase() -> str:
    """Return six words of EFF's long list joined by hyphens, 77 bits."""
    words = _word_list()
    return "-".join(secrets.choice(words) for _ in range(GENERATED_WORDS))


@cache
def _word_list() -> tuple[str, ...]:
    text = (files("xkcdpass") / "static" / "eff-long").read_text(encoding="utf-8")
    words = tuple(dict.fromkeys(text.split()))
    if len(words) != WORD_LIST_SIZE:
        raise ConfigError(
            f"the word list for passphrases has {len(words)} words instead of {WORD_LIST_SIZE}",
            hint="reinstall the package xkcdpass, or choose a passphrase yourself",
        )
    return words


def normalise_passphrase(text: str) -> str:
    """Return NFC: age hashes bytes, and keyboards differ in how they compose."""
    return unicodedata.normalize("NFC", text)


def check_new_passphrase(text: str) -> str:
    """Return a person's new passphrase in NFC.

    Raises:
        ConfigError: it has fewer than 12 characters (code `weak-passphrase`).
    """
    normal = normalise_passphrase(text)
    if len(normal) < MIN_PASSPHRASE_CHARS:
        raise ConfigError(
            f"a passphrase needs at least {MIN_PASSPHRASE_CHARS} characters",
            hint="several unrelated words are easy to type and hard to guess",
            code="weak-passphrase",
        )
    return normal


def read_passphrase_file(path: Path) -> str:
    """Return the file's text without one final LF or CRLF, in NFC.

    Raises:
        ConfigError: it is empty, too long, not UTF-8 or not a regular file (code `bad-passphrase`).
        FileTrouble: it cannot be read.
    """
    data = read_whole(path, max_bytes=_MAX_PASSPHRASE_FILE_BYTES)
    if data is None:
        raise ConfigError(f"{path} is not a file of at most {_MAX_PASSPHRASE_FILE_BYTES} bytes", code="bad-passphrase")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
        if data:
            raise ConfigError(f"the passphrase in {path} is not UTF-8 text", code="bad-passphrase") from None
    text = text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text
    if not text:
        raise ConfigError(f"the passphrase file {path} is empty", code="bad-passphrase")
    return normalise_passphrase(text)
