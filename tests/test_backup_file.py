"""The backup file: what is sealed opens, everything else ends in its own error, and the disk holds all or nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from lockmigrate.errors import BackupError, ConfigError, FileTrouble, LockmigrateError, PolicyError, WrongKeyError
from lockmigrate.formats import age, backup, sshsig
from lockmigrate.formats.archive import padded_size, write_archive
from lockmigrate.formats.backup import DateCheck, OpenedBackup, open_backup, seal, write_backup
from lockmigrate.formats.manifest import read_manifest, strict_json, write_time

IDENTITY = age.X25519Identity(bytes(range(32)))
SECRET = IDENTITY.reveal()
RECIPIENT = str(IDENTITY.recipient)
OTHER = age.X25519Identity(bytes(range(1, 33)))
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
SIGNER = sshsig.fingerprint(PUBLIC)
META: dict[str, Any] = {
    "backup_id": "572fa6d8f6555d35dc2923831ab967ed",
    "created_at": "2026-11-23T17:13:05Z",
    "tool": {"name": "lockmigrate", "version": "0.1.0", "cryptography": "50.0.2"},
    "operator": {"name": "a technician"},
    "device": {"vendor": "v", "model": "canary-model", "serial": None, "clock": {"skew_s": -14}},
    "profile": {"id": "r503/1", "sha256": "0" * 64},
    "counts": {"users": 2, "fingerprints": 2},
    "tables": [
        {
            "table": "index",
            "entry": "raw/0002-index.bin",
            "reads": [
                {
                    "at": "2026-11-23T17:12:40Z",
                    "size": 32,
                    "sha256": "630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd",
                }
            ],
            "device_check": {"kind": "sum16", "value": None},
        }
    ],
    "retention": {"expires_at": None, "contains": ["fingerprint-template"]},
    "previous": None,
    "a_field_of_the_future": {"x": [1, 2]},
}
ENTRIES = {
    "records/users.jsonl": b'{"pin":"canary 4711"}\n',
    "raw/0002-index.bin": bytes(range(32)),
    "blobs/ab.bin": b"",
}
SEALED, FILE_KEY = seal(META, ENTRIES, recipients=[RECIPIENT], signing_key=KEY)

needs_age = pytest.mark.skipif(which("age") is None, reason="the program `age` is not installed")
needs_tar = pytest.mark.skipif(which("tar") is None, reason="the program `tar` is not installed")
needs_ssh_keygen = pytest.mark.skipif(which("ssh-keygen") is None, reason="the program `ssh-keygen` is not installed")


def opened(data: bytes, **options: Any) -> OpenedBackup:
    return open_backup(data, identities=[SECRET], **options)


def refused(data: bytes, code: str, exit_code: int = 6, **options: Any) -> LockmigrateError:
    with pytest.raises((BackupError, PolicyError)) as caught:
        opened(data, **options)
    assert (caught.value.exit_code, caught.value.code) == (exit_code, code)
    return caught.value


def around(plain: bytes) -> bytes:
    return age.encrypt_bytes(plain, recipients=[RECIPIENT])


def listed(entries: list[tuple[str, bytes]]) -> list[dict[str, Any]]:
    return [{"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in entries]


def manifest(**fields: Any) -> bytes:
    """A good manifest, with fields of one's own."""
    base = {
        "schema": "lockmigrate.backup/1",
        "critical": [],
        "backup_id": "0" * 32,
        "created_at": "2026-11-23T17:13:05Z",
        "operator": {"key": SIGNER},
        "entries": [],
    }
    return json.dumps(base | fields).encode()


def signed(raw: bytes, *entries: tuple[str, bytes], signature: bytes | None = None) -> bytes:
    """A sealed file around any manifest bytes, validly signed unless told otherwise."""
    mark = sshsig.sign(raw, KEY) if signature is None else signature
    return around(write_archive([("manifest.json", raw), ("manifest.json.sig", mark), *entries]))


# ---- round trips ----------------------------------------------------------------------------------------------------


