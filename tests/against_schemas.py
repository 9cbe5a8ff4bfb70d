"""Holds what commands print against `docs/schemas`: the few words of JSON Schema that those files use."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "docs" / "schemas"
_TYPES: dict[str, Any] = {
    "object": dict, "array": list, "string": str, "boolean": bool, "null": type(None), "number": (int, float),
    "integer": int,
}  # fmt: skip
_KNOWN = {
    "$schema", "$ref", "$defs", "title", "description", "default", "type", "properties", "required", "items", "anyOf",
    "discriminator", "enum", "const", "additionalProperties", "minItems", "maxItems", "prefixItems", "propertyNames",
    "pattern",
}  # fmt: skip


def check(document: Any) -> Any:
    """Assert that a document is what the schema of its name says, and return it."""
    schema = json.loads((FOLDER / f"{document['schema'].replace('/', '.')}.json").read_text(encoding="utf-8"))
    wrong = problems(document, schema)
    assert not wrong, wrong
    return document


def problems(document: Any, schema: dict[str, Any]) -> list[str]:
    """Return what is wrong with a document."""
    return list(_problems(document, schema, schema, "$"))


def _problems(value: Any, rule: dict[str, Any], root: dict[str, Any], path: str) -> Any:
    unknown = set(rule) - _KNOWN
    assert not unknown, f"this checker does not know {unknown}"
    if "$ref" in rule:
        yield from _problems(value, root["$defs"][rule["$ref"].rpartition("/")[2]], root, path)
        return
    if "anyOf" in rule and all(list(_problems(value, part, root, path)) for part in rule["anyOf"]):
        yield f"{path} is none of what it may be"
    if "const" in rule and value != rule["const"]:
        yield f"{path} is not {rule['const']}"
    if "enum" in rule and value not in rule["enum"]:
        yield f"{path} is {value!r}"
    wanted = rule.get("type")
    if wanted:
        kinds = tuple(_TYPES[name] for name in ([wanted] if isinstance(wanted, str) else wanted))
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            yield f"{path} is no {wanted}"
            return
    if isinstance(value, dict):
        properties = rule.get("properties", {})
        yield from (f"{path}.{name} is missing" for name in rule.get("required", []) if name not in value)
        if properties:  # nothing is printed that the schema does not tell of
            yield from (f"{path}.{name} is unknown" for name in value if name not in properties)
        for name, inner in value.items():
            below = properties.get(name, rule.get("additionalProperties"))
            if isinstance(below, dict):
                yield from _problems(inner, below, root, f"{path}.{name}")
    if isinstance(value, list) and isinstance(rule.get("items"), dict):
        for index, inner in enumerate(value):
            yield from _problems(inner, rule["items"], root, f"{path}[{index}]")
    if isinstance(value, str) and "pattern" in rule and not re.search(rule["pattern"], value):
        yield f"{path} does not look like {rule['pattern']}"
