"""Hostile and damaged files, line by line: each ends in its named error, quickly, in little memory, nothing released.

How it is measured: keys are unlocked (an X25519 identity, no scrypt). Time is this process's own processor time of one
call, under 1 s. Memory is tracemalloc's peak during a second call, which counts everything that Python and its
libraries take through Python's allocators; the file itself was made before and is not counted, so the peak is what
comes on top of it, under 64 MiB. Of a file that decrypts, the plaintext is counted too. One test measures a process
from outside, by its peak resident size, so that memory taken by C libraries shows as well. That nothing is released
follows from the call: it returns everything or raises.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lockmigrate.errors import BackupError, LockmigrateError, PolicyError
from lockmigrate.formats import age, sshsig
from lockmigrate.formats.age_header import INTRO, Stanza, b64_encode
from lockmigrate.formats.archive import entry_header, padded_size, write_archive
from lockmigrate.formats.backup import open_backup, read_backup, seal
from lockmigrate.vault.trust import add_signer, check_signer, revoke_signer

IDENTITY: Final = age.X25519Identity(bytes(range(32)))
PARSED: Final = IDENTITY.recipient
RECIPIENT: Final = str(PARSED)
KEY: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC: Final = KEY.public_key().public_bytes_raw()
SIGNER: Final = sshsig.fingerprint(PUBLIC)
MAX_SECONDS: Final = 1.0
MAX_MEMORY_BYTES: Final = 64 * 1024 * 1024
HUGE: Final = 100_000_000

Row = tuple[str, Callable[[], bytes]]
"""A name, and what makes the file."""


def sealed_small() -> bytes:
    entries = {"raw/0001-sysparams.bin": bytes(range(16)), "records/metadata.jsonl": b'{"format":"x"}\n'}
    meta = {"backup_id": "0" * 32, "created_at": "2026-11-23T17:13:05Z"}
    return seal(meta, entries, recipients=[RECIPIENT], signing_key=KEY)[0]


def around(plain: bytes) -> bytes:
    return age.encrypt_bytes(plain, recipients=[PARSED])


def header_with(*stanzas: bytes) -> bytes:
    return INTRO + b"".join(stanzas) + b"--- " + b"A" * 43 + b"\n" + bytes(32)


def stanza(kind: str, *args: bytes, body: bytes = bytes(32)) -> bytes:
    return Stanza((kind.encode(), *args), body).marshal()


def scrypt(factor: bytes) -> bytes:
    return stanza("scrypt", b64_encode(bytes(16)), factor)


def listed(entries: list[tuple[str, bytes]]) -> list[dict[str, Any]]:
    return [{"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in entries]


def manifest(**fields: Any) -> bytes:
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
    """Any manifest and entries, validly signed by us unless told otherwise."""
    mark = sshsig.sign(raw, KEY) if signature is None else signature
    return around(write_archive([("manifest.json", raw), ("manifest.json.sig", mark), *entries]))


def blocks(name: str, data: bytes) -> bytes:
    return entry_header(name, len(data)) + data + bytes(-len(data) % 512)


def padded(content: bytes) -> bytes:
    size = len(content) + 1024
    return content + bytes(padded_size(size) - len(content))


def with_raw_entry(entry: bytes, name: str = "raw/x", data: bytes = b"") -> bytes:
    """A validly signed manifest that lists `name`, followed by tar blocks of one's own."""
    raw = manifest(entries=listed([(name, data)]))
    head = blocks("manifest.json", raw) + blocks("manifest.json.sig", sshsig.sign(raw, KEY))
    return around(padded(head + entry))