def test_a_sealed_backup_opens_with_everything_in_it() -> None:
    found = opened(SEALED)
    assert found.entries == ENTRIES
    assert list(found.entries) == sorted(ENTRIES)
    assert {name: found.manifest[name] for name in META if name != "operator"} == {
        name: value for name, value in META.items() if name != "operator"
    }
    assert found.manifest["operator"] == {"name": "a technician", "key": SIGNER}
    assert found.manifest["recipients"] == [hashlib.sha256(RECIPIENT.encode()).hexdigest()]
    assert found.manifest["schema"] == "lockmigrate.backup/1"
    assert (found.signer, found.signer_public_key) == (SIGNER, PUBLIC)
    assert (found.backup_id, found.created_at) == (META["backup_id"], datetime(2026, 11, 23, 17, 13, 5, tzinfo=UTC))
    assert re.fullmatch("[0-9a-f]{64}", found.manifest_sha256)


names = st.from_regex(r"(records|raw|blobs|evidence)/[a-z0-9][a-z0-9_-]{0,20}(\.[a-z0-9]{1,8})?", fullmatch=True)


@given(st.dictionaries(names, st.binary(max_size=600), max_size=5))
def test_any_entries_survive_sealing(entries: dict[str, bytes]) -> None:
    sealed, _ = seal({}, entries, recipients=[RECIPIENT, str(OTHER.recipient)], signing_key=KEY)
    for secret in (SECRET, OTHER.reveal()):
        assert open_backup(sealed, identities=[secret]).entries == entries


def test_a_passphrase_backup_opens_however_its_letters_are_composed() -> None:
    sealed, _ = seal({}, ENTRIES, recipients=[], passphrase="Schlu\u0308ssel", signing_key=KEY, log_n=2)
    assert open_backup(sealed, passphrase="Schl\u00fcssel").entries == ENTRIES
    assert open_backup(sealed, passphrase="Schl\u00fcssel").manifest["recipients"] == []
    with pytest.raises(WrongKeyError):
        open_backup(sealed, passphrase="Schlussel")


def test_a_thousand_templates_fit() -> None:
    entries = {f"raw/{number:04}-template.bin": bytes([number % 256]) * 1536 for number in range(1000)}
    sealed, key = seal({}, entries, recipients=[RECIPIENT], signing_key=KEY)
    assert open_backup(sealed, identities=[key]).entries == entries


def test_missing_marks_are_made_up_and_differ_each_time() -> None:
    ids = {opened(seal({}, {}, recipients=[RECIPIENT], signing_key=KEY)[0]).backup_id for _ in range(3)}
    assert len(ids) == 3


def test_the_file_key_opens_only_the_file_just_made() -> None:
    assert open_backup(SEALED, identities=[FILE_KEY]).entries == ENTRIES
    again, _ = seal(META, ENTRIES, recipients=[RECIPIENT], signing_key=KEY)
    with pytest.raises(BackupError):
        open_backup(again, identities=[FILE_KEY])


# ---- what sealing refuses -------------------------------------------------------------------------------------------

BAD_NAMES = [
    "../x",
    "/x",
    "raw/../../x",
    "raw\\x",
    "RAW/x",
    "raw/X",
    "raw/x/y",
    "raw/.x",
    "raw/x.",
    "raw/",
    "x",
    "raw/" + "x" * 81,
    "raw/x" + "y" * 97,
    "raw/a\0b",
    "raw/ä",
    "raw/x\n",
    "other/x",
    "manifest.json",
    "manifest.json.sig",
]
STORABLE = [name for name in BAD_NAMES if re.fullmatch(r"[!-~]{1,99}[!-.0-~]|x", name) and "manifest" not in name]
"""Those that a tar archive can hold, so that a forger can sign them."""


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_bad_entry_name_is_not_sealed(name: str) -> None:
    with pytest.raises(BackupError) as caught:
        seal({}, {name: b""}, recipients=[RECIPIENT], signing_key=KEY)
    assert caught.value.code == "malformed"


