"""Listing, sealing anew, purging and reindexing: nothing goes that should stay, and it is written down."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from vaults import CANARY_PIN, NOW, PASSPHRASE, Vault

from lockmigrate.errors import BackupError, ConfigError, FileTrouble, WrongKeyError
from lockmigrate.formats import age, sshsig
from lockmigrate.formats.backup import open_backup
from lockmigrate.model.results import Unit
from lockmigrate.model.vault_results import VaultRekeyResult
from lockmigrate.operations import vault_rekey
from lockmigrate.operations.vault import list_vault, verify_vault
from lockmigrate.operations.vault_memory import freshness_of, previous_of, remember
from lockmigrate.operations.vault_rekey import COPIES_REMAIN, Change, rekey
from lockmigrate.operations.vault_upkeep import journal_note, purge, reindex
from lockmigrate.operations.vault_verify import forget_keys
from lockmigrate.vault.catalogue import Catalogue
from lockmigrate.vault.keys import create_keys, key_info, load_identity
from lockmigrate.vault.policy import VaultPolicy
from lockmigrate.vault.trust import add_signer

NEW = age.X25519Identity.generate()
LEAVER = age.X25519Identity.generate()
PLAIN = VaultPolicy()


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    forget_keys()
    yield Vault(tmp_path)
    forget_keys()


def journal(vault: Vault) -> list[dict[str, Any]]:
    path = vault.config / "journal.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def states(vault: Vault) -> dict[str, str]:
    return {Path(item.file).name: item.state for item in list_vault(vault.folder, vault.config).files}


def change(vault: Vault, policy: VaultPolicy = PLAIN, *, dry_run: bool = False, **given: Any) -> VaultRekeyResult:
    paths = sorted(vault.folder.glob("*.age"))
    note = journal_note(vault.config)
    return rekey(paths, vault.config, vault.keys, Change(**given), policy, note, folder=vault.folder, dry_run=dry_run)


def opens(path: Path, identity: age.X25519Identity) -> bool:
    try:
        open_backup(path.read_bytes(), identities=[identity])
    except WrongKeyError:
        return False
    return True


# ---- list -----------------------------------------------------------------------------------------------------------


def test_a_list_tells_what_is_there_missing_unknown_changed_and_newest(vault: Vault) -> None:
    vault.add("new.age")
    vault.add("old.age", age=timedelta(days=2), expires=NOW - timedelta(days=1))
    vault.add("gone.age", serial="S2")
    vault.add("grown.age", serial="S3")
    vault.add("unknown.age", known=False)
    (vault.folder / "gone.age").unlink()
    with (vault.folder / "grown.age").open("ab") as file:
        file.write(b"x")
    result = list_vault(vault.folder, vault.config)
    assert states(vault) == {
        "new.age": "present",
        "old.age": "present",
        "gone.age": "missing",
        "grown.age": "changed",
        "unknown.age": "unknown",
    }
    assert result.counts == {"present": 2, "missing": 1, "changed": 1, "unknown": 1}
    by_name = {Path(item.file).name: item for item in result.files}
    assert (by_name["new.age"].newest, by_name["old.age"].newest) == (True, False)
    assert (by_name["new.age"].expired, by_name["old.age"].expired) == (False, True)
    assert result.files[-1].state == "unknown"


def test_listing_needs_no_catalogue_and_leaves_none(tmp_path: Path) -> None:
    (tmp_path / "a.age").write_bytes(b"x")
    assert list_vault(tmp_path, tmp_path / "config").counts == {"unknown": 1}
    assert not (tmp_path / "config").exists()


# ---- rekey ----------------------------------------------------------------------------------------------------------


def test_a_removed_recipient_can_no_longer_open_the_new_file_and_its_old_file_key_is_of_no_use(vault: Vault) -> None:
    opened = vault.add("a.age", recipients=(str(LEAVER.recipient),))
    path = vault.folder / "a.age"
    old = path.read_bytes()
    assert opens(path, LEAVER)
    result = change(vault, add=(str(NEW.recipient),), remove=(str(LEAVER.recipient),))
    assert (result.exit_code, result.warnings) == (0, (COPIES_REMAIN,))
    assert result.files[0].recipients == (vault.recipient, str(NEW.recipient))
    assert result.files[0].removed == (str(LEAVER.recipient),)
    assert not opens(path, LEAVER)
    assert opens(path, NEW)
    # Same stanzas with another body would be the old file key: nothing of the old ciphertext is left.
    assert path.read_bytes()[-4096:] != old[-4096:]
    again = open_backup(path.read_bytes(), identities=[NEW])
    assert (again.manifest_sha256, again.signer, again.entries) == (
        opened.manifest_sha256,
        opened.signer,
        opened.entries,
    )
    assert verify_vault(vault.folder, vault.config, "quick", None).exit_code == 0
    assert verify_vault(vault.folder, vault.config, "read-data", vault.keys).exit_code == 0
    (line,) = journal(vault)
    assert (line["event"], line["backup"]) == ("rekey", opened.backup_id)
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600


def test_the_catalogue_remembers_the_recipients_for_the_next_change(vault: Vault) -> None:
    vault.add("a.age")
    assert change(vault, add=(str(LEAVER.recipient),)).exit_code == 0
    assert opens(vault.folder / "a.age", LEAVER)
    assert change(vault, add=(str(NEW.recipient),), remove=(str(LEAVER.recipient),)).exit_code == 0
    assert not opens(vault.folder / "a.age", LEAVER)
    with Catalogue(vault.config) as catalogue:
        assert catalogue.rows()[0].recipients == (vault.recipient, str(NEW.recipient))


def test_a_file_that_is_sealed_as_wanted_already_is_left_alone(vault: Vault) -> None:
    vault.add("a.age")
    before = (vault.folder / "a.age").read_bytes()
    result = change(vault, add=(vault.recipient,), remove=(str(LEAVER.recipient),))
    assert (result.exit_code, result.warnings, journal(vault)) == (0, (), [])
    assert (vault.folder / "a.age").read_bytes() == before


def test_a_recipient_of_whom_only_the_digest_is_known_is_never_dropped_in_silence(vault: Vault) -> None:
    vault.add("a.age", recipients=(str(LEAVER.recipient),), known=False)
    before = (vault.folder / "a.age").read_bytes()
    result = change(vault, add=(str(NEW.recipient),))
    assert (result.files[0].code, result.exit_code) == ("unknown-recipient", 2)
    assert (vault.folder / "a.age").read_bytes() == before
    result = change(vault, add=(str(NEW.recipient),), drop_unknown=True)
    assert result.exit_code == 0
    assert result.files[0].removed[0].startswith("sha256:")
    assert not opens(vault.folder / "a.age", LEAVER)


def test_a_file_sealed_anew_elsewhere_does_not_let_a_removed_recipient_in_again(vault: Vault, tmp_path: Path) -> None:
    vault.add("a.age", recipients=(str(LEAVER.recipient),))
    assert change(vault, remove=(str(LEAVER.recipient),)).exit_code == 0
    # Another computer without this catalogue sees only the manifest, which still lists the removed one.
    (vault.config / "catalogue.sqlite").rename(tmp_path / "elsewhere")
    result = change(vault, add=(str(NEW.recipient),))
    assert result.exit_code == 0
    assert result.files[0].recipients == (vault.recipient, str(NEW.recipient))
    assert not opens(vault.folder / "a.age", LEAVER)


def test_a_dry_run_changes_nothing_and_leaves_nothing(vault: Vault) -> None:
    vault.add("a.age", known=False)
    before = (vault.folder / "a.age").read_bytes()
    result = change(vault, add=(str(NEW.recipient),), dry_run=True)
    assert result.files[0].recipients == (vault.recipient, str(NEW.recipient))
    assert (vault.folder / "a.age").read_bytes() == before
    assert journal(vault) == []
    assert not (vault.config / "catalogue.sqlite").exists()


@pytest.mark.parametrize(
    ("given", "policy", "code"),
    [
        ({}, PLAIN, "usage"),
        ({"add": (str(NEW.recipient),), "remove": (str(NEW.recipient),)}, PLAIN, "usage"),
        ({"add": ("age1nonsense",)}, PLAIN, "bad-recipient"),
        ({"remove": (str(NEW.recipient),)}, VaultPolicy(always=(str(NEW.recipient),)), "policy-recipient"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused_before_any_file(
    vault: Vault, given: dict[str, Any], policy: VaultPolicy, code: str
) -> None:
    vault.add("a.age")
    with pytest.raises(ConfigError) as caught:
        change(vault, policy, **given)
    assert caught.value.code == code


def test_the_policy_holds_for_files_sealed_anew(vault: Vault) -> None:
    vault.add("a.age", recipients=(str(LEAVER.recipient),))
    before = (vault.folder / "a.age").read_bytes()
    result = change(vault, VaultPolicy(min_recipients=2), remove=(str(LEAVER.recipient),))
    assert (result.files[0].code, result.exit_code) == ("too-few-recipients", 2)
    assert (vault.folder / "a.age").read_bytes() == before
    result = change(vault, VaultPolicy(always=(str(NEW.recipient),)), remove=(str(LEAVER.recipient),))
    assert result.files[0].recipients == (vault.recipient, str(NEW.recipient))


def test_removing_the_last_recipient_or_a_passphrase_is_refused(vault: Vault) -> None:
    vault.add("a.age")
    vault.add("b.age", passphrase="a passphrase of its own")
    result = change(vault, remove=(vault.recipient,))
    assert [item.code for item in result.files] == ["no-recipient", "symmetric"]


def test_one_damaged_file_does_not_stop_the_others(vault: Vault) -> None:
    vault.add("a.age")
    vault.add("b.age")
    (vault.folder / "a.age").write_bytes((vault.folder / "a.age").read_bytes()[:-1])
    result = change(vault, add=(str(NEW.recipient),))
    assert [item.code for item in result.files] == ["corrupt", None]
    assert result.exit_code == 6
    assert opens(vault.folder / "b.age", NEW)


def test_if_the_new_file_does_not_read_back_the_old_one_stays(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.add("a.age")
    before = (vault.folder / "a.age").read_bytes()
    real = vault_rekey.read_backup

    def damaged(path: Path) -> bytes:
        data = real(path)
        return data[:-1] if path.name.endswith(".tmp") else data

    monkeypatch.setattr(vault_rekey, "read_backup", damaged)
    result = change(vault, add=(str(NEW.recipient),))
    assert (result.files[0].code, result.exit_code) == ("write-check", 2)
    assert (vault.folder / "a.age").read_bytes() == before
    assert [path.name for path in vault.folder.iterdir()] == ["a.age"]


@pytest.mark.peer
@pytest.mark.skipif(which("age") is None, reason="the program `age` is not installed")
def test_a_file_sealed_anew_opens_with_debians_age(vault: Vault, tmp_path: Path) -> None:
    vault.add("a.age")
    change(vault, add=(str(NEW.recipient),))
    key = tmp_path / "key.txt"
    key.write_text(NEW.reveal(), encoding="utf-8")
    done = subprocess.run(["age", "-d", "-i", key, vault.folder / "a.age"], capture_output=True, check=True, timeout=30)
    assert CANARY_PIN in done.stdout


# ---- purge ----------------------------------------------------------------------------------------------------------


def test_only_expired_backups_are_purged_and_each_is_journalled(vault: Vault) -> None:
    expired = vault.add("expired.age", age=timedelta(days=9), expires=NOW - timedelta(days=1))
    vault.add("later.age", expires=NOW + timedelta(days=1))
    vault.add("forever.age", age=timedelta(days=900))
    vault.add("unknown.age", age=timedelta(days=9), expires=NOW - timedelta(days=1), known=False)
    result = purge(vault.folder, vault.config, journal_note(vault.config))
    assert sorted(path.name for path in vault.folder.iterdir()) == ["forever.age", "later.age", "unknown.age"]
    assert {Path(item.file).name: item.reason for item in result.files} == {
        "expired.age": "expired",
        "unknown.age": "not-in-catalogue",
    }
    assert (result.exit_code, result.kept) == (0, 2)
    (line,) = journal(vault)
    assert line["event"] == "purged"
    assert line["backup"] == expired.backup_id
    assert line["manifest_sha256"] == expired.manifest_sha256
    assert line["reason"] == "expired"
    assert datetime.fromisoformat(line["at"]).tzinfo is not None
    assert states(vault)["expired.age"] == "purged"
    # What was purged is not missed.
    assert verify_vault(vault.folder, vault.config, "quick", None).exit_code == 0


def test_a_purge_tried_out_deletes_and_writes_nothing(vault: Vault) -> None:
    vault.add("a.age", expires=NOW - timedelta(days=1))
    result = purge(vault.folder, vault.config, journal_note(vault.config), dry_run=True)
    assert [(item.reason, item.deleted) for item in result.files] == [("expired", False)]
    assert (vault.folder / "a.age").exists()
    assert journal(vault) == []


def test_another_file_in_the_place_of_an_expired_one_is_not_deleted(vault: Vault) -> None:
    vault.add("a.age", expires=NOW - timedelta(days=1))
    vault.add("b.age", known=False)
    shutil.move(vault.folder / "b.age", vault.folder / "a.age")
    result = purge(vault.folder, vault.config, journal_note(vault.config))
    assert [item.reason for item in result.files] == ["changed"]
    assert (vault.folder / "a.age").exists()


def test_without_its_journal_nothing_is_purged(vault: Vault) -> None:
    vault.add("a.age", expires=NOW - timedelta(days=1))
    (vault.config / "journal.jsonl").mkdir()
    with pytest.raises(FileTrouble):
        purge(vault.folder, vault.config, journal_note(vault.config))
    assert (vault.folder / "a.age").exists()


# ---- reindex --------------------------------------------------------------------------------------------------------


def test_a_lost_catalogue_is_made_anew_from_the_files(vault: Vault) -> None:
    opened = vault.add("a.age", expires=NOW + timedelta(days=1))
    vault.add("b.age", serial=None)
    with Catalogue(vault.config) as catalogue:
        before = catalogue.rows()
    (vault.config / "catalogue.sqlite").unlink()
    result = reindex(vault.folder, vault.config, vault.keys)
    assert (result.exit_code, result.missing, result.aside) == (0, (), None)
    with Catalogue(vault.config) as catalogue:
        assert {row.backup_id for row in catalogue.rows()} == {row.backup_id for row in before}
        row = catalogue.get(opened.backup_id)
        assert row is not None
        assert (row.expires_at, row.unit_key, row.trusted) == (
            opened.manifest["retention"]["expires_at"],
            "ef01/S1",
            True,
        )


def test_reindexing_keeps_what_only_the_catalogue_remembers(vault: Vault) -> None:
    newest = vault.add("new.age")
    vault.add("old.age", age=timedelta(hours=3))
    with Catalogue(vault.config) as catalogue:
        catalogue.record_verification(newest.backup_id, "rehearse", "t", "p", "ok", 1)
    (vault.folder / "new.age").unlink()
    result = reindex(vault.folder, vault.config, vault.keys)
    assert [Path(file).name for file in result.missing] == ["new.age"]
    with Catalogue(vault.config) as catalogue:
        found = catalogue.newest_for("ef01/S1")
        assert found is not None
        assert found.backup_id == newest.backup_id
        assert len(catalogue.checks(newest.backup_id)) == 1
    # Once noted, what is missing no longer fails every check.
    assert verify_vault(vault.folder, vault.config, "quick", None).exit_code == 0
    assert states(vault)["new.age"] == "missing"


@pytest.mark.parametrize("damage", ["text", "newer", "middle"])
def test_a_catalogue_that_cannot_be_used_is_put_aside_and_made_anew(vault: Vault, damage: str) -> None:
    opened = vault.add("a.age")
    path = vault.config / "catalogue.sqlite"
    if damage == "text":
        path.write_bytes(b"this is not a database " * 100)
    elif damage == "newer":
        import sqlite3

        db = sqlite3.connect(path)
        db.execute("PRAGMA user_version = 99")
        db.close()
    else:
        data = path.read_bytes()
        path.write_bytes(data[:4096] + b"\xa5" * (len(data) - 4096))
    with pytest.raises(ConfigError) as caught:
        verify_vault(vault.folder, vault.config, "quick", None)
    assert "vault reindex" in str(caught.value.hint)
    result = reindex(vault.folder, vault.config, vault.keys)
    assert result.aside is not None
    assert Path(result.aside).exists()
    assert "lost" in result.warnings[0]
    with Catalogue(vault.config) as catalogue:
        assert [row.backup_id for row in catalogue.rows()] == [opened.backup_id]


def test_files_that_do_not_open_and_signers_unknown_are_told(vault: Vault, tmp_path: Path) -> None:
    vault.add("a.age")
    vault.add("forged.age", signing=sshsig.generate_key(), age=-timedelta(minutes=1), known=False)
    (vault.folder / "noise.age").write_bytes(b"noise")
    result = reindex(vault.folder, vault.config, vault.keys)
    told = {Path(item.file).name: (item.ok, item.trusted, item.code) for item in result.files}
    assert told == {
        "a.age": (True, True, None),
        "forged.age": (True, False, None),
        "noise.age": (False, False, "not-a-backup"),
    }
    assert result.exit_code == 6
    with Catalogue(vault.config) as catalogue:
        newest = catalogue.newest_for("ef01/S1")
        assert newest is not None
        assert newest.backup_id == result.files[0].backup_id


def test_a_moved_folder_is_found_again(vault: Vault, tmp_path: Path) -> None:
    opened = vault.add("a.age")
    moved = tmp_path / "moved"
    vault.folder.rename(moved)
    assert reindex(moved, vault.config, vault.keys).exit_code == 0
    result = verify_vault(moved, vault.config, "quick", None)
    assert (result.exit_code, result.warnings) == (0, ())
    with Catalogue(vault.config) as catalogue:
        row = catalogue.get(opened.backup_id)
        assert row is not None
        assert row.object == str((moved / "a.age").resolve())


# ---- what other operations ask --------------------------------------------------------------------------------------


def unit(serial: str | None) -> Unit:
    return Unit(
        id="x", serial=serial, family="ef01", model=None, firmware=None, profile="r503", target="sim://r503/full"
    )


def test_the_last_backup_of_a_unit_is_the_next_ones_previous(vault: Vault) -> None:
    assert previous_of(vault.config, unit("S1")) is None
    vault.add("a.age", age=timedelta(hours=2))
    opened = vault.add("b.age", age=timedelta(hours=1))
    expected = {"backup_id": opened.backup_id, "manifest_sha256": opened.manifest_sha256}
    assert previous_of(vault.config, unit("S1")) == expected
    assert previous_of(vault.config, unit("S2")) is None
    assert previous_of(vault.config, unit(None)) is None


def test_an_old_file_served_in_place_of_the_newest_is_noticed_even_when_that_one_is_gone(vault: Vault) -> None:
    old = vault.add("old.age", age=timedelta(hours=3))
    vault.add("new.age", age=timedelta(hours=1))
    (vault.folder / "new.age").unlink()
    found = freshness_of(vault.config, old.manifest, old.created_at, PLAIN)
    assert (found.state, found.reasons) == ("stale", ("newer-known",))


def test_freshness_reads_the_expiry_and_the_unit_from_the_manifest(vault: Vault) -> None:
    expired = vault.add("a.age", expires=NOW - timedelta(hours=1))
    assert freshness_of(vault.config, expired.manifest, expired.created_at, PLAIN).reasons == ("expired",)
    nobody = vault.add("b.age", serial=None)
    assert freshness_of(vault.config, nobody.manifest, nobody.created_at, PLAIN).reasons == ("unit-unknown",)
    stranger = vault.add("c.age", serial="S9", known=False)
    judged = freshness_of(vault.config, stranger.manifest, stranger.created_at, PLAIN, datetime.now(UTC))
    assert judged.reasons == ("not-in-catalogue",)


def test_a_damaged_catalogue_stops_a_restore_but_only_warns_a_backup(vault: Vault) -> None:
    opened = vault.add("a.age")
    (vault.config / "catalogue.sqlite").write_bytes(b"damaged " * 1000)
    assert previous_of(vault.config, unit("S1")) is None
    warning = remember(vault.config, vault.folder / "a.age", b"", opened)
    assert warning is not None
    assert "catalogue" in warning
    with pytest.raises(ConfigError):
        freshness_of(vault.config, opened.manifest, opened.created_at, PLAIN)


# ---- post-quantum keys ----------------------------------------------------------------------------------------------


def test_post_quantum_keys_are_made_open_backups_and_satisfy_their_policy(tmp_path: Path) -> None:
    vault = Vault(tmp_path, post_quantum=True)
    assert vault.recipient.startswith("age1pq1")
    assert load_identity(vault.config, PASSPHRASE)[0].reveal().startswith("AGE-SECRET-KEY-PQ-1")
    vault.add("a.age")
    assert verify_vault(vault.folder, vault.config, "read-data", vault.keys).exit_code == 0
    other = age.recipient_of(age.generate_identity(post_quantum=True))
    assert change(vault, VaultPolicy(require="mlkem768x25519"), add=(other,)).exit_code == 0
    result = change(vault, add=(str(NEW.recipient),))
    assert (result.files[0].code, result.exit_code) == ("bad-recipient", 2)


def test_backups_of_a_colleague_become_good_once_the_signer_is_trusted(vault: Vault, tmp_path: Path) -> None:
    colleague = tmp_path / "colleague"
    create_keys(colleague, PASSPHRASE, generated=False, log_n=10)
    from lockmigrate.vault.keys import load_signing_key

    vault.add("a.age", signing=load_signing_key(colleague, PASSPHRASE))
    assert verify_vault(vault.folder, vault.config, "read-data", vault.keys).exit_code == 10
    info = key_info(colleague)
    add_signer(vault.config, info.public_key, "colleague", info.signer)
    assert verify_vault(vault.folder, vault.config, "read-data", vault.keys).exit_code == 0


def test_damage_is_a_backup_error_for_programs_too(vault: Vault) -> None:
    vault.add("a.age")
    (vault.folder / "a.age").write_bytes(b"")
    with pytest.raises(BackupError):
        open_backup((vault.folder / "a.age").read_bytes(), identities=[NEW])
