"""What screens say of records that a unit does not give out, and of people who must come back."""

from __future__ import annotations

from lockmigrate.cli.parts import grouped, missing
from lockmigrate.cli.tables import Facts, Line
from lockmigrate.model.document import Gap
from lockmigrate.model.results import RecordResult


def words(blocks: list[object]) -> list[str]:
    found = []
    for block in blocks:
        if isinstance(block, Facts):
            found += [f"{left}: {right}" for left, right in block.rows]
        elif isinstance(block, Line):
            found.append(block.text)
    return found


def finger(number: int, detail: str) -> Gap:
    return Gap(
        section="fingerprints", record=f"fingerprint/{number}", code="template-unreadable", detail=detail,
        announced=True,
    )  # fmt: skip


def test_many_fingers_with_words_of_their_own_are_counted_among_the_gaps() -> None:
    gaps = [finger(number, f"valid until day {number}") for number in range(50)]
    lines = words(
        list(
            missing([*gaps, Gap(section="app_keys", record=None, code="app-invitation", detail="", announced=True)], ())
        )
    )
    assert [line for line in lines if "fingerprint" in line] == [
        "50 fingerprints: the old unit did not give this template out; this finger has to be enrolled again"
    ]
    assert any(line.startswith("app_keys: ") for line in lines)


def test_few_fingers_and_fingers_with_the_same_words_are_named() -> None:
    assert "fingerprint/1: valid until day 1" in words(
        list(missing([finger(n, f"valid until day {n}") for n in (1, 2)], ()))
    )
    assert "fingerprint/0 to 9: cut short" in words(list(missing([finger(n, "cut short") for n in range(10)], ())))


def test_a_gap_that_nobody_announced_is_never_folded_into_a_count() -> None:
    gaps = [
        Gap(
            section="fingerprints", record=f"fingerprint/{n}", code="template-unreadable", detail=f"slot {n}",
            announced=False,
        )
        for n in range(9)
    ]  # fmt: skip
    assert [f"fingerprint/{n}: slot {n}" for n in range(9)] == [
        line for line in words(list(missing(gaps, ()))) if "slot" in line
    ]


def test_who_has_to_come_back_is_listed_with_what_has_to_be_set_again() -> None:
    records = [
        RecordResult(
            key=f"fingerprint/{n}", kind="fingerprint", outcome="re_enrol", reasons=("template-unreadable",),
            detail=f"valid until day {n}",
        )
        for n in range(3)
    ]  # fmt: skip
    rows = grouped(records)
    assert rows[0][0] == "fingerprint/0 to 2"
    assert rows[1:] == [(f"fingerprint/{n}", f"valid until day {n}") for n in range(3)]