@pytest.mark.parametrize(
    "meta",
    [
        {"x": 1.5},
        {"x": float("nan")},
        {"x": 2**53},
        {"x": "y" * 4097},
        {"x": "\ud800"},
        {"x": b"bytes"},
        {"counts": {"users": "two"}},
        {"backup_id": "x"},
        {"created_at": "yesterday"},
        {"critical": ["nothing_we_know"]},
        {"retention": {"expires_at": "2026-02-31T00:00:00Z"}},
    ],
)
def test_a_manifest_that_could_not_be_read_is_not_sealed(meta: dict[str, Any]) -> None:
    with pytest.raises(BackupError):
        seal(meta, {}, recipients=[RECIPIENT], signing_key=KEY)


def test_sealing_for_nobody_or_for_both_kinds_is_refused() -> None:
    wishes: list[dict[str, Any]] = [{"recipients": []}, {"recipients": [RECIPIENT], "passphrase": "x", "log_n": 2}]
    for options in wishes:
        with pytest.raises(ConfigError):
            seal({}, {}, signing_key=KEY, **options)


# ---- damage and forgery ---------------------------------------------------------------------------------------------


def test_flipped_bits_and_cuts_are_refused() -> None:
    """Every byte of the header and every 199th behind it; the sweep takes all."""
    places = [*range(260), *range(260, len(SEALED), 199), len(SEALED) - 1]
    for at in places:
        flipped = bytearray(SEALED)
        flipped[at] ^= 1 << at % 8
        with pytest.raises(BackupError) as caught:
            opened(bytes(flipped))
        assert caught.value.exit_code in {6, 7}
        with pytest.raises(BackupError) as caught:
            opened(SEALED[:at])
        assert caught.value.exit_code in {6, 7}
    refused(SEALED + b"\0", "corrupt")


@pytest.mark.sweep
def test_a_flipped_bit_in_any_byte_and_every_cut_is_refused() -> None:
    for at in range(len(SEALED)):
        flipped = bytearray(SEALED)
        flipped[at] ^= 1 << at % 8
        for data in (bytes(flipped), SEALED[:at]):
            with pytest.raises(BackupError):
                opened(data)


def plaintext() -> bytes:
    return age.decrypt_bytes(SEALED, identities=[SECRET])


def plain_damage_is_refused(plain: bytes, bits: range) -> None:
    for at in bits:
        flipped = bytearray(plain)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises((BackupError, PolicyError)):
            opened(around(bytes(flipped)))


def test_a_changed_payload_encrypted_again_is_refused() -> None:
    plain = plaintext()
    used = 8 * (len(plain.rstrip(b"\0")) + 1024)
    plain_damage_is_refused(plain, range(0, used, 37))


@pytest.mark.sweep
def test_every_changed_bit_of_the_payload_encrypted_again_is_refused() -> None:
    plain = plaintext()
    plain_damage_is_refused(plain, range(8 * (len(plain.rstrip(b"\0")) + 1024)))


@pytest.mark.parametrize("plain", [b"", b"random bytes" * 100, bytes(65_536)], ids=["empty", "random", "zeros"])
def test_a_payload_that_is_not_ours_is_malformed(plain: bytes) -> None:
    refused(around(plain), "malformed")


def test_entries_in_another_place_are_malformed() -> None:
    raw = manifest()
    mark = ("manifest.json.sig", sshsig.sign(raw, KEY))
    head = ("manifest.json", raw)
    for entries in ([mark, head], [("raw/x", b""), head, mark], [head, ("raw/x", b""), mark], [mark]):
        refused(around(write_archive(entries)), "malformed")
    refused(around(write_archive([head, mark, mark])), "malformed")
    refused(around(write_archive([head, head, mark])), "malformed")


def test_a_backup_without_signature_is_refused_by_policy() -> None:
    refused(around(write_archive([("manifest.json", manifest())])), "unsigned", 10)


def test_a_wrong_signature_is_a_bad_signature() -> None:
    raw = manifest()
    for signature in (
        b"",
        sshsig.sign(raw + b" ", KEY),
        sshsig.sign(raw, KEY, namespace="git"),
        sshsig.sign(raw, KEY).replace(b"\n", b"\r\n"),
    ):
        refused(signed(raw, signature=signature), "bad-signature")


