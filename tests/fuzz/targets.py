"""What is fuzzed: each target takes any bytes and returns, or raises what its contract names; else it found a fault.

A target swallows the errors that are allowed, so whatever leaves it is a finding. Where bytes are accepted, it checks
what must then hold: a form that is read is written again as the same bytes.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lockmigrate.errors import BackupError, FrameError, ImageError, PolicyError
from lockmigrate.formats import age, decode, f5, gt511, sshsig
from lockmigrate.formats.age_header import INTRO, ArmorReader, ArmorWriter, ByteReader, read_header
from lockmigrate.formats.archive import padded_size, read_archive, write_archive
from lockmigrate.formats.backup import MANIFEST_NAME, SIGNATURE_NAME, open_backup, seal
from lockmigrate.formats.bech32 import bech32_decode, bech32_encode
from lockmigrate.formats.manifest import read_manifest, strict_json
from lockmigrate.formats.zk import TcpFramer, parse_datagram, wrapped
from lockmigrate.formats.zk_files import choose_templates, log_entries, parse_sums, user_width, wire_table

KEY: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
IDENTITY: Final = age.X25519Identity(bytes(range(32)))
MESSAGE: Final = b"{}\n"
SIGNATURE: Final = sshsig.sign(MESSAGE, KEY)
_LARGEST: Final = 1 << 20
"""More would only be slow."""


def fuzz_header(data: bytes) -> None:
    with contextlib.suppress(age.AgeHeaderError):
        header = read_header(ByteReader(io.BytesIO(data)))
        again = INTRO + b"".join(stanza.marshal() for stanza in header.stanzas) + b"---"
        assert again == header.authenticated
        assert data.startswith(again)


def fuzz_armor(data: bytes) -> None:
    try:
        raw = _dearmored(data)
    except age.AgeArmorError:
        return
    out = io.BytesIO()
    writer = ArmorWriter(out)
    writer.write(raw)
    writer.close()
    assert _dearmored(out.getvalue()) == raw
    # Blank space may follow the last line at once.
    assert out.getvalue().rstrip() in data.replace(b"\r\n", b"\n")


def _dearmored(data: bytes) -> bytes:
    reader = ArmorReader(ByteReader(io.BytesIO(data)))
    parts = []
    while part := reader.read(1000):
        parts.append(part)
    return b"".join(parts)


def fuzz_bech32(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    try:
        prefix, raw = bech32_decode(text)
    except ValueError:
        return
    # A text of digits and signs alone has no case of its own.
    assert bech32_encode(prefix, raw).lower() == text.lower()
    assert bech32_decode(bech32_encode(prefix, raw)) == (prefix, raw)


def fuzz_archive(data: bytes) -> None:
    plain = _padded(data)
    for given in (data, plain):
        with contextlib.suppress(BackupError):
            assert write_archive(read_archive(given)) == given


def fuzz_signature(data: bytes) -> None:
    with contextlib.suppress(BackupError):
        sshsig.verify(MESSAGE, data)
        # Nobody has the key, and the form is canonical: only the one signature can be accepted.
        assert data == SIGNATURE


def fuzz_manifest(data: bytes) -> None:
    with contextlib.suppress(BackupError):
        value = strict_json(data)
        assert strict_json(json.dumps(value).encode()) == value
        fields, manifest = read_manifest(data)
        assert fields["backup_id"] == manifest.backup_id


def fuzz_open(data: bytes) -> None:
    plain = _padded(data)
    _open(plain)
    # The same, validly signed: a hostile signer gets further than somebody who only knows the recipient.
    with contextlib.suppress(BackupError):
        entries = read_archive(plain)
        if [name for name, _ in entries[:2]] == [MANIFEST_NAME, SIGNATURE_NAME]:
            entries[1] = (SIGNATURE_NAME, sshsig.sign(entries[0][1], KEY))
            _open(write_archive(entries))


def fuzz_signed(data: bytes) -> None:
    """A manifest of any bytes, validly signed, before a good entry."""
    _open(write_archive([(MANIFEST_NAME, data), (SIGNATURE_NAME, sshsig.sign(data, KEY)), ("raw/0001-x.bin", b"x")]))


def _padded(data: bytes) -> bytes:
    content = data[:_LARGEST].rstrip(b"\0")
    content += bytes(-len(content) % 512) + bytes(1024)
    return content + bytes(padded_size(len(content)) - len(content))


def _open(plain: bytes) -> None:
    sealed = age.encrypt_bytes(plain, recipients=[IDENTITY.recipient])
    with contextlib.suppress(BackupError, PolicyError):
        opened = open_backup(sealed, identities=[IDENTITY])
        assert write_archive(read_archive(plain)) == plain
        assert [entry["name"] for entry in opened.manifest["entries"]] == list(opened.entries)


def fuzz_zk_packets(data: bytes) -> None:
    """A stream and a datagram of any bytes; a packet that is taken is written again as the same bytes."""
    framer = TcpFramer()
    with contextlib.suppress(FrameError):
        for at in range(0, len(data), 7):
            framer.feed(data[at : at + 7])
            while (packet := framer.next()) is not None:
                assert parse_datagram(wrapped(packet)[8:]) == packet
    with contextlib.suppress(FrameError):
        parse_datagram(data)


def fuzz_zk_tables(data: bytes) -> None:
    """Any bytes as the tables of a terminal, cut in two: users, and what else there is."""
    users, rest = data[: len(data) // 2], data[len(data) // 2 :]
    for width in (16, 28, 72):
        for tables in (
            {"0004-users": users, "0005-templates": rest},
            {"0004-users": users, "0006-zones": rest[:32], "0007-groups": rest[32:40], "0009-verify": rest[40:64]},
            {"0001-options": users, "0003-capacity": rest, "0010-attlog": users, "0011-oplog": rest},
        ):
            with contextlib.suppress(FrameError):
                found = decode("zk", tables, {"record_bytes": width, "fp_version": 10})
                keys = [item.key for item in (*found.users, *found.credentials)]
                assert len(set(keys)) == len(keys)


def fuzz_zk_files(data: bytes) -> None:
    with contextlib.suppress(ImageError):
        user_width(data)
    for name in ("template.fp10", "template.fp10.1", "template.dat"):
        with contextlib.suppress(ImageError):
            wire_table(choose_templates({name: data}).entries)
    with contextlib.suppress(ImageError):
        parse_sums(data)
    log_entries(data)


def fuzz_slot_frames(data: bytes) -> None:
    """Any bytes from a GT-511 or F5 module, whatever is expected of it."""
    for module, sizes in ((gt511, (None, 24, 498)), (f5, (None, 8, 196))):
        for size in sizes:
            framer = module.Framer()
            framer.expect(size)
            with contextlib.suppress(FrameError):
                framer.feed(data)
                while framer.next() is not None:
                    framer.expect(size)


def fuzz_slot_tables(data: bytes) -> None:
    for family, names in (
        ("gt511", ("0001-devinfo", "0002-count", "0003-settings", "0004-templates")),
        ("f5", ("0001-version", "0002-list", "0003-settings", "0004-templates", "0005-count")),
    ):
        for name in names:
            with contextlib.suppress(FrameError):
                decode(family, {name: data}, {})


# ---- seeds ----------------------------------------------------------------------------------------------------------


def _manifest() -> bytes:
    meta: dict[str, Any] = {
        "backup_id": "0" * 32,
        "created_at": "2026-11-23T17:13:05Z",
        "device": {"vendor": "v", "clock": {"skew_s": -14}},
        "tables": [{"table": "x", "entry": "raw/0001-x.bin", "rows": 1, "device_check": None}],
        "retention": {"expires_at": None, "contains": ["pin"]},
        "previous": {"backup_id": "1" * 32, "manifest_sha256": "0" * 64},
    }
    sealed, _ = seal(meta, {"raw/0001-x.bin": b"x"}, recipients=[IDENTITY.recipient], signing_key=KEY)
    return read_archive(age.decrypt_bytes(sealed, identities=[IDENTITY]))[0][1]


def _archive(manifest: bytes) -> bytes:
    entries = [(MANIFEST_NAME, manifest), (SIGNATURE_NAME, sshsig.sign(manifest, KEY)), ("raw/0001-x.bin", b"x")]
    return write_archive(entries).rstrip(b"\0")


_SEED_MANIFEST: Final = _manifest()
_SEED_FILE: Final = age.encrypt_bytes(b"x", recipients=[IDENTITY.recipient, age.X25519Identity(bytes(32)).recipient])
_SEED_ARMORED: Final = age.encrypt_bytes(b"x" * 60, recipients=[IDENTITY.recipient], armored=True)
_SEED_SCRYPT: Final = age.encrypt_bytes(b"x", passphrase="x", log_n=1)

_SEED_CONNECT: Final = bytes.fromhex("5050827d08000000e80317fc00000000")
"""ZK reference, section 14."""
_SEED_USER: Final = (
    bytes.fromhex("0d0000343434").ljust(11, b"\0")
    + b"Ned".ljust(24, b"\0")
    + bytes.fromhex("de00000002010001000200000035353500").ljust(37, b"\0")
)
_SEED_ENTRY: Final = bytes.fromhex("0a000d000301 01020304")

TARGETS: Final[dict[str, tuple[Callable[[bytes], None], list[bytes]]]] = {
    "header": (
        fuzz_header,
        [_SEED_FILE, _SEED_SCRYPT, INTRO + b"-> a b\n" + b"A" * 64 + b"\n\n--- " + b"A" * 43 + b"\n"],
    ),
    "armor": (fuzz_armor, [_SEED_ARMORED, b" \n" + _SEED_ARMORED.replace(b"\n", b"\r\n") + b"\t\n"]),
    "bech32": (fuzz_bech32, [str(IDENTITY.recipient).encode(), IDENTITY.reveal().encode(), b"A12UEL5L"]),
    "archive": (fuzz_archive, [_archive(_SEED_MANIFEST), b""]),
    "signature": (fuzz_signature, [SIGNATURE, SIGNATURE.replace(b"\n", b"\r\n")]),
    "manifest": (fuzz_manifest, [_SEED_MANIFEST, b'{"schema": "lockmigrate.backup/1", "critical": ["x"]}']),
    "open": (fuzz_open, [_archive(_SEED_MANIFEST)]),
    "signed": (fuzz_signed, [_SEED_MANIFEST]),
    "zk-packets": (
        fuzz_zk_packets,
        [_SEED_CONNECT, _SEED_CONNECT + bytes.fromhex("5050827d09000000f401a7fc0001000064")],
    ),
    "zk-tables": (fuzz_zk_tables, [_SEED_USER + _SEED_ENTRY * 5, _SEED_USER * 2]),
    "zk-files": (fuzz_zk_files, [_SEED_USER, _SEED_ENTRY * 2, b"    555\t2026-01-01 08:00:00\t1\t0\t1\t0\r\n"]),
    "slot-frames": (
        fuzz_slot_frames,
        [
            bytes.fromhex("55aa010000000000300030 01".replace(" ", "")),
            bytes.fromhex("f5310 0c40000f5f5".replace(" ", "")),
        ],
    ),
    "slot-tables": (fuzz_slot_tables, [bytes.fromhex("0500 0300 010203"), bytes.fromhex("0005 0004 01010203")]),
}
"""Name to the function and what to begin with."""
