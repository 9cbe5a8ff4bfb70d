"""The key folder: made once, guarded, opened by its passphrase alone, and carried to another computer."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from test_age import needs_age, needs_pty, type_passphrase

from lockmigrate.errors import ConfigError, FileTrouble, LockmigrateError, WrongKeyError
from lockmigrate.formats import age, files, sshsig
from lockmigrate.formats.backup import open_backup, seal
from lockmigrate.vault import keys, passphrases, trust
from lockmigrate.vault.keys import create_keys, find_identities, key_info, load_identity, load_signing_key

PASSPHRASE = "correct horse battery"
CHEAP = 4

posix_only = pytest.mark.skipif(os.name != "posix", reason="this system has no POSIX file modes")
needs_ssh_keygen = pytest.mark.skipif(which("ssh-keygen") is None, reason="the program `ssh-keygen` is not installed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "config"
    create_keys(made, PASSPHRASE, generated=False, name="tech@example", log_n=CHEAP)
    return made


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


# ---- making ---------------------------------------------------------------------------------------------------------


def test_new_keys_seal_sign_and_open(folder: Path) -> None:
    info = key_info(folder)
    key = load_signing_key(folder, PASSPHRASE)
    assert sshsig.fingerprint(key.public_key().public_bytes_raw()) == info.signer
    sealed, _ = seal({}, {"raw/x": b"1"}, recipients=[info.recipient], signing_key=key)
    found = open_backup(sealed, identities=load_identity(folder, PASSPHRASE), check_signer=trust.check_signer(folder))
    assert (found.entries, found.signer) == ({"raw/x": b"1"}, info.signer)


def test_the_folder_holds_the_named_files_and_no_other(folder: Path) -> None:
    assert sorted(each.name for each in folder.iterdir()) == [
        "allowed_signers",
        "identity.age",
        "recipients.txt",
        "revoked_signers",
        "signing.age",
        "signing.pub",
    ]
    info = key_info(folder)
    assert (folder / "recipients.txt").read_text() == info.recipient + "\n"
    assert (folder / "signing.pub").read_text() == info.public_key + " tech@example\n"
    plain = age.decrypt_bytes((folder / "identity.age").read_bytes(), passphrase=PASSPHRASE).decode()
    assert re.fullmatch(
        rf"# created: \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ\n# public key: {info.recipient}\nAGE-SECRET-KEY-1[A-Z0-9]+\n",
        plain,
    )


@posix_only
def test_private_files_are_for_their_owner_only(folder: Path) -> None:
    assert mode(folder) == 0o700
    assert {each.name: mode(each) for each in folder.iterdir()} == {
        "identity.age": 0o600,
        "signing.age": 0o600,
        "signing.pub": 0o644,
        "recipients.txt": 0o644,
        "allowed_signers": 0o644,
        "revoked_signers": 0o644,
    }


@posix_only
def test_an_empty_folder_is_closed_to_others_a_used_one_keeps_its_mode(tmp_path: Path) -> None:
    for name, expected in (("empty", 0o700), ("used", 0o755)):
        (tmp_path / name).mkdir(mode=0o755)
        (tmp_path / name).chmod(0o755)
        if name == "used":
            (tmp_path / name / "file").touch()
        create_keys(tmp_path / name, PASSPHRASE, generated=False, log_n=CHEAP)
        assert mode(tmp_path / name) == expected


@pytest.mark.parametrize("name", ["identity.age", "signing.age", "signing.pub"])
def test_existing_keys_are_never_replaced(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises(ConfigError) as caught:
        create_keys(tmp_path, PASSPHRASE, generated=False, log_n=CHEAP)
    assert caught.value.code == "keys-exist"
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [(name, "precious")]


def test_lists_that_exist_are_kept_behind_our_own(tmp_path: Path) -> None:
    escrow = age.recipient_of(age.generate_identity())
    (tmp_path / "recipients.txt").write_text(f"# escrow\n{escrow}\n")
    info = create_keys(tmp_path, PASSPHRASE, generated=False, log_n=CHEAP)
    assert age.parse_recipients((tmp_path / "recipients.txt").read_text()) == (info.recipient, escrow)


def test_a_full_disk_leaves_no_half_of_a_key_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = files.write_whole, []

    def third_fails(path: Path, *args: Any, **options: Any) -> None:
        calls.append(path)
        if len(calls) == 3:
            raise FileTrouble("cannot write: no space left on device")
        real(path, *args, **options)

    monkeypatch.setattr("lockmigrate.vault.keys.write_whole", third_fails)
    with pytest.raises(FileTrouble):
        create_keys(tmp_path, PASSPHRASE, generated=False, log_n=CHEAP)
    assert not list(tmp_path.iterdir())


def test_the_work_factor_follows_who_made_the_passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, used = age.encrypt_bytes, []

    def cheap(data: bytes, *, log_n: int, **options: Any) -> bytes:
        used.append(log_n)
        return real(data, log_n=CHEAP, **options)

    monkeypatch.setattr(age, "encrypt_bytes", cheap)
    create_keys(tmp_path / "own", PASSPHRASE, generated=False)
    create_keys(tmp_path / "ours", "a-b", generated=True)
    assert used == [18, 18, 16, 16]


def test_a_generated_passphrase_is_told_by_the_work_factor(tmp_path: Path, folder: Path) -> None:
    assert create_keys(tmp_path / "ours", passphrases.generate_passphrase(), generated=True).generated
    assert not key_info(folder).generated


# ---- passphrases ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weak", ["", "eleven char", "u\u0308" * 11])
def test_a_person_s_own_passphrase_has_at_least_twelve_characters(weak: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        create_keys(tmp_path / "config", weak, generated=False, log_n=CHEAP)
    assert (caught.value.exit_code, caught.value.code) == (2, "weak-passphrase")
    assert not list(tmp_path.iterdir())


def test_generated_passphrases_are_six_words_of_the_list() -> None:
    words = passphrases._word_list()
    assert len(set(words)) == 7776
    assert (words[0], words[-1]) == ("abacus", "zoom")
    made = {keys.generate_passphrase() for _ in range(20)}
    assert len(made) == 20
    one_word = "|".join(map(re.escape, words))
    assert all(re.fullmatch(rf"(?:{one_word})(?:-(?:{one_word})){{5}}", each) for each in made)


def test_a_passphrase_is_the_same_however_its_letters_are_composed(tmp_path: Path) -> None:
    composed = "Schlüssel für Türen"
    create_keys(tmp_path, unicodedata.normalize("NFD", composed), generated=False, log_n=CHEAP)
    for form in ("NFC", "NFD"):
        assert load_identity(tmp_path, unicodedata.normalize(form, composed))
    assert age.decrypt_bytes((tmp_path / "identity.age").read_bytes(), passphrase=composed)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a b", "a b"),
        (b"a b\n", "a b"),
        (b"a b\r\n", "a b"),
        (b"a b\n\n", "a b\n"),
        (b" a\r", " a\r"),
        ("u\u0308\n".encode(), "ü"),
    ],
)
def test_a_passphrase_file_loses_one_line_end_only(content: bytes, expected: str, tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(content)
    assert keys.read_passphrase_file(tmp_path / "p") == expected


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n", b"\xff\xfe", b"x" * 5000])
def test_a_passphrase_file_without_a_passphrase_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        keys.read_passphrase_file(tmp_path / "p")
    assert caught.value.code == "bad-passphrase"
    with pytest.raises(ConfigError):
        keys.read_passphrase_file(tmp_path)
    with pytest.raises(FileTrouble):
        keys.read_passphrase_file(tmp_path / "missing")


# ---- opening --------------------------------------------------------------------------------------------------------


def test_a_wrong_passphrase_opens_neither(folder: Path) -> None:
    for load in (load_signing_key, load_identity):
        with pytest.raises(WrongKeyError) as caught:
            load(folder, "wrong horse battery")
        assert (caught.value.exit_code, caught.value.code) == (7, "wrong-key")


@posix_only
@pytest.mark.parametrize("bits", [0o640, 0o604, 0o660, 0o620])
def test_private_files_that_others_may_use_are_refused(bits: int, folder: Path) -> None:
    (folder / "identity.age").chmod(bits)
    (folder / "signing.age").chmod(bits)
    for act in (
        lambda: load_signing_key(folder, PASSPHRASE),
        lambda: load_identity(folder, PASSPHRASE),
        lambda: load_identity(folder / "identity.age", PASSPHRASE),
        lambda: keys.export_identity(folder),
    ):
        with pytest.raises(ConfigError) as caught:
            act()
        assert caught.value.code == "key-permissions"
        assert str(caught.value.hint).startswith("chmod 600 ")


def test_modes_are_not_looked_at_on_windows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "identity.age").chmod(0o644)
    monkeypatch.setattr(os, "name", "nt")
    assert not keys.readable_by_others(folder / "identity.age")


def test_missing_keys_are_answered_with_the_line_that_makes_them(tmp_path: Path) -> None:
    for act in (lambda: key_info(tmp_path), lambda: load_signing_key(tmp_path, PASSPHRASE)):
        with pytest.raises(ConfigError) as caught:
            act()
        assert (caught.value.exit_code, caught.value.code) == (2, "no-keys")
        assert caught.value.hint == f"lockmigrate keys init --config-dir {tmp_path}"
    with pytest.raises(WrongKeyError) as missing:
        load_identity(tmp_path, PASSPHRASE)
    assert (missing.value.exit_code, missing.value.code) == (7, "no-identity")


def test_damaged_key_files_are_refused_with_our_error(folder: Path) -> None:
    path = folder / "identity.age"
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(LockmigrateError):
            load_identity(folder, PASSPHRASE)
    for content in (b"", b"\xff", b"hello", bytes(100_000)):
        path.write_bytes(content)
        with pytest.raises(LockmigrateError):
            load_identity(folder, PASSPHRASE)


def test_a_plain_identity_file_needs_no_passphrase(tmp_path: Path) -> None:
    path = tmp_path / "key.txt"
    secret = age.generate_identity()
    path.touch(mode=0o600)
    path.write_text(f"# created: today\n{secret}\n")
    assert [each.reveal() for each in load_identity(path, None)] == [secret]


def test_a_locked_identity_file_asks_for_its_passphrase(folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_identity(folder, None)
    assert caught.value.code == "no-passphrase"


# ---- another computer -----------------------------------------------------------------------------------------------


def test_identities_are_looked_for_in_order(folder: Path, tmp_path: Path) -> None:
    beside, extra = tmp_path / "stick", tmp_path / "extra.txt"
    beside.mkdir()
    extra.touch()
    copy = keys.write_key_copy(folder, beside / "backup-X.age")
    found = find_identities(folder, beside / "backup-X.age", [extra])
    assert found == [folder / "identity.age", copy, extra]
    assert find_identities(tmp_path / "nothing", beside / "backup-X.age") == [copy]
    with pytest.raises(ConfigError):
        find_identities(folder, None, [tmp_path / "missing"])


def test_no_identity_names_the_places_that_were_looked_at(tmp_path: Path) -> None:
    with pytest.raises(WrongKeyError) as caught:
        find_identities(tmp_path / "config", tmp_path / "stick" / "x.age")
    assert (caught.value.exit_code, caught.value.code) == (7, "no-identity")
    for place in (tmp_path / "config" / "identity.age", tmp_path / "stick"):
        assert str(place) in str(caught.value)


def test_a_key_copy_beside_a_backup_opens_it_with_the_passphrase_alone(folder: Path, tmp_path: Path) -> None:
    recipient = key_info(folder).recipient
    copy = keys.write_key_copy(folder, tmp_path / "x.age")
    assert copy.name == f"key-{recipient[4:12]}.age"
    assert copy.read_bytes() == (folder / "identity.age").read_bytes()
    copy.chmod(0o755)  # as on a stick without owners
    assert str(load_identity(copy, PASSPHRASE)[0].recipient) == recipient
    assert keys.write_key_copy(folder, tmp_path / "y.age") == copy
    copy.write_bytes(b"another file")
    with pytest.raises(FileTrouble):
        keys.write_key_copy(folder, tmp_path / "x.age")


def test_an_imported_identity_gets_a_signing_key_of_its_own(folder: Path, tmp_path: Path) -> None:
    copy = keys.write_key_copy(folder, tmp_path / "x.age")
    old, new = key_info(folder), keys.import_keys(tmp_path / "second", copy, PASSPHRASE)
    assert new.recipient == old.recipient
    assert new.signer != old.signer
    assert load_signing_key(tmp_path / "second", PASSPHRASE)
    assert [each.fingerprint for each in trust.trusted(tmp_path / "second")] == [new.signer]


def test_a_whole_folder_can_be_taken_over_with_its_signing_key(folder: Path, tmp_path: Path) -> None:
    new = keys.import_keys(tmp_path / "second", folder, PASSPHRASE, signing_file=folder / "signing.age")
    assert new == key_info(folder)
    assert load_signing_key(tmp_path / "second", PASSPHRASE).private_bytes_raw() == (
        load_signing_key(folder, PASSPHRASE).private_bytes_raw()
    )


def test_an_import_that_cannot_be_opened_writes_nothing(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WrongKeyError):
        keys.import_keys(tmp_path / "second", folder, "wrong horse battery")
    plain = tmp_path / "key.txt"
    plain.touch(mode=0o600)
    plain.write_text(age.generate_identity())
    with pytest.raises(ConfigError):
        keys.import_keys(tmp_path / "second", plain, PASSPHRASE)
    assert not (tmp_path / "second").exists()
    with pytest.raises(ConfigError) as caught:
        keys.import_keys(folder, folder, PASSPHRASE)
    assert caught.value.code == "keys-exist"


# ---- what shows, and other programs ---------------------------------------------------------------------------------


def test_no_object_and_no_error_shows_a_secret(folder: Path, tmp_path: Path) -> None:
    (identity,) = load_identity(folder, PASSPHRASE)
    shown = [repr(identity), str(identity), repr(key_info(folder)), repr(load_signing_key(folder, PASSPHRASE))]
    canary = "canary horse battery"
    for act in (
        lambda: load_identity(folder, canary),
        lambda: load_signing_key(folder, canary),
        lambda: create_keys(folder, canary, generated=False, log_n=CHEAP),
        lambda: create_keys(tmp_path / "x", "canary", generated=False, log_n=CHEAP),
        lambda: keys.import_keys(tmp_path / "x", folder, canary),
    ):
        with pytest.raises(LockmigrateError) as caught:
            act()
        shown.append(repr(caught.value) + str(caught.value) + str(caught.value.hint))
    words = ("canary", PASSPHRASE, identity.reveal(), identity.raw.hex())
    assert not [word for word in words if word.lower() in "".join(shown).lower()]


@pytest.mark.peer
@needs_age
@needs_pty
@needs_ssh_keygen
def test_age_and_ssh_keygen_open_the_key_files_without_us(folder: Path, tmp_path: Path) -> None:
    plain, private = tmp_path / "plain", tmp_path / "private"
    sealed = tmp_path / "x.age"
    sealed.write_bytes(age.encrypt_bytes(b"hello", recipients=[key_info(folder).recipient]))
    type_passphrase(["age", "-d", "-i", folder / "identity.age", "-o", plain, sealed], PASSPHRASE, 1)
    assert plain.read_bytes() == b"hello"
    type_passphrase(["age", "-d", "-o", private, folder / "signing.age"], PASSPHRASE, 1)
    private.chmod(0o600)
    shown = subprocess.run(["ssh-keygen", "-y", "-f", private], capture_output=True, check=True, timeout=30, text=True)
    assert shown.stdout.strip() == key_info(folder).public_key


def test_the_word_list_is_read_without_importing_its_program() -> None:
    assert keys.generate_passphrase()
    assert "xkcdpass.xkcd_password" not in sys.modules