@pytest.mark.parametrize(
    "entries",
    [
        [("raw/a", b"1"), ("raw/b", b"2")][::-1],
        [("raw/a", b"1"), ("raw/a", b"1")],
        *[[(name, b"")] for name in STORABLE],
    ],
)
def test_badly_named_or_ordered_entries_are_malformed_even_when_signed(entries: list[tuple[str, bytes]]) -> None:
    assert len(STORABLE) >= 12
    refused(signed(manifest(entries=listed(entries)), *entries), "malformed")


def test_entries_other_than_the_listed_ones_are_malformed() -> None:
    one, two = ("raw/a", b"1"), ("raw/b", b"2")
    for wanted, given_ in (([one], []), ([], [one]), ([one], [two]), ([one], [("raw/a", b"2")]), ([one, two], [one])):
        refused(signed(manifest(entries=listed(wanted)), *given_), "malformed")
    for change in ({"size": 2}, {"sha256": "0" * 64}, {"sha256": listed([one])[0]["sha256"].upper()}, {"size": True}):
        refused(signed(manifest(entries=[listed([one])[0] | change]), one), "malformed")


# ---- the manifest ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"1",
        b"{",
        b"\xef\xbb\xbf" + manifest(),
        b"\xff" + manifest(),
        manifest().replace(b"{", b'{"schema": "lockmigrate.backup/1", ', 1),
        manifest(x=1.5),
        manifest(x=float("nan")),
        manifest(x=2**53),
        manifest(x="y" * 4097),
        manifest().replace(b"{", b'{"x": ' + b"1" * 5000 + b", ", 1),
        manifest().replace(b"{", b'{"x": "\\ud800", ', 1),
        manifest().replace(b"{", b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b", ", 1),
        manifest().replace(b"{", b'{"x": ' + b"[" * 16 + b"]" * 16 + b", ", 1),
        manifest(schema=1),
        manifest(critical=None),
        manifest(critical=[1]),
        manifest(critical={}),
        manifest(backup_id="x"),
        manifest(backup_id=None),
        manifest(created_at="2026-11-23 17:13:05"),
        manifest(created_at="2026-13-23T17:13:05Z"),
        manifest(created_at="2026-11-23T17:13:05Z\n"),
        manifest(operator=None),
        manifest(operator={}),
        manifest(operator={"key": "SHA256:" + "A" * 43}),
        manifest(entries={}),
        manifest(entries=[{"name": "raw/x"}]),
        manifest(entries=[1]),
        manifest(counts=[]),
        manifest(tables=[{"rows": "x"}]),
        manifest(device={"serial": 5}),
        manifest(previous="x"),
        manifest() + b" " * (4 << 20),
    ],
)
def test_a_malformed_manifest_is_refused_even_when_signed(raw: bytes) -> None:
    refused(signed(raw), "malformed")


@pytest.mark.parametrize("name", ["schema", "critical", "backup_id", "created_at", "operator", "entries"])
def test_a_manifest_without_a_needed_field_is_malformed(name: str) -> None:
    fields = json.loads(manifest())
    del fields[name]
    refused(signed(json.dumps(fields).encode()), "malformed")


def test_another_schema_or_a_critical_field_we_do_not_know_is_unsupported() -> None:
    refused(signed(manifest(schema="lockmigrate.backup/2")), "unsupported")
    refused(signed(manifest(critical=["second_signature"])), "unsupported")
    assert opened(signed(manifest(critical=["entries"], unknown=1))).manifest["unknown"] == 1


@given(st.binary(max_size=100) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_strict_json_or_our_error(raw: bytes) -> None:
    try:
        strict_json(raw)
    except BackupError as error:
        if error.code != "malformed":
            raise


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(json.loads(manifest()) | META)), json_values)
def test_a_field_of_any_type_is_read_or_refused_with_our_error(name: str, value: Any) -> None:
    try:
        read_manifest(manifest(**{name: value}))
    except BackupError as error:
        if error.code not in {"malformed", "unsupported"}:
            raise


# ---- the order of the checks ----------------------------------------------------------------------------------------


def untrusting(_: str, __: bytes) -> DateCheck | None:
    raise PolicyError("not trusted", code="untrusted")


def test_the_signer_is_asked_before_any_json_is_parsed() -> None:
    refused(signed(b"this is not JSON"), "untrusted", 10, check_signer=untrusting)
    refused(signed(manifest(), signature=b""), "bad-signature", check_signer=untrusting)