def forged(
    name: bytes, *, size: bytes = b"00000000000\0", kind: bytes = b"0", link: bytes = b"", prefix: bytes = b""
) -> bytes:
    """A tar header with a right checksum around any fields."""
    header = bytearray(entry_header("x", 0))
    header[0:100] = name[:100].ljust(100, b"\0")
    header[124:136] = size
    header[156:157] = kind
    header[157:257] = link.ljust(100, b"\0")
    header[345:500] = prefix.ljust(155, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


# ---- measuring ------------------------------------------------------------------------------------------------------


def refuse(act: Callable[[], object], code: str, exit_code: int) -> LockmigrateError:
    """Call twice: once on the clock, once with memory counted."""
    started = time.process_time()
    with pytest.raises((BackupError, PolicyError)) as caught:
        act()
    assert time.process_time() - started < MAX_SECONDS
    assert (caught.value.code, caught.value.exit_code) == (code, exit_code)
    tracemalloc.start()
    try:
        with pytest.raises((BackupError, PolicyError)):
            act()
        assert tracemalloc.get_traced_memory()[1] < MAX_MEMORY_BYTES
    finally:
        tracemalloc.stop()
    return caught.value


def refused(data: bytes, code: str, exit_code: int = 6, **options: Any) -> None:
    refuse(partial(open_backup, data, identities=[IDENTITY], **options), code, exit_code)


def rows(*found: Row) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("make", [make for _, make in found], ids=[name for name, _ in found])


# ---- the age file ---------------------------------------------------------------------------------------------------


@rows(
    ("100 MB first line", lambda: b"a" * HUGE),
    ("100 MB stanza line", lambda: INTRO + b"-> X25519 " + b"a" * HUGE),
    ("100 MB stanza body", lambda: INTRO + b"-> x\n" + b"A" * HUGE),
    ("100 MB of body lines", lambda: INTRO + b"-> x\n" + (b"A" * 64 + b"\n") * (HUGE // 65)),
    ("100 MB of blank space", lambda: b" " * HUGE),
    ("100 MB armor line", lambda: b"-----BEGIN AGE ENCRYPTED FILE-----\n" + b"A" * HUGE),
    ("a million stanzas", lambda: INTRO + b"-> x\n\n" * 1_000_000),
    ("version v2", lambda: sealed_small().replace(b"/v1", b"/v2", 1)),
    ("CRLF header", lambda: sealed_small().replace(b"\n", b"\r\n", 3)),
    ("PGP", lambda: b"-----BEGIN PGP MESSAGE-----\n\nhQEMA\n-----END PGP MESSAGE-----\n"),
    ("zip", lambda: b"PK\x03\x04" + bytes(1000)),
    ("empty file", lambda: b""),
    ("scrypt beside X25519", lambda: header_with(scrypt(b"10"), stanza("X25519", b64_encode(b"\x09" * 32)))),
    ("scrypt twice", lambda: header_with(scrypt(b"10"), scrypt(b"10"))),
    ("low-order X25519 share", lambda: header_with(stanza("X25519", b64_encode(bytes(32))))),
)
def test_what_is_not_an_age_file_of_ours_is_no_backup(make: Callable[[], bytes]) -> None:
    refused(make(), "not-a-backup")


@pytest.mark.parametrize("factor", [b"21", b"63", b"999999999999", b"0", b"018", b"+18", b"0x12"])
def test_a_work_factor_we_do_not_take_is_refused_without_hashing(factor: bytes) -> None:
    data = header_with(scrypt(factor))
    refuse(partial(open_backup, data, passphrase="x"), "not-a-backup", 6)


def test_a_low_order_share_in_the_hybrid_stanza_is_no_backup() -> None:
    try:
        identity = age.HybridIdentity(bytes(range(32)))
        args = identity.recipient.wrap(bytes(16)).args
    except LockmigrateError:
        pytest.skip("the OpenSSL that cryptography brings here has no ML-KEM-768")
    enc = base64.b64decode(args[1] + b"=" * (-len(args[1]) % 4))[:1088] + bytes(32)
    data = header_with(stanza("mlkem768x25519", b64_encode(enc)))
    refuse(partial(open_backup, data, identities=[identity]), "not-a-backup", 6)


def test_thirty_two_foreign_stanzas_are_a_wrong_key() -> None:
    foreign = [stanza("X25519", b64_encode(bytes([9 + number] * 32))) for number in range(16)]
    refused(header_with(*foreign, *[stanza("other")] * 16), "wrong-key", 7)


def test_a_folder_and_a_pipe_are_no_backup(tmp_path: Path) -> None:
    refuse(partial(read_backup, tmp_path), "not-a-backup", 6)
    if not hasattr(os, "mkfifo"):
        return
    os.mkfifo(tmp_path / "pipe")
    refuse(partial(read_backup, tmp_path / "pipe"), "not-a-backup", 6)


@rows(("a byte", lambda: b"\0"), ("a second backup", sealed_small), ("a block", lambda: bytes(65_552)))
def test_whatever_is_appended_is_corrupt(make: Callable[[], bytes]) -> None:
    refused(sealed_small() + make(), "corrupt")


# ---- right key, plaintext not ours ----------------------------------------------------------------------------------


def tar(kind: bytes, *, form: int = tarfile.USTAR_FORMAT, name: str = "raw/x", link: str = "") -> bytes:
    """What another tar program could have made, padded as ours is."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        archive.addfile(info)
    return around(padded(out.getvalue().rstrip(b"\0") + bytes(-len(out.getvalue().rstrip(b"\0")) % 512)))


@rows(
    ("empty", lambda: around(b"")),
    ("random", lambda: around(os.urandom(65_536))),
    ("zeros", lambda: around(bytes(65_536))),
    ("16 MiB of zeros", lambda: around(bytes(16 << 20))),
    ("plain tar", lambda: tar(tarfile.REGTYPE)),
    ("GNU long name", lambda: tar(tarfile.REGTYPE, form=tarfile.GNU_FORMAT, name="raw/" + "x" * 120)),
    ("pax", lambda: tar(tarfile.REGTYPE, form=tarfile.PAX_FORMAT, name="raw/" + "ä" * 60)),
    ("symbolic link", lambda: tar(tarfile.SYMTYPE, link="/etc/passwd")),
    ("hard link", lambda: tar(tarfile.LNKTYPE, link="manifest.json")),
    ("device", lambda: tar(tarfile.CHRTYPE)),
    ("folder", lambda: tar(tarfile.DIRTYPE)),
    ("pipe", lambda: tar(tarfile.FIFOTYPE)),
    ("signed, then a link", lambda: with_raw_entry(forged(b"raw/x", kind=b"2", link=b"/etc/passwd"))),
    ("signed, then a sparse file", lambda: with_raw_entry(forged(b"raw/x", kind=b"S"))),
    ("signed, then a device", lambda: with_raw_entry(forged(b"raw/x", kind=b"3"))),
    ("signed, then a folder", lambda: with_raw_entry(forged(b"raw/x", kind=b"5"))),
    ("signed, then a pax header", lambda: with_raw_entry(forged(b"raw/x", kind=b"x"))),
    ("signed, then an old tar's regular file", lambda: with_raw_entry(forged(b"raw/x", kind=b"\0"))),
)
def test_a_plaintext_that_is_not_our_archive_is_malformed(make: Callable[[], bytes]) -> None:
    refused(make(), "malformed")


ONE, TWO = ("raw/a", b"1"), ("raw/b", b"2")
RAW = manifest(entries=listed([ONE, TWO]))
HEAD, MARK = ("manifest.json", RAW), ("manifest.json.sig", sshsig.sign(RAW, KEY))


@rows(
    ("entry twice", lambda: around(write_archive([HEAD, MARK, ONE, ONE, TWO]))),
    ("entries in another order", lambda: around(write_archive([HEAD, MARK, TWO, ONE]))),
    ("entry missing", lambda: around(write_archive([HEAD, MARK, ONE]))),
    ("entry too many", lambda: around(write_archive([HEAD, MARK, ONE, TWO, ("raw/c", b"")]))),
    ("manifest twice", lambda: around(write_archive([HEAD, HEAD, MARK, ONE, TWO]))),
    ("signature twice", lambda: around(write_archive([HEAD, MARK, MARK, ONE, TWO]))),
    ("manifest not first", lambda: around(write_archive([ONE, HEAD, MARK, TWO]))),
    ("signature first", lambda: around(write_archive([MARK, HEAD, ONE, TWO]))),
    ("signature last", lambda: around(write_archive([HEAD, ONE, TWO, MARK]))),
    ("padding not zero", lambda: around(write_archive([HEAD, MARK, ONE, TWO])[:-1] + b"\1")),
    ("padding of a block not zero", lambda: with_raw_entry(entry_header("raw/x", 1) + b"1" + b"x" * 511, data=b"1")),
    ("less padding", lambda: around(write_archive([HEAD, MARK, ONE, TWO])[:-512])),
    ("more padding", lambda: around(write_archive([HEAD, MARK, ONE, TWO]) + bytes(65_536))),
    ("17,000 entries", lambda: around(padded(b"".join(blocks(f"raw/{n:05}", b"") for n in range(17_000))))),
)
def test_an_archive_otherwise_than_it_must_be_is_malformed(make: Callable[[], bytes]) -> None:
    refused(make(), "malformed")


@pytest.mark.parametrize(
    "name",
    [
        b"../x",
        b"/x",
        b"raw/../../x",
        b"raw\\x",
        b"RAW/x",
        b"raw/X",
        b"raw/x/y",
        b"raw/.x",
        b"raw/x.",
        b"raw/",
        b"raw",
        b"",
        b"raw/" + b"x" * 96,
        b"raw/a\0b",
        "raw/ä".encode(),
        b"raw/\xff",
        b"raw/x\n",
        b"raw/a b",
        b"c:x",
        b"raw/con.",
        b"other/x",
    ],
)
def test_a_hostile_name_is_malformed_also_when_validly_signed(name: bytes) -> None:
    refused(with_raw_entry(forged(name), name.decode("utf-8", "replace")), "malformed")


def test_a_name_of_101_characters_in_two_fields_is_malformed() -> None:
    refused(with_raw_entry(forged(b"x" * 96, prefix=b"raw"), "raw/" + "x" * 96), "malformed")
    refused(with_raw_entry(forged(b"x" * 97, prefix=b"raw"), "raw/" + "x" * 97), "malformed")


@pytest.mark.parametrize(
    "size",
    [
        b"77777777777\0",
        b"00000200000\0",
        b"\x80" + bytes(10) + b"\1",
        b"\xff" * 12,
        b"          1\0",
        b"1          \0",
        b"-0000000001\0",
        b"0o000000001\0",
        b"0_000000001\0",
        b"00000000001 ",
        bytes(12),
    ],
)
def test_a_size_field_that_lies_or_is_oddly_written_is_malformed(size: bytes) -> None:
    refused(with_raw_entry(forged(b"raw/x", size=size) + b"1" + bytes(511), data=b"1"), "malformed")


# ---- signatures -----------------------------------------------------------------------------------------------------


def string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def armored(blob: bytes) -> bytes:
    text = base64.b64encode(blob)
    lines = b"".join(text[at : at + 70] + b"\n" for at in range(0, len(text), 70))
    return b"-----BEGIN SSH SIGNATURE-----\n" + lines + b"-----END SSH SIGNATURE-----\n"


def ed25519(message: bytes) -> tuple[bytes, bytes]:
    return string(b"ssh-ed25519") + string(PUBLIC), string(b"ssh-ed25519") + string(KEY.sign(message))


def rsa_2048(message: bytes) -> tuple[bytes, bytes]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    signature = key.sign(message, padding.PKCS1v15(), hashes.SHA512())
    return base64.b64decode(public.split()[1]), string(b"rsa-sha2-512") + string(signature)


def ecdsa(message: bytes) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    signature = key.sign(message, ec.ECDSA(hashes.SHA256()))
    return base64.b64decode(public.split()[1]), string(b"ecdsa-sha2-nistp256") + string(signature)


def sign_as(
    kind: Callable[[bytes], tuple[bytes, bytes]] = ed25519,
    *,
    version: int = 1,
    namespace: bytes = b"lockmigrate-backup-v1",
    reserved: bytes = b"",
    digest: str = "sha512",
) -> bytes:
    """A signature of RAW that is right in itself, in any of the forms that SSHSIG knows."""
    fields = string(namespace) + string(reserved) + string(digest.encode())
    public, signature = kind(b"SSHSIG" + fields + string(hashlib.new(digest, RAW).digest()))
    return armored(b"SSHSIG" + struct.pack(">I", version) + string(public) + fields + string(signature))


def test_the_forger_s_tool_makes_what_we_accept() -> None:
    """Else the rows below would be refused for the wrong reason."""
    assert sign_as() == sshsig.sign(RAW, KEY)
    assert open_backup(signed(RAW, ONE, TWO, signature=sign_as()), identities=[IDENTITY]).entries == dict([ONE, TWO])


@rows(
    ("empty", lambda: b""),
    ("two in one entry", lambda: sign_as() * 2),
    ("RSA", lambda: sign_as(rsa_2048)),
    ("ECDSA", lambda: sign_as(ecdsa)),
    ("sha256", lambda: sign_as(digest="sha256")),
    ("version 2", lambda: sign_as(version=2)),
    ("version 0", lambda: sign_as(version=0)),
    ("other namespace", lambda: sign_as(namespace=b"git")),
    ("empty namespace", lambda: sign_as(namespace=b"")),
    ("reserved not empty", lambda: sign_as(reserved=b"x")),
    ("CRLF", lambda: sign_as().replace(b"\n", b"\r\n")),
    ("no last line end", lambda: sign_as()[:-1]),
    (
        "one long line",
        lambda: sign_as().replace(b"\n", b"").replace(b"-----U", b"-----\nU").replace(b"-----E", b"\n-E"),
    ),
    ("of another manifest", lambda: sshsig.sign(RAW + b" ", KEY)),
    ("something behind the signature", lambda: armored(base64.b64decode(sign_as()[30:-28]) + b"\0")),
    ("a megabyte", lambda: b"A" * (1 << 20)),
)
def test_a_signature_of_any_other_form_is_a_bad_signature(make: Callable[[], bytes]) -> None:
    refused(signed(RAW, ONE, TWO, signature=make()), "bad-signature")


def test_no_signature_is_refused_by_policy() -> None:
    refused(around(write_archive([HEAD, ONE, TWO])), "unsigned", 10)


MADE_AT: Final = datetime(2026, 11, 23, 17, 13, 5, tzinfo=UTC)


@pytest.mark.parametrize("why", ["unknown", "revoked", "not yet valid", "expired"])
def test_a_valid_signature_of_a_signer_who_does_not_count_is_untrusted(why: str, tmp_path: Path) -> None:
    moment = timedelta(seconds=1)
    dates: dict[str, dict[str, datetime]] = {
        "not yet valid": {"valid_after": MADE_AT + moment},
        "expired": {"valid_before": MADE_AT - moment},
    }
    if why != "unknown":
        add_signer(tmp_path, sshsig.public_key_line(PUBLIC), "tech", SIGNER, **dates.get(why, {}))
    if why == "revoked":
        revoke_signer(tmp_path, SIGNER)
    refused(signed(RAW, ONE, TWO), "untrusted", 10, check_signer=check_signer(tmp_path))


# ---- the manifest ---------------------------------------------------------------------------------------------------


def manifest_with(text: bytes) -> bytes:
    """The manifest with one more member at its front."""
    return manifest().replace(b"{", b"{" + text + b", ", 1)


def without(name: str) -> bytes:
    return json.dumps({key: value for key, value in json.loads(manifest()).items() if key != name}).encode()


def filled(piece: bytes) -> bytes:
    """As many pieces as fit in the largest manifest."""
    room = (4 << 20) - 1000
    return manifest_with(b'"x": [' + piece * (room // len(piece)) + b"0]")


@rows(
    ("duplicate keys", lambda: manifest_with(b'"schema": "lockmigrate.backup/1"')),
    ("duplicate keys deep inside", lambda: manifest_with(b'"x": [{"a": 1, "a": 1}]')),
    ("float", lambda: manifest(x=1.5)),
    ("exponent", lambda: manifest_with(b'"x": 1e2')),
    ("NaN", lambda: manifest(x=float("nan"))),
    ("infinity", lambda: manifest(x=float("-inf"))),
    ("5,000-digit integer", lambda: manifest_with(b'"x": ' + b"1" * 5000)),
    ("4 million digits", lambda: manifest_with(b'"x": ' + b"1" * 4_000_000)),
    ("2^53", lambda: manifest(x=2**53)),
    ("depth 17", lambda: manifest_with(b'"x": ' + b"[" * 16 + b"]" * 16)),
    ("depth 100,000", lambda: manifest_with(b'"x": ' + b"[" * 100_000 + b"]" * 100_000)),
    ("objects 100,000 deep", lambda: manifest_with(b'"x": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000)),
    ("lone surrogate", lambda: manifest_with(b'"x": "\\ud800"')),
    ("lone surrogate as a key", lambda: manifest_with(b'"\\udfff": 1')),
    ("surrogates as bytes", lambda: manifest_with(b'"x": "\xed\xa0\x80"')),
    ("byte order mark", lambda: b"\xef\xbb\xbf" + manifest()),
    ("UTF-16", lambda: manifest().decode().encode("utf-16")),
    ("long string", lambda: manifest(x="y" * 4097)),
    ("one string of 4 MB", lambda: manifest_with(b'"x": "' + b"y" * 4_000_000 + b'"')),
    ("over 4 MiB", lambda: manifest() + b" " * (4 << 20)),
    ("4 MiB of empty lists", lambda: filled(b"[],")),
    ("4 MiB of empty objects", lambda: filled(b"{},")),
    ("4 MiB of small objects", lambda: filled(b'{"a":1},')),
    ("4 MiB of nested objects", lambda: filled(b'{"a":{"b":{"c":{}}}},')),
    ("4 MiB of numbers", lambda: filled(b"1,")),
    ("4 MiB of strings", lambda: filled(b'"ab\xf0\x9f\x98\x80",')),
    ("4 MiB of quotes", lambda: filled(b'"\\"",')),
    ("as many objects as are allowed", lambda: manifest_with(b'"x": [' + b'{"a":1},' * 87_000 + b"1.5]")),
    ("as many lists as are allowed", lambda: manifest_with(b'"x": [' + b"[]," * 130_000 + b"1.5]")),
    ("as many strings as are allowed", lambda: manifest_with(b'"x": [' + b'"abcdefgh",' * 260_000 + b"1.5]")),
    ("not an object", lambda: b"[]"),
    ("empty", lambda: b""),
    ("cut", lambda: manifest()[:-1]),
    ("comment", lambda: b"// x\n" + manifest()),
    ("two documents", lambda: manifest() * 2),
    *[(f"wrong type of {name}", partial(manifest, **{name: 5})) for name in ("schema", "critical", "backup_id")],
    *[(f"wrong type of {name}", partial(manifest, **{name: [5]})) for name in ("created_at", "operator", "entries")],
    *[(f"wrong type of {name}", partial(manifest, **{name: "x"})) for name in ("tables", "counts", "retention")],
    *[
        (f"wrong type of {name}", partial(manifest, **{name: [1]}))
        for name in ("device", "profile", "tool", "previous")
    ],
    *[
        (f"{name} missing", partial(without, name))
        for name in ("schema", "critical", "backup_id", "created_at", "operator", "entries")
    ],
    ("another signer named", lambda: manifest(operator={"key": "SHA256:" + "A" * 43})),
)
def test_a_manifest_against_the_rules_is_malformed_also_when_validly_signed(make: Callable[[], bytes]) -> None:
    raw = make()
    refused(
        around(padded(blocks("manifest.json", raw) + blocks("manifest.json.sig", sshsig.sign(raw, KEY)))), "malformed"
    )


@rows(
    ("schema 2", lambda: manifest(schema="lockmigrate.backup/2")),
    ("another schema", lambda: manifest(schema="x")),
    ("unknown critical name", lambda: manifest(critical=["entries", "second_signature"])),
)
def test_what_only_a_later_version_can_read_is_unsupported(make: Callable[[], bytes]) -> None:
    refused(signed(make()), "unsupported")


def reads(**change: Any) -> list[dict[str, Any]]:
    right = {"at": "2026-11-23T17:13:05Z", "size": 1, "sha256": hashlib.sha256(b"1").hexdigest()}
    return [{"table": "a", "entry": "raw/a", "reads": [right | change]}]


@pytest.mark.parametrize(
    "fields",
    [
        {"entries": [listed([ONE])[0] | {"size": 2}]},
        {"entries": [listed([ONE])[0] | {"size": -1}]},
        {"entries": [listed([ONE])[0] | {"sha256": "0" * 64}]},
        {"entries": [listed([ONE])[0] | {"sha256": listed([ONE])[0]["sha256"].upper()}]},
        {"entries": listed([ONE, TWO])},
        {"entries": []},
        {"entries": listed([ONE]), "tables": reads(size=2)},
        {"entries": listed([ONE]), "tables": reads(sha256="0" * 64)},
        {"entries": listed([ONE]), "tables": [{"table": "a", "entry": "raw/b"}]},
        {"entries": listed([ONE]), "tables": [{"table": "a", "records": ["records/a.jsonl"]}]},
    ],
)
def test_a_digest_or_size_that_does_not_fit_is_malformed_also_when_validly_signed(fields: dict[str, Any]) -> None:
    refused(signed(manifest(**fields), ONE), "malformed")


def test_a_table_that_changes_by_itself_may_have_been_read_otherwise_before() -> None:
    changing = [reads(size=2)[0] | {"volatile": True}]
    raw = manifest(entries=listed([ONE]), tables=changing)
    assert open_backup(signed(raw, ONE), identities=[IDENTITY]).entries == dict([ONE])
    twice = [reads()[0] | {"reads": [reads(size=2)[0]["reads"][0], reads()[0]["reads"][0]]}]
    assert open_backup(signed(manifest(entries=listed([ONE]), tables=twice), ONE), identities=[IDENTITY]).entries


# ---- from outside ---------------------------------------------------------------------------------------------------

OUTSIDE = """
import resource, sys
from lockmigrate.errors import BackupError
from lockmigrate.formats import age
from lockmigrate.formats.backup import open_backup, read_backup
from pathlib import Path
identity = age.X25519Identity(bytes(range(32)))
open_backup(read_backup(Path(sys.argv[1])), identities=[identity])
def peak():
    # On Linux `getrusage` still holds the peak of whoever started us, which would hide ours.
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
before = peak()
for name in sys.argv[2:]:
    try:
        open_backup(read_backup(Path(name)), identities=[identity])
    except BackupError:
        continue
    sys.exit("not refused: " + name)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no module resource to measure a process with")
def test_a_whole_process_stays_small_whatever_it_is_given(tmp_path: Path) -> None:
    """The peak over all files on top of opening a good one; the largest file and its plaintext are allowed besides."""
    (tmp_path / "good").write_bytes(sealed_small())
    bad = {
        "lists": filled(b"[],"),
        "objects": manifest_with(b'"x": [' + b'{"a":1},' * 87_000 + b"1.5]"),
        "nested": filled(b'{"a":{"b":{"c":{}}}},'),
    }
    files = {
        name: around(padded(blocks("manifest.json", raw) + blocks("manifest.json.sig", sshsig.sign(raw, KEY))))
        for name, raw in bad.items()
    }
    files["stanzas"] = INTRO + b"-> x\n\n" * 1_000_000
    files["line"] = b"a" * 20_000_000
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    paths = [tmp_path / name for name in ("good", *files)]
    done = subprocess.run(
        [sys.executable, "-c", OUTSIDE, *paths], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    largest = max(map(len, files.values()))
    assert int(done.stdout) < 2 * largest + MAX_MEMORY_BYTES


# ---- sweeps ---------------------------------------------------------------------------------------------------------


def _ends_badly(data: bytes) -> bool:
    try:
        open_backup(data, identities=[IDENTITY])
    except BackupError as error:
        return error.exit_code in {6, 7}
    return False


def _flip(data: bytes, at_bit: int) -> bytes:
    flipped = bytearray(data)
    flipped[at_bit // 8] ^= 1 << at_bit % 8
    return bytes(flipped)


def _accepted_cuts(data: bytes, part: range) -> list[int]:
    return [at for at in part if not _ends_badly(data[:at])]


def _accepted_flips(data: bytes, part: range) -> list[int]:
    return [at for at in part if not _ends_badly(_flip(data, at))]


def _accepted_plain_flips(plain: bytes, part: range) -> list[int]:
    return [at for at in part if not _ends_badly(around(_flip(plain, at)))]


def sweep(work: Callable[[bytes, range], list[int]], data: bytes, total: int) -> tuple[int, list[int]]:
    """Try 0 to total - 1 on every processor; returns how many were tried and which were not refused."""
    parts = list(parts_of(total, 4096))
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        accepted = [at for found in pool.map(partial(work, data), parts) for at in found]
    return sum(map(len, parts)), accepted


def parts_of(total: int, size: int) -> Iterator[range]:
    return (range(start, min(start + size, total)) for start in range(0, total, size))


@pytest.mark.sweep
def test_every_truncation_of_a_backup_is_refused() -> None:
    data = sealed_small()
    assert not _ends_badly(data)
    assert sweep(_accepted_cuts, data, len(data)) == (len(data), [])


@pytest.mark.sweep
def test_every_flipped_bit_of_a_backup_is_refused() -> None:
    data = sealed_small()
    assert sweep(_accepted_flips, data, 8 * len(data)) == (8 * len(data), [])


@pytest.mark.sweep
def test_every_flipped_bit_of_the_plaintext_encrypted_again_is_refused() -> None:
    """All 65,536 bytes, padding included: what a recipient could do who wants to change a backup of somebody else."""
    plain = age.decrypt_bytes(sealed_small(), identities=[IDENTITY])
    assert len(plain) == 65_536
    assert not _ends_badly(around(plain))
    assert sweep(_accepted_plain_flips, plain, 8 * len(plain)) == (524_288, [])


def test_a_sample_of_truncations_and_flips_is_refused() -> None:
    """What the sweeps do with every place, in the plain suite with some."""
    data = sealed_small()
    plain = age.decrypt_bytes(data, identities=[IDENTITY])
    assert not _accepted_cuts(data, range(0, len(data), 97))
    assert not _accepted_flips(data, range(0, 8 * len(data), 797))
    assert not _accepted_plain_flips(plain, range(0, 8 * len(plain), 797))
