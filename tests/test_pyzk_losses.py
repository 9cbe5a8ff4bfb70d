"""What a copy by pyzk loses, loss by loss, and that a copy by lockmigrate loses none of it.

pyzk's own script (`test_backup_restore.py`) reads users and templates and writes them with `save_user_template`; so
does this one, between two simulated terminals, with the published package unmodified.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from test_zk_peers import Served, pyzk
from test_zk_restore import put_back, source_of
from virtual_time import run_test

from lockmigrate.profiles import load_profile
from lockmigrate.sim import open_unit

pytestmark = pytest.mark.peer

zk = pytest.importorskip("zk", reason="pyzk is not installed")

NED = 13
"""The public record: group 2, own time zones 1 and 2."""
DURESS = 3


class Copies(NamedTuple):
    """The memories of the old terminal and of the two new ones."""

    old: Any
    theirs: Any
    ours: Any


def copied_by_pyzk(**options: str) -> tuple[Any, Any]:
    old, new = Served("zk", "full", udp=False, **options), Served("zk", "empty", udp=False)
    try:
        source, target = pyzk(old, 0), pyzk(new, 0)
        source.connect()
        users, templates = source.get_users(), source.get_templates()
        source.disconnect()
        target.connect()
        for user in users:
            target.save_user_template(user, [finger for finger in templates if finger.uid == user.uid])
        target.disconnect()
    finally:
        old.stop()
        new.stop()
    return old.unit.flash, new.unit.flash


def copied_by_us(**options: str) -> Any:
    profile = load_profile("zk")
    old, new = open_unit(profile, "full", options), open_unit(profile, "empty", {})

    async def copy() -> None:
        result = await put_back(new, await source_of(old))
        assert result.exit_code == 0

    run_test(copy)
    assert new.image() == old.image()
    return new.flash


@pytest.fixture(scope="module")
def copies() -> Copies:
    old, theirs = copied_by_pyzk()
    return Copies(old, theirs, copied_by_us())


def field(flash: Any, start: int, size: int) -> dict[int, bytes]:
    return {uid: record[start : start + size] for uid, record in flash.users.items()}


def test_the_group_becomes_1(copies: Copies) -> None:
    assert set(field(copies.old, 39, 1).values()) > {b"\x01"}
    assert set(field(copies.theirs, 39, 1).values()) == {b"\x01"}
    assert field(copies.ours, 39, 1) == field(copies.old, 39, 1)


def test_the_own_time_zones_are_cleared(copies: Copies) -> None:
    assert copies.old.users[NED][42:48] == bytes.fromhex("010002000000")
    assert set(field(copies.theirs, 42, 6).values()) == {bytes(6)}
    assert field(copies.ours, 42, 6) == field(copies.old, 42, 6)


def test_the_flag_for_own_time_zones_stays_without_them_or_is_lost(copies: Copies) -> None:
    """Own zones without any zone let nobody in; no flag lets the person in at any time of the group's."""
    own = {uid for uid, flag in field(copies.old, 40, 2).items() if flag != bytes(2)}
    assert NED in own
    assert any(copies.theirs.users[uid][40:48] != copies.old.users[uid][40:48] for uid in own)
    assert {uid: copies.ours.users[uid][40:48] for uid in own} == {uid: copies.old.users[uid][40:48] for uid in own}


def test_the_duress_finger_becomes_an_ordinary_one(copies: Copies) -> None:
    duress = {place for place, (flag, _) in copies.old.templates.items() if flag == DURESS}
    assert duress
    assert {copies.theirs.templates[place][0] for place in duress} == {1}
    assert {copies.ours.templates[place][0] for place in duress} == {DURESS}


def test_the_way_of_verifying_is_gone(copies: Copies) -> None:
    assert copies.old.verify
    assert copies.theirs.verify == {}
    assert copies.ours.verify == copies.old.verify


def test_the_tables_of_time_zones_groups_and_combinations_stay_behind(copies: Copies) -> None:
    old, theirs, ours = copies
    empty = open_unit(load_profile("zk"), "empty", {}).flash
    for table in ("zones", "groups", "combinations"):
        assert getattr(old, table) != getattr(empty, table)
        assert getattr(theirs, table) == getattr(empty, table)
        assert getattr(ours, table) == getattr(old, table)


def test_what_lies_behind_the_end_of_a_password_is_cleared(copies: Copies) -> None:
    assert field(copies.theirs, 3, 8) != field(copies.old, 3, 8)
    assert field(copies.ours, 3, 8) == field(copies.old, 3, 8)


def test_a_name_is_invented_for_who_has_none(copies: Copies) -> None:
    nameless = {uid for uid, name in field(copies.old, 11, 24).items() if not name.strip(b"\x00")}
    assert nameless
    assert all(copies.theirs.users[uid][11:].startswith(b"NN-") for uid in nameless)
    assert {copies.ours.users[uid][11:35] for uid in nameless} == {bytes(24)}


def test_chinese_names_of_chinese_firmware_are_garbled() -> None:
    old, theirs = copied_by_pyzk(names="gbk")
    chinese = {uid for uid, name in field(old, 11, 24).items() if not name.isascii()}
    assert chinese
    assert all(theirs.users[uid][11:35] != old.users[uid][11:35] for uid in chinese)
    assert field(copied_by_us(names="gbk"), 11, 24) == field(old, 11, 24)


def test_writing_a_user_alone_enables_the_disabled_and_takes_rights_of_administration() -> None:
    """`set_user` turns every privilege but 0 and 14 into 0: also "disabled"."""
    served = Served("zk", "full", udp=False)
    try:
        before = {uid: record[2] for uid, record in served.unit.flash.users.items()}
        client = pyzk(served, 0)
        client.connect()
        for user in client.get_users():
            client.set_user(user.uid, user.name, user.privilege, user.password, user.group_id, user.user_id, user.card)
        client.disconnect()
        after = {uid: record[2] for uid, record in served.unit.flash.users.items()}
    finally:
        served.stop()
    disabled = {uid for uid, privilege in before.items() if privilege & 1}
    assert disabled
    assert {after[uid] for uid in disabled} == {0}
    assert {after[uid] for uid, privilege in before.items() if privilege in (2, 6)} == {0}
    ours = copied_by_us()
    assert {uid: record[2] for uid, record in ours.users.items()} == before


def test_a_single_template_that_ends_in_zeros_comes_back_short() -> None:
    served = Served("zk", "full", udp=False)
    try:
        flash = served.unit.flash
        places = [place for place, (_, template) in flash.templates.items() if template.endswith(bytes(6))]
        assert places
        client = pyzk(served, 0)
        client.connect()
        short = [client.get_user_template(uid, finger).template for uid, finger in places]
        client.disconnect()
    finally:
        served.stop()
    assert [len(template) for template in short] == [len(flash.templates[place][1]) - 6 for place in places]
    ours = copied_by_us()
    assert [ours.templates[place] for place in places] == [flash.templates[place] for place in places]


def test_replies_that_come_split_and_back_to_back_hang_it() -> None:
    served = Served("zk", "full", udp=False, bulk="split", small="0")
    try:
        client = pyzk(served, 0, timeout_s=1)  # whatever it waits for has come long before
        client.connect()
        with pytest.raises(Exception, match=r"timed out|unpack|NoneType|can't") as caught:
            client.get_templates()
        assert caught.value is not None
        client._ZK__sock.close()
    finally:
        served.stop()
    copied_by_us(bulk="split", small="0")