def test_the_signer_s_dates_are_compared_with_the_manifest_s() -> None:
    asked: list[Any] = []

    def check(fingerprint: str, public_key: bytes) -> DateCheck:
        asked.append((fingerprint, public_key))

        def check_date(created_at: datetime) -> None:
            asked.append(write_time(created_at))
            raise PolicyError("too early", code="untrusted")

        return check_date

    refused(SEALED, "untrusted", 10, check_signer=check)
    assert asked == [(SIGNER, PUBLIC), META["created_at"]]
    refused(signed(manifest(schema="other")), "unsupported", check_signer=check)


def test_an_oversized_file_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "MAX_FILE_BYTES", 1000)
    refused(SEALED, "too-large")


def test_a_wrong_identity_is_a_wrong_key() -> None:
    attempts: list[dict[str, Any]] = [{"identities": [OTHER]}, {"passphrase": "x"}, {}]
    for keys in attempts:
        with pytest.raises(WrongKeyError) as caught:
            open_backup(SEALED, **keys)
        assert (caught.value.exit_code, caught.value.code) == (7, "wrong-key")


# ---- what shows -----------------------------------------------------------------------------------------------------


def test_the_file_and_its_name_tell_nothing() -> None:
    for word in (b"canary", b"lockmigrate", b"manifest", b"2026", SIGNER.encode(), RECIPIENT.encode()):
        assert word not in SEALED
    assert len(plaintext()) == padded_size(1) == 65_536
    assert backup.default_name(META["backup_id"]) == "backup-K4X2NWHWKVOTLXBJEOBRVOLH5U.age"
    raw = base64.b32decode("K4X2NWHWKVOTLXBJEOBRVOLH5U======")
    assert raw.hex() == META["backup_id"]
    for wrong in ("", "x" * 32, "00" * 15):
        with pytest.raises(BackupError):
            backup.default_name(wrong)


def test_no_object_and_no_error_shows_a_secret() -> None:
    shown = [repr(opened(SEALED)) + str(opened(SEALED)), repr(FILE_KEY)]
    plain = plaintext()
    for data in (SEALED[:-1], around(plain[:-512]), around(plain.replace(b"canary 4711", b"canary 4712"))):
        with pytest.raises(BackupError) as caught:
            opened(data)
        shown.append(repr(caught.value) + str(caught.value) + str(caught.value.hint))
    with pytest.raises(WrongKeyError) as wrong:
        open_backup(SEALED, passphrase="canary passphrase")
    shown.append(repr(wrong.value) + str(wrong.value.hint))
    assert not [word for word in ("canary", "4711", SECRET, FILE_KEY.raw.hex()) if word in "".join(shown)]


# ---- on disk --------------------------------------------------------------------------------------------------------


def test_a_backup_is_written_whole_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "x.age"
    assert write_backup(path, SEALED, FILE_KEY).entries == ENTRIES
    assert backup.read_backup(path) == SEALED
    assert os.listdir(tmp_path) == ["x.age"]  # noqa: PTH208 - hidden files count
    if sys.platform != "win32":
        assert path.stat().st_mode & 0o777 == 0o600


def test_an_existing_file_is_replaced_only_by_force(tmp_path: Path) -> None:
    path = tmp_path / "x.age"
    path.write_bytes(b"precious")
    with pytest.raises(FileTrouble) as caught:
        write_backup(path, SEALED, FILE_KEY)
    assert caught.value.code == "file-exists"
    assert path.read_bytes() == b"precious"
    write_backup(path, SEALED, FILE_KEY, force=True)
    assert path.read_bytes() == SEALED


