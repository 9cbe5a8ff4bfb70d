"""The catalogue remembers, tells no secret, and survives two writers; a damaged one says what to do."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from vaults import CANARY_PIN, NOW, Vault

from lockmigrate.errors import ConfigError, FileTrouble
from lockmigrate.formats.manifest import write_time
from lockmigrate.vault.catalogue import Catalogue, Row, set_aside, unit_key, unit_key_of

TOOL = "lockmigrate@1"


def row(number: int = 1, *, unit: str | None = "ef01/S1", age: timedelta = timedelta(), **fields: object) -> Row:
    base = Row(
        backup_id=f"{number:032x}",
        object=f"/vault/{number}.age",
        size_bytes=65_536,
        ciphertext_sha256=f"{number:064x}",
        manifest_sha256=f"{number + 1000:064x}",
        unit_key=unit,
        created_at=write_time(NOW - age),
        signer="SHA256:x",
        schema="lockmigrate.backup/1",
    )
    return replace(base, **fields)  # type: ignore[arg-type]


def test_what_is_recorded_comes_back_also_in_another_process_of_the_same_config(tmp_path: Path) -> None:
    wanted = row(1, label="Side entrance", expires_at="2026-12-01T00:00:00Z", recipients=("age1a", "age1b"), tool=TOOL)
    with Catalogue(tmp_path) as catalogue:
        catalogue.record_backup(wanted)
    with Catalogue(tmp_path) as catalogue:
        assert catalogue.get(wanted.backup_id) == wanted
        assert catalogue.at_path(Path("/vault/1.age")) == wanted
        assert catalogue.get("0" * 32) is None
        assert catalogue.rows_in(Path("/vault")) == [wanted]
        assert catalogue.rows_in(Path("/other")) == []


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
def test_only_its_owner_can_read_it_and_its_journals(tmp_path: Path) -> None:
    with Catalogue(tmp_path / "new") as catalogue:
        catalogue.record_backup(row())
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()}
    assert set(modes.values()) == {0o600}
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    (tmp_path / "new" / "catalogue.sqlite").chmod(0o644)
    Catalogue(tmp_path / "new").close()
    assert (tmp_path / "new" / "catalogue.sqlite").stat().st_mode & 0o777 == 0o600


def test_looking_leaves_no_file_behind(tmp_path: Path) -> None:
    with Catalogue(tmp_path / "none", make=False) as catalogue:
        assert catalogue.rows() == []
        assert catalogue.newest_for("ef01/S1") is None
    assert not (tmp_path / "none").exists()


def test_it_holds_no_secret_and_no_digest_of_a_table(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    opened = vault.add("a.age")
    with Catalogue(vault.config) as catalogue:
        catalogue.record_verification(opened.backup_id, "read-data", TOOL, "", "ok", 3)
    held = b"".join(path.read_bytes() for path in vault.config.glob("catalogue.sqlite*"))
    assert opened.manifest_sha256.encode() in held
    for secret in vault.secrets():
        assert secret not in held
    for entry in opened.manifest["entries"]:
        assert entry["sha256"].encode() not in held
    assert CANARY_PIN not in held


# ---- the newest of a unit -------------------------------------------------------------------------------------------


def test_the_newest_of_a_unit_is_remembered_whatever_the_order_and_after_it_was_purged(tmp_path: Path) -> None:
    with Catalogue(tmp_path) as catalogue:
        for number, hours in ((1, 5), (2, 1), (3, 3)):
            catalogue.record_backup(row(number, age=timedelta(hours=hours)))
        catalogue.record_backup(row(9, unit="ef01/S2"))
        catalogue.set_state(row(2).backup_id, "purged")
        newest = catalogue.newest_for("ef01/S1")
        assert newest is not None
        assert (newest.backup_id, newest.created_at) == (row(2).backup_id, write_time(NOW - timedelta(hours=1)))
        assert catalogue.previous_for("ef01/S1") == {
            "backup_id": row(2).backup_id,
            "manifest_sha256": row(2).manifest_sha256,
        }


def test_the_highest_date_seen_of_a_unit_is_never_forgotten(tmp_path: Path) -> None:
    """Also where the very same backup comes again under an older date."""
    with Catalogue(tmp_path) as catalogue:
        catalogue.record_backup(row(1))
        catalogue.record_backup(row(1, age=timedelta(days=5)))
        newest = catalogue.newest_for("ef01/S1")
        assert newest is not None
        assert newest.created_at == write_time(NOW)


def test_an_untrusted_signers_backup_never_becomes_the_newest(tmp_path: Path) -> None:
    with Catalogue(tmp_path) as catalogue:
        catalogue.record_backup(row(1, age=timedelta(hours=2)))
        catalogue.record_backup(row(2, trusted=False))
        newest = catalogue.newest_for("ef01/S1")
        assert newest is not None
        assert newest.backup_id == row(1).backup_id


def test_a_backup_dated_far_ahead_does_not_make_all_others_stale(tmp_path: Path) -> None:
    with Catalogue(tmp_path) as catalogue:
        catalogue.record_backup(row(1, age=timedelta(hours=2)))
        catalogue.record_backup(row(2, age=-timedelta(days=3000)))
        newest = catalogue.newest_for("ef01/S1", not_after=NOW + timedelta(minutes=10))
        assert newest is not None
        assert newest.backup_id == row(1).backup_id
        previous = catalogue.previous_for("ef01/S1")
        assert previous is not None
        assert previous["backup_id"] == row(1).backup_id


def test_units_without_a_serial_number_are_never_taken_for_one_another(tmp_path: Path) -> None:
    assert unit_key("ef01", None) is None
    assert unit_key("ef01", "") is None
    assert unit_key_of({"unit": {"family": "ef01", "serial": None}, "device": {"serial": None}}) is None
    assert unit_key_of({"unit": {"family": "ef01", "serial": "7"}}) == "ef01/7"
    assert unit_key_of({"unit": 3, "device": {"serial": ["x"]}}) is None
    with Catalogue(tmp_path) as catalogue:
        catalogue.record_backup(row(1, unit=None))
        assert catalogue.newest_for(None) is None
        assert catalogue.previous_for(None) is None


def test_a_file_that_takes_anothers_place_supersedes_it(tmp_path: Path) -> None:
    with Catalogue(tmp_path) as catalogue:
        catalogue.record_backup(row(1))
        catalogue.record_backup(row(2, object="/vault/1.age"))
        old = catalogue.get(row(1).backup_id)
        assert old is not None
        assert (old.object, old.state) == (None, "superseded")


def test_sealing_anew_without_knowing_the_recipients_keeps_what_was_known(tmp_path: Path) -> None:
    with Catalogue(tmp_path) as catalogue:
        catalogue.record_backup(row(1, recipients=("age1a",)))
        catalogue.record_backup(row(1, size_bytes=7))
        found = catalogue.get(row(1).backup_id)
        assert found is not None
        assert (found.recipients, found.size_bytes) == (("age1a",), 7)


# ---- how far it is proven -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("checks", "colour"),
    [
        ([], "none"),
        ([("read-data", TOOL, "ok")], "none"),
        ([("rehearse", TOOL, "ok")], "green"),
        ([("rehearse", "lockmigrate@0", "ok")], "amber"),
        ([("rehearse", "lockmigrate@0", "ok"), ("rehearse", TOOL, "ok")], "green"),
        ([("rehearse", TOOL, "rehearsal-failed")], "red"),
        ([("rehearse", TOOL, "ok"), ("quick", TOOL, "corrupt")], "red"),
        ([("read-data", TOOL, "corrupt"), ("quick", TOOL, "ok")], "red"),
        ([("quick", TOOL, "corrupt"), ("read-data", TOOL, "ok")], "none"),
        ([("rehearse", TOOL, "ok"), ("read-data", TOOL, "wrong-key")], "green"),
        ([("rehearse", TOOL, "ok"), ("rehearse", TOOL, "worker-failed")], "green"),
    ],
)
def test_a_backup_is_green_only_when_this_version_rehearsed_it(
    tmp_path: Path, checks: list[tuple[str, str, str]], colour: str
) -> None:
    with Catalogue(tmp_path) as catalogue:
        catalogue.record_backup(row(1))
        for level, tool, result in checks:
            catalogue.record_verification(row(1).backup_id, level, tool, "p1", result, 5)
        assert catalogue.verification_state(row(1).backup_id, TOOL) == colour


def test_another_profile_turns_green_to_amber(tmp_path: Path) -> None:
    with Catalogue(tmp_path) as catalogue:
        catalogue.record_verification(row(1).backup_id, "rehearse", TOOL, "p1", "ok", 5)
        assert catalogue.verification_state(row(1).backup_id, TOOL, "p1") == "green"
        assert catalogue.verification_state(row(1).backup_id, TOOL, "p2") == "amber"


def test_a_deeper_check_counts_for_the_weaker_levels(tmp_path: Path) -> None:
    with Catalogue(tmp_path) as catalogue:
        catalogue.record_verification("a", "quick", TOOL, "", "ok", 1)
        catalogue.record_verification("b", "rehearse", TOOL, "", "ok", 1)
        assert set(catalogue.last_checked("quick")) == {"a", "b"}
        assert set(catalogue.last_checked("read-data")) == {"b"}


# ---- trouble --------------------------------------------------------------------------------------------------------


def test_a_damaged_catalogue_says_how_to_make_a_new_one(tmp_path: Path) -> None:
    for content in (
        b"not a database at all, but long enough to be taken for one" * 40,
        b"SQLite format 3\0" + b"\1" * 5000,
    ):
        (tmp_path / "catalogue.sqlite").write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            Catalogue(tmp_path)
        assert caught.value.code == "bad-catalogue"
        assert "vault reindex" in str(caught.value.hint)


def test_damage_in_the_middle_is_found_when_it_is_read(tmp_path: Path) -> None:
    with Catalogue(tmp_path) as catalogue:
        for number in range(200):
            catalogue.record_backup(row(number))
    path = tmp_path / "catalogue.sqlite"
    data = bytearray(path.read_bytes())
    data[8192 : len(data)] = b"\xa5" * (len(data) - 8192)
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught, Catalogue(tmp_path) as catalogue:
        catalogue.check_whole()
    assert caught.value.code == "bad-catalogue"


def test_a_newer_catalogue_and_somebody_elses_database_are_left_alone(tmp_path: Path) -> None:
    Catalogue(tmp_path).close()
    path = tmp_path / "catalogue.sqlite"
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 2")
    db.close()
    with pytest.raises(ConfigError, match="newer"):
        Catalogue(tmp_path)
    path.unlink()
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE theirs(x)")
    db.close()
    with pytest.raises(ConfigError, match="not a catalogue of ours"):
        Catalogue(tmp_path)
    db = sqlite3.connect(path)
    assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]
    db.close()


def test_a_catalogue_can_be_put_aside(tmp_path: Path) -> None:
    assert set_aside(tmp_path) is None
    with Catalogue(tmp_path) as catalogue:
        catalogue.record_backup(row(1))
    aside = set_aside(tmp_path)
    assert aside is not None
    assert aside.exists()
    with Catalogue(tmp_path) as catalogue:
        assert catalogue.rows() == []


def test_a_folder_in_the_way_is_told_as_trouble_with_a_file(tmp_path: Path) -> None:
    (tmp_path / "catalogue.sqlite").mkdir()
    with pytest.raises(FileTrouble):
        Catalogue(tmp_path)


def _write_many(folder: Path, first: int, count: int) -> None:
    for number in range(first, first + count):
        with Catalogue(folder) as catalogue:
            catalogue.record_backup(row(number, age=timedelta(seconds=1000 - number)))
            catalogue.record_verification(row(number).backup_id, "quick", TOOL, "", "ok", 1)


def test_two_processes_write_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    """Both begin with no file, so that they also race for making the tables."""
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(tmp_path / "c", first, 60)) for first in (1, 101)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0]
    with Catalogue(tmp_path / "c") as catalogue:
        catalogue.check_whole()
        assert len(catalogue.rows()) == 120
        assert len(catalogue.last_checked("quick")) == 120
        newest = catalogue.newest_for("ef01/S1", not_after=datetime.now(UTC))
        assert newest is not None
        assert newest.backup_id == row(160).backup_id
