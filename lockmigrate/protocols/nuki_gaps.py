"""What a Nuki lock keeps to itself: one gap for each person who has to come, be invited or be enrolled again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from lockmigrate.formats import parse
from lockmigrate.formats.nuki_config import Facts
from lockmigrate.formats.nuki_records import FINGERPRINT, ID_TYPES, PERSON, text_of
from lockmigrate.formats.nuki_tables import key_of
from lockmigrate.model.document import Gap

CODES_KEPT: Final = Gap(
    section="pins",
    record=None,
    code="no-public-layout",
    detail="the lock has a keypad and did not give out its codes; they have to be entered again",
)


def people(items: list[bytes]) -> Iterator[Gap]:
    """Yield a gap for each authorisation but our own, which comes first (9.2): no key leaves a lock."""
    for raw in items[1:]:
        row = parse(PERSON, raw, "an authorisation")
        yield Gap(
            section="app_keys",
            record=f"app_key/{row.authorization_id}",
            code="app-invitation",
            detail=f'{ID_TYPES.get(row.id_type, "authorisation")} "{text_of(bytes(row.name)) or ""}" '
            "has to be invited or paired again",
        )


def fingers(items: list[bytes], names: Mapping[int, str]) -> Iterator[Gap]:
    """Yield a gap for each fingerprint; `names` are those of the codes, by their numbers."""
    for number, raw in enumerate(items):
        row = parse(FINGERPRINT, raw, "a fingerprint")
        of = names.get(row.code_id)
        yield Gap(
            section="fingerprints",
            record=f"fingerprint/{number}",
            code="template-unreadable",
            detail=f'"{text_of(bytes(row.name)) or ""}" of {key_of(row.code_id)}'
            + (f' "{of}"' if of else "")
            + " has to be enrolled again: templates stay in the keypad",
        )


def accessories(facts: Facts) -> Iterator[Gap]:
    """Yield a gap for each thing that is paired with the lock itself."""
    keypad = facts.has_keypad or facts.has_keypad_2
    here = (("fob", facts.has_fob), ("keypad", keypad), ("HomeKit", facts.homekit in (2, 3)))
    for name, there in here:
        if there:
            yield Gap(
                section="accessories",
                record=None,
                code="app-invitation",
                detail=f"a {name} is paired with this lock; it has to be paired with the new one by hand"
                if name != "HomeKit"
                else "HomeKit is on; it has to be set up with the new lock again",
            )