def no_links(*_: Any) -> None:
    raise OSError(1, "Operation not permitted")


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile_is_not_replaced(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.age"
    real = open_backup

    def slow(*args: Any, **options: Any) -> OpenedBackup:
        path.write_bytes(b"precious")
        return real(*args, **options)

    monkeypatch.setattr(backup, "open_backup", slow)
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(FileTrouble) as caught:
        write_backup(path, SEALED, FILE_KEY)
    assert caught.value.code == "file-exists"
    assert path.read_bytes() == b"precious"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_system_without_links_works_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", no_links)
    write_backup(tmp_path / "x.age", SEALED, FILE_KEY)
    assert [each.name for each in tmp_path.iterdir()] == ["x.age"]


@pytest.mark.parametrize(
    ("number", "text", "hint"),
    [(28, "No space left on device", "full"), (13, "Permission denied", "permission"), (30, "Read-only", "read-only")],
)
@pytest.mark.parametrize("call", ["open", "fsync"])
def test_trouble_with_the_disk_leaves_nothing_behind(
    call: str, number: int, text: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> int:
        raise OSError(number, text)

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(FileTrouble) as caught:
        write_backup(tmp_path / "x.age", SEALED, FILE_KEY)
    monkeypatch.undo()
    assert caught.value.exit_code == 2
    assert text.lower() in str(caught.value)
    assert hint in str(caught.value.hint)
    assert not list(tmp_path.iterdir())


def test_an_interruption_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_backup(tmp_path / "x.age", SEALED, FILE_KEY)
    assert not list(tmp_path.iterdir())


def test_a_disk_that_gives_back_something_else_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = backup.read_backup

    def rotten(path: Path) -> bytes:
        data = bytearray(real(path))
        data[-1] ^= 1
        return bytes(data)

    monkeypatch.setattr(backup, "read_backup", rotten)
    with pytest.raises(FileTrouble) as caught:
        write_backup(tmp_path / "x.age", SEALED, FILE_KEY)
    assert caught.value.code == "write-check"
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileTrouble, match="no such file") as caught:
        write_backup(tmp_path / "no" / "x.age", SEALED, FILE_KEY)
    assert caught.value.hint is not None


def test_what_is_no_regular_file_is_no_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = [tmp_path]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        places.append(tmp_path / "pipe")
    for place in places:
        with pytest.raises(BackupError) as caught:
            backup.read_backup(place)
        assert caught.value.code == "not-a-backup"
    with pytest.raises(FileTrouble):
        backup.read_backup(tmp_path / "missing")
    monkeypatch.setattr(backup, "MAX_FILE_BYTES", 1000)
    (tmp_path / "big").write_bytes(SEALED)
    with pytest.raises(BackupError) as caught:
        backup.read_backup(tmp_path / "big")
    assert caught.value.code == "too-large"


# ---- in an emergency, without us ------------------------------------------------------------------------------------


@pytest.mark.peer
@needs_age
@needs_tar
@needs_ssh_keygen
def test_a_backup_opens_and_verifies_with_age_tar_and_ssh_keygen_alone(tmp_path: Path) -> None:
    key, allowed, out = tmp_path / "key.txt", tmp_path / "allowed_signers", tmp_path / "out"
    key.write_text(SECRET + "\n")
    allowed.write_text(f'tech@example namespaces="{sshsig.BACKUP_NAMESPACE}" {sshsig.public_key_line(PUBLIC)}\n')
    out.mkdir()
    (tmp_path / "x.age").write_bytes(SEALED)
    plain = subprocess.run(["age", "-d", "-i", key, tmp_path / "x.age"], capture_output=True, check=True, timeout=30)
    subprocess.run(["tar", "-x", "-C", out], input=plain.stdout, check=True, timeout=30)
    command: list[str | Path] = ["ssh-keygen", "-Y", "verify", "-f", allowed, "-I", "tech@example"]
    subprocess.run(
        [*command, "-n", sshsig.BACKUP_NAMESPACE, "-s", out / "manifest.json.sig"],
        input=(out / "manifest.json").read_bytes(),
        capture_output=True,
        check=True,
        timeout=30,
    )
    for entry in json.loads((out / "manifest.json").read_bytes())["entries"]:
        assert hashlib.sha256((out / entry["name"]).read_bytes()).hexdigest() == entry["sha256"]


def test_the_sealed_file_is_the_padded_plaintext_with_header_nonce_and_tag_only() -> None:
    header = SEALED.index(b"\n", SEALED.index(b"---")) + 1
    assert len(SEALED) == header + 16 + len(plaintext()) + 16
