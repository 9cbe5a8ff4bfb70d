"""What a field may be for: roles against the kind of the table and the type of the field (no I/O)."""

from __future__ import annotations

from typing import Final

from lockmigrate.formats.tables_fields import CREDENTIALS, LIMITS, PEOPLE, Field
from lockmigrate.formats.tables_keys import Asked
from lockmigrate.formats.tables_types import NUMBERS, PACKED
from lockmigrate.formats.tables_values import CODECS

_NUMBER: Final = frozenset(NUMBERS)
_TEXT: Final = frozenset(CODECS)
_BYTES: Final = frozenset({"bytes"})
_ANY: Final = _NUMBER | _TEXT | _BYTES | frozenset(PACKED)
_SETTING: Final = frozenset({"setting"})
_RULES: Final[dict[str, tuple[frozenset[str], frozenset[str], str]]] = {
    "slot": (PEOPLE, frozenset({"u8", "u16le", "u16be"}), "a number of at most two bytes; longer ids are external_id"),
    "name": (frozenset({"user"}), _TEXT, "a text"),
    "external_id": (frozenset({"user"}), _ANY - _BYTES, "a number, digits or a text"),
    "privilege": (frozenset({"user"}), _NUMBER, "a number with an enum"),
    "status": (PEOPLE, _NUMBER, "a number with an enum"),
    "duress": (CREDENTIALS, _NUMBER, "a number with an enum"),
    "digits": (frozenset({"pin"}), _ANY - _BYTES, "bcd, digit-bytes, a text or a number"),
    "card": (frozenset({"card"}), _ANY, "a number, bytes, digits or a text"),
    "template": (frozenset({"fingerprint", "face"}), _BYTES, "bytes"),
    "finger": (frozenset({"fingerprint"}), _NUMBER, "a number"),
    "user": (CREDENTIALS, _NUMBER, "a number"),
    **dict.fromkeys(LIMITS, (PEOPLE, _ANY, "any type")),
    "info": (PEOPLE, _ANY, "any type"),
    "setting": (_SETTING, _ANY, "any type"),
    "serial": (_SETTING, _ANY, "any type"),
    "firmware": (_SETTING, _ANY, "any type"),
    "hardware": (_SETTING, _ANY, "any type"),
    "access_key": (_SETTING, _ANY, "any type"),
}
"""Role to the kinds of record that it can serve, the types that it can have, and those types in words."""
_NEEDED: Final = {"pin": "digits", "card": "card", "fingerprint": "template", "face": "template"}
"""Kind of record to the role without which it says nothing."""
_OFTEN: Final = frozenset({*LIMITS, "info", "setting", "access_key"})
"""Roles that several fields of a record may have."""


def check_roles(asked: Asked, fields: tuple[Field, ...], kinds: tuple[str, ...], *, has_first_slot: bool) -> None:
    """Note roles that do not fit their table, and what is missing for the kinds that it names."""
    seen: dict[str, int] = {}
    for number, field in enumerate(fields):
        if field.role is None:
            continue
        serves, types, words = _RULES[field.role]
        place = f"fields.{number}"
        if kinds and not serves & set(kinds):
            one = " or ".join(sorted(serves)) if len(serves) < 4 else "a record of people"
            asked.problem(f"{place}.role", f'"{field.role}" belongs to {one}, and kind is {", ".join(kinds)}')
        if field.type not in types:
            asked.problem(f"{place}.type", f'"{field.role}" cannot be {field.type}; it is {words}')
        if field.role in seen and field.role not in _OFTEN:
            asked.problem(f"{place}.role", f'"{field.role}" is that of field {seen[field.role]} already')
        seen.setdefault(field.role, number)
    for kind in kinds:
        if kind in _NEEDED and _NEEDED[kind] not in seen:
            asked.problem("fields", f'a {kind} needs a field with role = "{_NEEDED[kind]}"')
    if "user" in kinds and "user" in seen:
        asked.problem(f"fields.{seen['user']}.role", "the record is the user already; its slot is the user's number")
    if kinds == ("setting",):
        asked.only(False, "settings have no slots", "first_slot")
        if not any(field.role for field in fields):
            asked.problem("fields", 'no field has a role; role = "setting" makes it one')
    elif kinds and "slot" not in seen and not has_first_slot:
        asked.problem("first_slot", 'is needed where no field has role = "slot": the number of the first record')
    elif "slot" in seen:
        asked.only(False, 'a field has role = "slot"', "first_slot")
