"""docs/backup-format.md names every field, section, table, limit and code there is, so that it cannot fall behind."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import msgspec
import pytest
from test_emergency import DECRYPT_IDENTITY, LISTERS, TRANSCRIPT

from lockmigrate.errors import BackupError, PolicyError, WrongKeyError
from lockmigrate.formats import (
    age,
    age_header,
    archive,
    backup,
    ef01_tables,
    f5_tables,
    gt511_tables,
    manifest,
    zk_tables,
)
from lockmigrate.model import document

TEXT: Final = (Path(__file__).parents[1] / "docs" / "backup-format.md").read_text(encoding="utf-8")
STRUCTS: Final = [
    each for each in vars(manifest).values() if isinstance(each, type) and issubclass(each, msgspec.Struct)
]


def words() -> set[str]:
    """Everything between backticks, and what stands between quotes in there."""
    inside = re.findall(r"`([^`\n]+)`", TEXT)
    return {*inside, *(word for text in inside for word in re.findall(r'"(\w+)"', text))}


@pytest.mark.parametrize(
    "fields",
    [each.__struct_fields__ for each in STRUCTS if each.__struct_fields__]
    + [kind.__struct_fields__ for kind, _ in document.SECTIONS.values() if hasattr(kind, "__struct_fields__")],
    ids=lambda fields: "-".join(fields[:2]),
)
def test_every_field_is_named(fields: tuple[str, ...]) -> None:
    assert set(fields) <= words()


def test_every_section_and_table_is_named() -> None:
    assert set(document.SECTIONS) <= words()
    for family in (ef01_tables, zk_tables, gt511_tables, f5_tables):
        assert {f"raw/{name}.bin" for name in family.ALL_TABLES} <= words()


def test_every_code_is_named() -> None:
    for kind in (BackupError, PolicyError, WrongKeyError):
        told = re.search(r"one of: ([^.]+)\.", kind.__doc__ or "")
        codes = set(re.findall(r"[a-z]+(?:-[a-z]+)*", told[1])) if told else {"wrong-key", "no-identity"}
        # These three are about the target of a restore, not about the file.
        assert codes - {"target-not-empty", "template-size", "plan-blocked"} <= words()


def test_limits_and_names_are_the_ones_in_the_code() -> None:
    for number in (
        age.MAX_PLAIN_BYTES,
        age_header.MAX_HEADER_BYTES,
        age_header.MAX_BLANK_BYTES,
        archive.MAX_ENTRIES,
        manifest.MAX_MANIFEST_BYTES,
        manifest.MAX_MARKS,
        manifest.MAX_STRING_CHARS,
    ):
        assert f"{number:,}" in TEXT
    assert manifest.ENTRY_NAME.pattern.replace("?:", "") in TEXT
    assert f"`{manifest.SCHEMA}`" in TEXT
    assert backup.MANIFEST_NAME in words()
    assert backup.SIGNATURE_NAME in words()


def test_the_emergency_commands_are_the_ones_that_are_tested() -> None:
    for command in (DECRYPT_IDENTITY, *(command for command, _ in TRANSCRIPT)):
        assert f"    {command.replace('LIST', LISTERS['jq'])}\n" in TEXT
