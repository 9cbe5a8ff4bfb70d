"""The JSON that scripts read is described by files that are kept up to date."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from against_schemas import problems
from test_matrix import UNITS, reading_of

from lockmigrate.model.document import SECTIONS, to_sections

FOLDER = Path(__file__).parent.parent / "docs"


def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_schemas", FOLDER / "make_schemas.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # msgspec looks its annotations up there
    spec.loader.exec_module(module)
    return module


def test_every_schema_file_is_what_the_code_says_now() -> None:
    made = maker()
    stored = {path.name: path.read_text(encoding="utf-8") for path in (FOLDER / "schemas").glob("*.json")}
    assert {name: made.text_of(document) for name, document in made.documents().items()} == stored, (
        "run: python docs/make_schemas.py"
    )


def test_no_schema_tells_of_the_exit_code_which_is_the_programs_own() -> None:
    for path in (FOLDER / "schemas").glob("*-result.1.json"):
        assert "exit_code" not in json.dumps(json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("old", UNITS)
def test_a_backups_records_are_what_the_schema_of_the_neutral_document_says(old: str) -> None:
    sections = to_sections(reading_of(old, "full").snapshot)
    document = {
        name: json.loads(data) if SECTIONS[name][1] else [json.loads(line) for line in data.splitlines()]
        for name, data in sections.items()
    }
    schema = json.loads((FOLDER / "schemas" / "lockmigrate.lock-data.1.json").read_text(encoding="utf-8"))
    assert problems(document, schema) == []
    document["credentials"] = [{"key": "pin/1"}]
    assert problems(document, schema) != [], "a record without a type is none"
