"""What differs between two backups or units: found by key or by content, and never with a secret in the answer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from against_schemas import check
from vaults import Vault

from lockmigrate import cli
from lockmigrate.model.comparison import DiffResult, DiffSide
from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import Credential, PinData
from lockmigrate.model.secret import Secret
from lockmigrate.operations.diff import Side, diff, side_of_unit
from lockmigrate.operations.reading import Reading, read_unit
from lockmigrate.targets import Access, open_target, parse_target

replace = msgspec.structs.replace
KEY = bytes(range(32))
DIGEST = re.compile("[0-9a-f]{8}")


async def read(target: str) -> Side:
    lock = await open_target(parse_target(target), Access())
    try:
        async for item in read_unit(lock):
            if isinstance(item, Reading):
                reading = item
    finally:
        await lock.close()
    return side_of_unit(reading)


def other_unit(side: Side, serial: str = "OTHER") -> Side:
    unit = replace(side.unit, serial=serial, id=serial)
    return Side(seen=DiffSide(unit=unit, counts=side.seen.counts), snapshot=side.snapshot)


def with_credentials(side: Side, change: Callable[[list[Credential]], list[Credential]]) -> Side:
    changed: Snapshot = replace(side.snapshot, credentials=tuple(change(list(side.snapshot.credentials))))
    return Side(seen=side.seen, snapshot=changed)


def pins(side: Side) -> list[str]:
    return [
        str(item.data.digits.reveal()) for item in side.snapshot.credentials if isinstance(item.data, PinData)
    ]  # fmt: skip


def swap_pin(items: list[Credential]) -> list[Credential]:
    number = next(index for index, item in enumerate(items) if isinstance(item.data, PinData) and item.name)
    items[number] = replace(items[number], data=PinData(digits=Secret("987654")))
    return items


SMALL = [
    "sim://nuki/full?codes=8",
    "sim://ttlock/full?passcodes=8&cards=4&fingers=2",
    "sim://zk/half",
    "sim://r503/full?fill=3",
]


@pytest.mark.parametrize("target", SMALL)
async def test_a_unit_equals_itself_also_where_it_is_taken_for_another(target: str) -> None:
    side = await read(target)
    for result in (diff(side, side), diff(side, other_unit(side))):
        assert (result.exit_code, result.added, result.removed, result.changed) == (0, (), (), ())
        assert result.equal > 3
    assert diff(side, other_unit(side)).matched_by == "content"


@pytest.mark.parametrize("target", SMALL[:3])
async def test_a_new_pin_is_a_changed_value_and_no_digit_of_it_is_said(target: str) -> None:
    before = await read(target)
    if "zk" in target:
        after = with_credentials(
            before,
            lambda items: [
                replace(item, data=PinData(digits=Secret("987654"))) if item.key == "pin/1" else item for item in items
            ],
        )
    elif "ttlock" in target:
        after = with_credentials(before, lambda items: [
            replace(item, data=PinData(digits=Secret("987654"))) if item.key == "pin/2" else item for item in items
        ])  # fmt: skip
    else:
        after = with_credentials(before, swap_pin)
    result = diff(before, after)
    (changed,) = result.changed
    assert result.exit_code == 8
    assert list(changed.fields) == ["value"]
    assert DIGEST.fullmatch(str(changed.fields["value"].a))
    text = msgspec.json.encode(result).decode()
    assert "987654" not in text
    assert not any(re.search(rf"(?<![0-9a-f]){pin}(?![0-9a-f])", text) for pin in pins(before) if len(pin) > 5)


async def test_digests_are_of_one_run_alone() -> None:
    before = await read("sim://nuki/full?codes=4")
    after = with_credentials(before, swap_pin)
    seen = {str(diff(before, after).changed[0].fields["value"].a) for _ in range(3)}
    assert len(seen) == 3
    assert len({str(diff(before, after, key=KEY).changed[0].fields["value"].a) for _ in range(3)}) == 1


async def test_on_another_unit_numbers_do_not_matter_where_the_lock_gives_them() -> None:
    before = await read("sim://nuki/full?codes=6")
    moved = with_credentials(
        other_unit(before),
        lambda items: [
            replace(item, key=f"pin/9{item.key[4:]}", origin={"code_id": 900})
            if item.credential_type == "PIN"
            else replace(item, linked_to=f"pin/9{item.linked_to[4:]}" if isinstance(item.linked_to, str) else None)
            for item in reversed(items)
        ],
    )
    assert diff(before, moved).exit_code == 0
    assert diff(before, Side(seen=before.seen, snapshot=moved.snapshot)).exit_code == 8  # within one unit they do


async def test_a_finger_in_another_slot_is_the_same_finger_in_another_slot() -> None:
    before = await read("sim://r503/full?fill=3")
    moved = with_credentials(
        other_unit(before),
        lambda items: [replace(items[0], key="fingerprint/199", origin={"credential_index": 199}), *items[1:]],
    )
    (changed,) = diff(before, moved).changed
    assert changed.other_key == "fingerprint/199"
    assert changed.fields["slot"].b == 199


async def test_a_template_of_which_one_bit_differs_is_another_template() -> None:
    before = await read("sim://r503/full?fill=3")
    tables = [
        replace(table, data=table.data[:-1] + bytes([table.data[-1] ^ 1])) if "templates" in table.name else table
        for table in before.snapshot.tables
    ]
    after = Side(seen=before.seen, snapshot=replace(before.snapshot, tables=tuple(tables)))
    (changed,) = diff(before, after).changed
    assert set(changed.fields) == {"value"}


async def test_a_person_whose_code_is_new_is_still_that_person_on_another_unit() -> None:
    before = await read("sim://nuki/full?codes=6")
    result = diff(before, with_credentials(other_unit(before), swap_pin))
    (changed,) = result.changed
    assert (result.added, result.removed, list(changed.fields)) == ((), (), ["value"])


async def test_what_was_added_and_removed_is_named() -> None:
    before = await read("sim://nuki/full?codes=6")
    after = with_credentials(before, lambda items: items[1:])
    gone = diff(before, after)
    assert [item.key for item in gone.removed] == [before.snapshot.credentials[0].key]
    assert diff(after, before).added == gone.removed


async def test_a_setting_that_belongs_to_the_unit_counts_within_that_unit_only() -> None:
    before = await read("sim://nuki/full?codes=2")
    own = next(item for item in before.snapshot.settings if item.device_bound)
    settings = [replace(item, value="other") if item is own else item for item in before.snapshot.settings]
    after = Side(seen=before.seen, snapshot=replace(before.snapshot, settings=tuple(settings)))
    assert [item.key for item in diff(before, after).changed] == [own.key]
    across = diff(before, other_unit(after))
    assert across.exit_code == 0
    assert own.key in across.not_compared


async def test_weekly_limits_that_no_lock_gives_out_are_not_called_equal() -> None:
    side = await read("sim://ttlock-cyclic/full?passcodes=2&cards=3&fingers=1")
    assert any(key.startswith("schedule/card/1") for key in diff(side, side).not_compared)


async def test_two_families_are_compared_by_what_both_say() -> None:
    nuki, ttlock = await read("sim://nuki/full?codes=4"), await read("sim://ttlock/full?passcodes=4&cards=2&fingers=1")
    mine = next(item for item in nuki.snapshot.credentials if isinstance(item.data, PinData) and not item.schedules)
    taken = with_credentials(
        ttlock, lambda items: [replace(items[0], data=mine.data, schedules=()), *items[1:]]
    )  # fmt: skip
    result = diff(nuki, taken)
    assert (result.same_unit, result.equal) == (False, 1)
    assert any(key.startswith("setting/") for key in result.not_compared)


async def test_units_without_a_number_are_matched_by_slot_and_it_is_said() -> None:
    side = await read("sim://f5/full?fill=3")
    result = diff(side, side)
    assert (result.same_unit, result.matched_by) == (None, "key")
    assert any(warning.startswith("unit-unknown") for warning in result.warnings)


# ---- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    vault = Vault(tmp_path)

    def run(*words: str, expect: int = 0) -> Any:
        given = ["--config-dir", str(vault.config), "--passphrase-file", str(vault.passphrase_file), "--json"]
        code = cli.main([*words, *given])
        captured = capsys.readouterr()
        assert code == expect, captured.err
        return json.loads(captured.out if code in (0, 8, 9) else captured.err.strip().splitlines()[-1])

    return run


def test_two_files_and_a_unit(shell: Callable[..., Any], tmp_path: Path) -> None:
    first, second = str(tmp_path / "a.age"), str(tmp_path / "b.age")
    names = tmp_path / "names.csv"
    names.write_text("31,Anna\n", encoding="utf-8")
    shell("backup", "sim://r503/full?fill=2", "-o", first, "--names", str(names))
    shell("backup", "sim://r503/full?fill=3", "-o", second)
    document = check(shell("diff", first, second, expect=8))
    assert (document["counts"]["added"], document["counts"]["changed"]) == (1, 0)
    assert document["same_unit"] is True
    assert document["a"]["file"] == first
    # Names are of the technician's list, which a unit does not know.
    assert shell("diff", first, "sim://r503/full?fill=2")["changed"] == []
    assert shell("diff", first, str(tmp_path / "none.age"), expect=2)["code"] == "file"


def test_a_file_of_an_unknown_signer_is_compared_and_said_to_be_so(shell: Callable[..., Any], tmp_path: Path) -> None:
    file = str(tmp_path / "a.age")
    shell("backup", "sim://r503/full?fill=2", "-o", file)
    (tmp_path / "config" / "allowed_signers").write_text("", encoding="utf-8")
    document = shell("diff", file, "sim://r503/full?fill=2")
    assert document["a"]["trust"] == "untrusted"
    assert any("signer" in warning for warning in document["warnings"])


def test_people_see_what_changed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diff", "sim://r503/full?fill=2", "sim://r503/full?fill=3"]) == 8
    out = capsys.readouterr().out
    assert "on B and not on A (1):\n  fingerprint" in out
    assert cli.main(["diff", "sim://r503/full?fill=2", "sim://r503/full?fill=2"]) == 0
    assert "nothing differs" in capsys.readouterr().out


def test_the_result_says_nothing_of_the_exit_code() -> None:
    assert DiffResult.__struct_fields__.index("exit_code") >= 0
    assert "exit_code" not in (Path(__file__).parent.parent / "docs/schemas/lockmigrate.diff.1.json").read_text()
