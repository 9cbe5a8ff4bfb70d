"""Write `docs/schemas/`: one JSON Schema per `schema` name that a command prints. Run it after changing a result.

python docs/make_schemas.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from lockmigrate.cli import answers
from lockmigrate.model import results
from lockmigrate.model.document import SECTIONS
from lockmigrate.model.secret import Secret

REQUIRED = ("metadata", "lock", "capabilities")
LOCK_DATA = (
    "What one unit gave out at one time (lockmigrate/lock-data, version 1). In a backup each section is a file of "
    "`records/`, one record a line; sections without records are left out."
)
FOLDER = Path(__file__).parent / "schemas"


class ErrorDocument(Struct, kw_only=True):
    """The last line of stderr where the exit code is none of 0, 8 and 9, and the command had --json."""

    schema: Literal["lockmigrate.error/1"]
    code: str
    exit: int
    message: str
    hint: str | None
    target: str | None


class ProgressLine(Struct, kw_only=True):
    """A line of stderr with --progress json."""

    schema: Literal["lockmigrate.progress/1"]
    stage: str
    done: int
    total: int
    size_bytes: int


def documents() -> dict[str, dict[str, Any]]:
    """Return file name to schema."""
    made = {"lockmigrate.error.1.json": _schema(ErrorDocument), "lockmigrate.progress.1.json": _schema(ProgressLine)}
    for module in (results, answers):
        for kind in vars(module).values():
            if isinstance(kind, type) and issubclass(kind, results.Result) and kind is not results.Result:
                name = next(item.default for item in msgspec.structs.fields(kind) if item.name == "schema")
                made[f"{name.replace('/', '.')}.json"] = _without_exit_code(_schema(kind), name)
    made["lockmigrate.lock-data.1.json"] = lock_data()
    return dict(sorted(made.items()))


def lock_data() -> dict[str, Any]:
    """Return the schema of the neutral document: its sections, as `records/` of a backup holds them line by line."""
    fields = [
        (name, kind if single else tuple[kind, ...], *(() if single and name in REQUIRED else (None,)))  # type: ignore[valid-type]
        for name, (kind, single) in SECTIONS.items()
    ]
    ordered = sorted(fields, key=lambda field: len(field))
    whole = msgspec.defstruct("LockData", ordered, kw_only=True, namespace={"__doc__": LOCK_DATA})
    schema = msgspec.json.schema(whole, schema_hook=_secret)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _secret(kind: type) -> dict[str, Any]:
    if kind is not Secret:
        raise NotImplementedError
    forms = {"hex": {"type": "string", "pattern": "^([0-9a-f]{2})*$"}, "text": {"type": "string"}}
    return {
        "anyOf": [{"type": "object", "properties": {name: form}, "required": [name]} for name, form in forms.items()]
    }


def text_of(document: dict[str, Any]) -> str:
    """Return a schema as it lies in the folder."""
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _schema(kind: type) -> dict[str, Any]:
    schema = msgspec.json.schema(kind)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _without_exit_code(schema: dict[str, Any], name: str) -> dict[str, Any]:
    for definition in schema["$defs"].values():
        properties = definition.get("properties", {})
        properties.pop("exit_code", None)
        if "schema" in properties:
            properties["schema"] = {"const": properties["schema"].get("default", name)}
            definition["required"] = ["schema", *definition.get("required", [])]
    return schema


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, document in documents().items():
        (FOLDER / name).write_text(text_of(document), encoding="utf-8")
