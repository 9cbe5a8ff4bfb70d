"""age files: published vectors, other implementations, every trap of the format, and no secret in sight."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st
from typing_at import type_passphrase

from lockmigrate.errors import BackupError, ConfigError, FileTrouble, LockmigrateError, WrongKeyError
from lockmigrate.formats import age
from lockmigrate.formats.age_header import INTRO, Stanza, b64_encode
from lockmigrate.formats.age_keys import hkdf_sha256
from lockmigrate.formats.bech32 import bech32_decode, bech32_encode

try:
    import pyrage
except ImportError:
    pyrage = None

IDENTITY = age.X25519Identity(bytes(range(32)))
SECRET = IDENTITY.reveal()
RECIPIENT = str(IDENTITY.recipient)
OTHER = age.X25519Identity(bytes(range(1, 33)))
CHUNK = 65_536
SIZES = (0, 1, 100, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1, 1_000_000)
PASSPHRASE = "pæss phrase 通行 1"

# C2SP/CCTV age/testdata, files `x25519` and `scrypt` (CC0-1.0).
CCTV_IDENTITY = "AGE-SECRET-KEY-1EGTZVFFV20835NWYV6270LXYVK2VKNX2MMDKWYKLMGR48UAWX40Q2P2LM0"
CCTV_PLAIN_SHA256 = "013f54400c82da08037759ada907a8b864e97de81c088a182062c4b5622fd2ab"
CCTV_X25519 = base64.b64decode(
    "YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSBURWlGMHlwcXIrYnB2Y3FYTnlDVkpwTDdPdXdQZFZ3UEw3S1FFYkZET0Nj"
    "CmhqYWJHWHdTTFE5YzNTNkx3MmkrUzJUdTJmaXdRSEhzbGJCTjZCNDFGTEUKLS0tIFd5SnA5Ri85Rk9aaDdnSmRoZXEyV0lKY3dI"
    "Z1ljOE5JVmgzZGR3aHJjTmcK7s9ix86RtDMnTmjU8vkTTLdMW/73vqpSyPC8DpksHoMx+2Y="
)
CCTV_SCRYPT = base64.b64decode(
    "YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IHNjcnlwdCByRjAvTndibFVISFRwZ1FnUnBlNUNRIDEwCmdVakV5bUZLTVZYUUVLZE1N"
    "SEwyNG9ZZXhqRTNUSUMwTzB6R1NxSjJhVVkKLS0tIElPWGlRWVN0a29UMW12WlcydEZPcVpkaFJWdmo1OGVnQUJ4L3NXZlpRYmMK"
    "GzXG5ofdANo6w3msn3QsIf0YWhuePe1znRSsappQEk24Ztg="
)

needs_age = pytest.mark.skipif(which("age") is None, reason="the program `age` is not installed")
needs_age_keygen = pytest.mark.skipif(which("age-keygen") is None, reason="the program `age-keygen` is not installed")
needs_pyrage = pytest.mark.skipif(pyrage is None, reason="the package pyrage (extra `peers`) is not installed")
needs_pty = pytest.mark.skipif(sys.platform == "win32", reason="this system has no pty to type a passphrase on")


def seal(data: bytes, **options: Any) -> bytes:
    return age.encrypt_bytes(data, recipients=[RECIPIENT], **options)


def unseal(data: bytes) -> bytes:
    return age.decrypt_bytes(data, identities=[SECRET])


def refused(data: bytes, *, passphrase: str | None = None) -> BackupError:
    """The error of a file that must not open."""
    identities = [] if passphrase is not None else [SECRET]
    with pytest.raises(BackupError) as caught:
        age.decrypt_bytes(data, identities=identities, passphrase=passphrase)
    return caught.value


def with_stanzas(*stanzas: bytes, mac: bytes = b"A" * 43) -> bytes:
    """A file whose header holds these stanzas; the MAC is not right, which nobody gets to see."""
    return INTRO + b"".join(stanzas) + b"--- " + mac + b"\n" + bytes(32)


def scrypt_stanza(work_factor: bytes, salt: bytes = bytes(16)) -> bytes:
    return Stanza((b"scrypt", b64_encode(salt), work_factor), bytes(32)).marshal()


FOREIGN = Stanza((b"other", b"arg"), bytes(10)).marshal()


# ---- published vectors ----------------------------------------------------------------------------------------------


def test_the_published_x25519_vector_opens() -> None:
    plain = age.decrypt_bytes(CCTV_X25519, identities=[CCTV_IDENTITY])
    assert hashlib.sha256(plain).hexdigest() == CCTV_PLAIN_SHA256


def test_the_published_scrypt_vector_opens_with_its_passphrase() -> None:
    plain = age.decrypt_bytes(CCTV_SCRYPT, passphrase="password")
    assert hashlib.sha256(plain).hexdigest() == CCTV_PLAIN_SHA256


def test_bech32_agrees_with_the_specification_s_own_vectors() -> None:
    """BIP 173: valid and invalid strings (the 90-character limit is lifted in age)."""
    assert bech32_decode("A12UEL5L") == ("A", b"")
    assert bech32_encode("abcdef", bech32_decode("abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw")[1]) == (
        "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw"
    )
    for wrong in (
        "pzry9x0s0muk",
        "1pzry9x0s0muk",
        "x1b4n0q5v",
        "li1dgmt3",
        "A1G7SGD8",
        "10a06t8",
        "1qzzfhee",
        "a12UEL5L",
    ):
        with pytest.raises(ValueError, match="not bech32"):
            bech32_decode(wrong)


@given(st.binary(max_size=80))
def test_bech32_gives_back_what_it_took(raw: bytes) -> None:
    assert bech32_decode(bech32_encode("age", raw)) == ("age", raw)
    assert bech32_decode(bech32_encode("AGE-SECRET-KEY-", raw)) == ("AGE-SECRET-KEY-", raw)


# ---- round trips ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("armored", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_what_was_sealed_opens_again(size: int, armored: bool) -> None:
    data = os.urandom(size)
    assert data == unseal(seal(data, armored=armored))


@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_survive_sealing(data: bytes, armored: bool) -> None:
    assert data == unseal(seal(data, armored=armored))


@given(st.binary(max_size=300))
def test_garbage_is_refused_with_our_error(data: bytes) -> None:
    for content in (data, INTRO + data, b"-----BEGIN AGE ENCRYPTED FILE-----\n" + data):
        refused(content)


def test_every_recipient_opens_the_same_file() -> None:
    sealed = age.encrypt_bytes(b"x", recipients=[RECIPIENT, str(OTHER.recipient)])
    assert b"x" == age.decrypt_bytes(sealed, identities=[OTHER.reveal()]) == unseal(sealed)


def test_a_passphrase_opens_and_may_be_hashed_in_a_worker_thread() -> None:
    with ThreadPoolExecutor(1) as pool:
        sealed = pool.submit(age.encrypt_bytes, b"x", passphrase=PASSPHRASE, log_n=4).result()
        assert pool.submit(age.decrypt_bytes, sealed, passphrase=PASSPHRASE).result() == b"x"


def test_the_work_factor_is_18_unless_told_otherwise() -> None:
    assert age.WRITE_LOG_N == 18
    assert age.work_factor(age.encrypt_bytes(b"", passphrase="x", log_n=5, armored=True)) == 5
    assert age.work_factor(seal(b"")) is None


def test_a_generated_identity_has_a_recipient() -> None:
    identity = age.generate_identity()
    assert identity.startswith("AGE-SECRET-KEY-1")
    assert (
        age.decrypt_bytes(age.encrypt_bytes(b"x", recipients=[age.recipient_of(identity)]), identities=[identity])
        == b"x"
    )


class Trickle(io.BytesIO):
    """A source that gives one to three bytes at a time, as pipes may."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(3, size or 0))


@pytest.mark.parametrize("armored", [False, True])
def test_short_reads_make_no_difference(armored: bool) -> None:
    sealed, plain = io.BytesIO(), io.BytesIO()
    age.encrypt(Trickle(b"abc" * 100), sealed, [RECIPIENT], armored=armored)
    assert age.decrypt(Trickle(sealed.getvalue()), plain, [SECRET]) == 300
    assert plain.getvalue() == b"abc" * 100


class Zeros:
    """A source of zeros, or a sink that counts."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.taken = 0

    def read(self, size: int, /) -> bytes:
        given = min(size, self.left)
        self.left -= given
        return bytes(given)

    def write(self, data: bytes, /) -> None:
        self.taken += len(data)


def test_streaming_needs_memory_for_a_few_chunks_only(tmp_path: Path) -> None:
    size = 16 * 1024 * 1024
    tracemalloc.start()
    try:
        with (tmp_path / "x.age").open("wb") as file:
            age.encrypt(Zeros(size), file, [RECIPIENT])
        with (tmp_path / "x.age").open("rb") as file:
            assert age.decrypt(file, sink := Zeros(0), [SECRET]) == size == sink.taken
        assert tracemalloc.get_traced_memory()[1] < 1024 * 1024
    finally:
        tracemalloc.stop()


# ---- the key of a file just written ---------------------------------------------------------------------------------


def test_the_file_key_opens_its_own_file_without_an_identity() -> None:
    sealed, plain = io.BytesIO(), io.BytesIO()
    key = age.encrypt(io.BytesIO(b"x"), sealed, [RECIPIENT])
    age.decrypt(io.BytesIO(sealed.getvalue()), plain, [key])
    assert plain.getvalue() == b"x"


def test_the_file_key_notices_a_header_that_is_not_the_one_just_made() -> None:
    sealed = io.BytesIO()
    key = age.encrypt(io.BytesIO(b"x"), sealed, [RECIPIENT])
    for other in (seal(b"x"), sealed.getvalue().replace(b"-> X25519 ", b"-> grease\n\n-> X25519 ", 1)):
        with pytest.raises(age.AgeMacError, match="not the one just written") as caught:
            age.decrypt(io.BytesIO(other), io.BytesIO(), [key])
        assert caught.value.code == "corrupt"


# ---- damage ---------------------------------------------------------------------------------------------------------


def damage_is_refused(sealed: bytes) -> None:
    for at in range(len(sealed)):
        flipped = bytearray(sealed)
        flipped[at] ^= 1 << at % 8
        assert refused(bytes(flipped)).exit_code in {6, 7}
    for cut in range(len(sealed)):
        assert refused(sealed[:cut]).exit_code in {6, 7}


def test_one_flipped_bit_in_any_byte_and_every_cut_is_refused() -> None:
    damage_is_refused(seal(b"x" * 40))


def test_an_appended_byte_is_refused() -> None:
    for size in (0, 10, CHUNK):
        assert isinstance(refused(seal(bytes(size)) + b"\0"), age.AgePayloadError)


@pytest.mark.sweep
def test_every_single_bit_and_every_cut_is_refused() -> None:
    sealed = seal(b"x" * 300)
    damage_is_refused(sealed)
    for at in range(len(sealed) * 8):
        flipped = bytearray(sealed)
        flipped[at // 8] ^= 1 << at % 8
        assert refused(bytes(flipped)).exit_code in {6, 7}


def payload(chunks: Sequence[tuple[bytes, int, bool]]) -> bytes:
    """A file of hand-made chunks: (plain, counter, last)."""
    sealed = io.BytesIO()
    key = age.encrypt(io.BytesIO(b""), sealed, [RECIPIENT])
    head = sealed.getvalue()[:-16]
    cipher = ChaCha20Poly1305(hkdf_sha256(key.raw, salt=head[-16:], info=b"payload"))
    boxes = [
        cipher.encrypt(counter.to_bytes(11, "big") + bytes([last]), plain, None) for plain, counter, last in chunks
    ]
    return head + b"".join(boxes)


@pytest.mark.parametrize(
    "chunks",
    [
        [(bytes(CHUNK), 0, False), (b"", 1, True)],
        [(bytes(CHUNK), 0, False)],
        [(bytes(CHUNK), 0, True), (b"x", 1, True)],
        [(bytes(CHUNK), 1, False), (b"x", 0, True)],
        [(b"x", 0, False)],
        [(b"short", 0, False), (b"x", 1, True)],
        [],
    ],
    ids=["empty last", "no last", "two last", "swapped", "not marked last", "short in the middle", "none"],
)
def test_a_payload_with_wrong_chunks_is_refused(chunks: list[tuple[bytes, int, bool]]) -> None:
    error = refused(payload(chunks))
    assert isinstance(error, age.AgePayloadError)
    assert error.code == "corrupt"


def test_a_full_last_chunk_and_an_empty_payload_are_allowed() -> None:
    assert unseal(payload([(bytes(CHUNK), 0, True)])) == bytes(CHUNK)
    assert unseal(payload([(b"", 0, True)])) == b""


def test_a_changed_header_is_noticed_by_its_mac() -> None:
    sealed = seal(b"x").replace(b"---", FOREIGN + b"---", 1)
    assert isinstance(refused(sealed), age.AgeMacError)


def test_a_file_cut_inside_its_nonce_is_no_backup() -> None:
    sealed = seal(b"")
    assert isinstance(refused(sealed[:-17]), age.AgeHeaderError)


# ---- malformed headers ----------------------------------------------------------------------------------------------


def swap(old: bytes, new: bytes) -> bytes:
    sealed = seal(b"x")
    assert old in sealed
    return sealed.replace(old, new, 1)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04",
        b"-----BEGIN PGP MESSAGE-----\n\n",
        b"age-encryption.org/v2\n",
        INTRO[:-1] + b"\r\n",
        INTRO,
        with_stanzas(),
        with_stanzas(FOREIGN)[:-33],
        with_stanzas(FOREIGN, mac=b"A" * 42),
        with_stanzas(FOREIGN, mac=b"A" * 42 + b"B"),
        with_stanzas(FOREIGN, mac=b"A" * 43 + b"="),
        with_stanzas(b"->\n\n"),
        with_stanzas(b"-> \n\n"),
        with_stanzas(b"-> a  b\n\n"),
        with_stanzas(b"-> a \n\n"),
        with_stanzas(b"-> \xc3\xa4\n\n"),
        with_stanzas(b"->a\n\n"),
        with_stanzas(b"-> a\n" + b"A" * 64 + b"\n"),
        with_stanzas(b"-> a\n" + b"A" * 65 + b"\n\n"),
        with_stanzas(b"-> a\nAA==\n"),
        with_stanzas(b"-> a\nAB\n"),
        with_stanzas(b"-> a\nA\n"),
        with_stanzas(b"-> a\n_-\n"),
        with_stanzas(*[FOREIGN] * 33),
        with_stanzas(Stanza((b"a",), bytes(65_536)).marshal()),
    ],
)
def test_a_malformed_header_is_no_backup(data: bytes) -> None:
    error = refused(data)
    assert isinstance(error, age.AgeHeaderError)
    assert (error.exit_code, error.code) == (6, "not-a-backup")


def x25519(share: bytes, body: bytes = bytes(32), *more: bytes) -> bytes:
    return Stanza((b"X25519", share, *more), body).marshal()


SHARE = b64_encode(b"\x09" + bytes(31))


@pytest.mark.parametrize(
    "stanza",
    [
        x25519(b64_encode(bytes(32))),
        x25519(b64_encode(b"\x01" + bytes(31))),
        x25519(SHARE + b"="),
        x25519(SHARE[:-1] + b"B"),
        x25519(b64_encode(bytes(31))),
        x25519(SHARE, bytes(31)),
        x25519(SHARE, bytes(33)),
        x25519(SHARE, bytes(32), b"more"),
        Stanza((b"X25519",), bytes(32)).marshal(),
    ],
    ids=["zero", "low order", "padded", "not canonical", "short share", "short", "long", "three", "none"],
)
def test_a_malformed_x25519_stanza_refuses_the_file(stanza: bytes) -> None:
    assert isinstance(refused(with_stanzas(stanza)), age.AgeHeaderError)


@pytest.mark.parametrize("factor", [b"21", b"63", b"999999999999", b"0", b"018", b"+18", b"0x12", b"1_0", b"18\x0b"])
def test_a_work_factor_over_the_limit_or_oddly_written_is_refused_without_hashing(factor: bytes) -> None:
    started = time.perf_counter()
    error = refused(with_stanzas(scrypt_stanza(factor)), passphrase="x")
    assert isinstance(error, age.AgeHeaderError)
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize(
    "stanza",
    [
        scrypt_stanza(b"4", salt=bytes(15)),
        Stanza((b"scrypt", b64_encode(bytes(16))), bytes(32)).marshal(),
        Stanza((b"scrypt", b64_encode(bytes(16)), b"4", b"4"), bytes(32)).marshal(),
        Stanza((b"scrypt", b64_encode(bytes(16)), b"4"), bytes(33)).marshal(),
    ],
)
def test_a_malformed_scrypt_stanza_refuses_the_file(stanza: bytes) -> None:
    assert isinstance(refused(with_stanzas(stanza), passphrase="x"), age.AgeHeaderError)


def test_a_passphrase_stanza_must_stand_alone_whoever_asks() -> None:
    for stanzas in ((scrypt_stanza(b"4"), FOREIGN), (scrypt_stanza(b"4"),) * 2, (x25519(SHARE), scrypt_stanza(b"4"))):
        assert isinstance(refused(with_stanzas(*stanzas)), age.AgeHeaderError)
        assert isinstance(refused(with_stanzas(*stanzas), passphrase="x"), age.AgeHeaderError)


def test_thirty_two_foreign_stanzas_are_a_wrong_key() -> None:
    error = refused(with_stanzas(*[FOREIGN] * 32))
    assert isinstance(error, age.AgeNoMatchError)
    assert (error.exit_code, error.code) == (7, "wrong-key")


class Endless:
    """A source that never ends and counts what was taken."""

    def __init__(self, start: bytes, repeat: bytes) -> None:
        self.ahead, self.repeat, self.taken = start, repeat, 0

    def read(self, size: int, /) -> bytes:
        while len(self.ahead) < size:
            self.ahead += self.repeat * 100
        given, self.ahead = self.ahead[:size], self.ahead[size:]
        self.taken += len(given)
        return given


@pytest.mark.parametrize(
    ("start", "repeat"),
    [
        (b"", b"a"),
        (INTRO, b"a"),
        (INTRO + b"-> X25519 ", b"a"),
        (INTRO + b"-> a\n", b"a"),
        (INTRO + b"-> a\n", b"A" * 64 + b"\n"),
        (INTRO, b"-> a\n\n"),
        (b"-----BEGIN AGE ENCRYPTED FILE-----", b"a"),
        (b"", b" "),
    ],
)
def test_a_header_without_end_is_given_up_early(start: bytes, repeat: bytes) -> None:
    source = Endless(start, repeat)
    with pytest.raises(BackupError) as caught:
        age.decrypt(source, io.BytesIO(), [SECRET])
    assert caught.value.code == "not-a-backup"
    assert source.taken < 80_000


# ---- armor ----------------------------------------------------------------------------------------------------------

ARMORED = seal(b"x" * 30, armored=True)


def test_armor_may_stand_in_blank_space_and_have_crlf() -> None:
    for text in (b" \n\t\r\n" + ARMORED, ARMORED + b"\n \t\n", ARMORED.replace(b"\n", b"\r\n"), ARMORED[:-1]):
        assert unseal(text) == b"x" * 30


@pytest.mark.parametrize(
    "text",
    [
        ARMORED + b"x",
        ARMORED[:100] + b"\n" + ARMORED[100:],
        ARMORED.replace(b"\n", b"\n\n", 1),
        ARMORED.replace(b"\n", b" \n", 2),
        ARMORED.replace(b"\n-----END", b"=\n-----END"),
        ARMORED.replace(b"\n-----END", b"\n\n-----END"),
        ARMORED.replace(b"\n-----END", b"\nAAAA\n-----END"),
        ARMORED.replace(b"-----END AGE", b"-----END PGP"),
        ARMORED[: ARMORED.index(b"-----END")],
        ARMORED.replace(b"FILE-----\n", b"FILE---\n", 1),
        b" " * 2000 + ARMORED,
        ARMORED + b" " * 2000,
    ],
)
def test_malformed_armor_is_no_backup(text: bytes) -> None:
    error = refused(text)
    assert (error.exit_code, error.code) == (6, "not-a-backup")


def test_armor_with_spare_bits_set_is_refused() -> None:
    text = next(each for each in (seal(bytes(size), armored=True) for size in range(3)) if b"=\n-----END" in each)
    at = text.index(b"=") - 1
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    odd = text[:at] + bytes([alphabet[alphabet.index(text[at]) ^ 1]]) + text[at + 1 :]
    assert unseal(text) == bytes(len(unseal(text)))
    assert isinstance(refused(odd), age.AgeArmorError)


def test_an_armored_nothing_is_a_header_error() -> None:
    empty = b"-----BEGIN AGE ENCRYPTED FILE-----\n-----END AGE ENCRYPTED FILE-----\n"
    assert isinstance(refused(empty), age.AgeHeaderError)


def test_one_flipped_bit_in_any_byte_of_an_armored_file_changes_nothing_or_is_refused() -> None:
    for at in range(len(ARMORED)):
        flipped = bytearray(ARMORED)
        flipped[at] ^= 1 << at % 8
        # Blank space around the armor may change into other blank space.
        with contextlib.suppress(BackupError):
            assert unseal(bytes(flipped)) == b"x" * 30


# ---- keys, limits, mistakes -----------------------------------------------------------------------------------------


def test_a_wrong_identity_or_passphrase_is_a_wrong_key() -> None:
    with_passphrase = age.encrypt_bytes(b"x", passphrase="right", log_n=2)
    attempts: list[tuple[bytes, dict[str, Any]]] = [
        (seal(b"x"), {"identities": [OTHER.reveal()]}),
        (seal(b"x"), {"passphrase": "right"}),
        (seal(b"x"), {}),
        (with_passphrase, {"passphrase": "wrong"}),
        (with_passphrase, {"identities": [SECRET]}),
    ]
    for data, keys in attempts:
        with pytest.raises(WrongKeyError) as caught:
            age.decrypt_bytes(data, **keys)
        assert (caught.value.exit_code, caught.value.code) == (7, "wrong-key")


@pytest.mark.parametrize(
    "text",
    ["", "age1", "x" * 62, SECRET, RECIPIENT[:-1], RECIPIENT.upper(), bech32_encode("age", bytes(31)), "age1ä", "1"],
)
def test_a_wrong_recipient_is_a_mistake_of_the_caller_and_is_not_repeated(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        age.encrypt_bytes(b"x", recipients=[text])
    assert caught.value.code == "bad-recipient"
    assert len(text) < 5 or text not in str(caught.value)


def test_a_recipient_that_is_no_usable_key_is_refused() -> None:
    with pytest.raises(ConfigError):
        age.encrypt_bytes(b"x", recipients=[bech32_encode("age", bytes(32))])


@pytest.mark.parametrize("text", ["", RECIPIENT, SECRET.lower(), SECRET[:-1], SECRET[:-1] + "!"])
def test_a_wrong_identity_text_is_a_mistake_of_the_caller(text: str) -> None:
    for act in (lambda: age.recipient_of(text), lambda: age.decrypt_bytes(seal(b""), identities=[text])):
        with pytest.raises(ConfigError) as caught:
            act()
        assert caught.value.code == "bad-identity"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"passphrase": ""},
        {"passphrase": "\ud800"},
        {"passphrase": "x", "log_n": 0},
        {"passphrase": "x", "log_n": 21},
        {"passphrase": "x", "recipients": [RECIPIENT], "log_n": 2},
        {"recipients": [RECIPIENT] * 33},
    ],
)
def test_impossible_wishes_are_refused_before_sealing(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        age.encrypt_bytes(b"x", **options)


def test_identity_and_recipient_files_may_hold_comments() -> None:
    text = f"# created: today\r\n\n{SECRET}\r\n# x\n{OTHER.reveal()}"
    assert age.parse_identities(text) == (IDENTITY, OTHER)
    assert age.parse_recipients(f"# us\n{RECIPIENT}\n") == (RECIPIENT,)
    with pytest.raises(ConfigError):
        age.parse_identities("# nothing\n")


def test_plaintext_over_the_limit_is_refused_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = seal(bytes(1001))
    with pytest.raises(age.AgeTooLargeError) as caught:
        age.decrypt(io.BytesIO(sealed), io.BytesIO(), [SECRET], max_plain_bytes=1000)
    assert caught.value.code == "too-large"
    assert age.MAX_PLAIN_BYTES == 256 * 1024 * 1024
    monkeypatch.setattr(age, "MAX_PLAIN_BYTES", 1000)
    with pytest.raises(age.AgeTooLargeError):
        seal(bytes(1001))


def test_a_failing_disk_is_a_file_trouble() -> None:
    class Broken(io.BytesIO):
        def write(self, data: Any, /) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(FileTrouble, match="no space left"):
        age.encrypt(io.BytesIO(b"x"), Broken(), [RECIPIENT])
    with pytest.raises(FileTrouble, match="no space left"):
        age.decrypt(io.BytesIO(seal(b"x")), Broken(), [SECRET])


def test_no_object_and_no_error_shows_a_secret() -> None:
    key = age.encrypt(io.BytesIO(b"x"), io.BytesIO(), [RECIPIENT])
    canary = "canary passphrase"
    shown = [str(each) + repr(each) for each in (IDENTITY, key, age.Passphrase.of(canary), *key.stanzas)]
    attempts: list[dict[str, Any]] = [
        {"passphrase": canary},
        {"identities": [SECRET + "x"]},
        {"identities": [OTHER]},
        {"identities": [SECRET.lower()]},
    ]
    for keys in attempts:
        with pytest.raises(LockmigrateError) as caught:
            age.decrypt_bytes(seal(b"x"), **keys)
        shown.append(str(caught.value) + repr(caught.value) + str(caught.value.hint))
    secrets = [SECRET, OTHER.reveal(), canary, IDENTITY.raw.hex(), key.raw.hex(), repr(key.raw), repr(IDENTITY.raw)]
    everything = "\n".join(shown).lower()
    assert not [secret for secret in secrets if secret.lower() in everything]


# ---- other implementations ------------------------------------------------------------------------------------------


def run(*command: str | Path, stdin: bytes = b"") -> bytes:
    return subprocess.run(command, input=stdin, capture_output=True, check=True, timeout=30).stdout


@pytest.mark.peer
@needs_age
@pytest.mark.parametrize("armored", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_the_age_program_and_we_open_each_other_s_files(size: int, armored: bool, tmp_path: Path) -> None:
    key = tmp_path / "key.txt"
    key.write_text(SECRET + "\n")
    data = os.urandom(size)
    assert data == run("age", "-d", "-i", key, stdin=seal(data, armored=armored))
    theirs = run("age", "-r", RECIPIENT, *(["-a"] if armored else []), stdin=data)
    assert data == unseal(theirs)


@pytest.mark.peer
@needs_age_keygen
def test_age_keygen_and_we_agree_on_keys(tmp_path: Path) -> None:
    identity = tmp_path / "identity.txt"
    identity.write_text(SECRET + "\n")
    assert run("age-keygen", "-y", identity).decode().strip() == RECIPIENT
    (made,) = age.parse_identities(run("age-keygen").decode())
    identity.write_text(made.reveal() + "\n")
    assert run("age-keygen", "-y", identity).decode().strip() == str(made.recipient)


@pytest.mark.peer
@needs_age
@needs_pty
def test_the_age_program_opens_our_passphrase_file(tmp_path: Path) -> None:
    sealed, plain = tmp_path / "x.age", tmp_path / "x"
    sealed.write_bytes(age.encrypt_bytes(b"hello", passphrase=PASSPHRASE, log_n=10, armored=True))
    type_passphrase(["age", "-d", "-o", plain, sealed], PASSPHRASE, 1)
    assert plain.read_bytes() == b"hello"


@pytest.mark.peer
@needs_age
@needs_pty
@pytest.mark.at_once(seconds=2)
def test_we_open_a_passphrase_file_of_the_age_program(tmp_path: Path) -> None:
    sealed, plain = tmp_path / "x.age", tmp_path / "x"
    plain.write_bytes(b"hello")
    type_passphrase(["age", "-p", "-o", sealed, plain], PASSPHRASE, 2)
    assert age.decrypt_bytes(sealed.read_bytes(), passphrase=PASSPHRASE) == b"hello"


@pytest.mark.peer
@needs_pyrage
@pytest.mark.parametrize("armored", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_pyrage_and_we_open_each_other_s_files(size: int, armored: bool) -> None:
    data = os.urandom(size)
    identity, other = (pyrage.x25519.Identity.from_str(each.reveal()) for each in (IDENTITY, OTHER))
    assert str(identity.to_public()) == RECIPIENT
    ours = age.encrypt_bytes(data, recipients=[RECIPIENT, str(OTHER.recipient)], armored=armored)
    assert data == pyrage.decrypt(ours, [identity]) == pyrage.decrypt(ours, [other])
    theirs = pyrage.encrypt(data, [other.to_public(), identity.to_public()], armored=armored)
    assert data == unseal(theirs) == age.decrypt_bytes(theirs, identities=[OTHER])


@pytest.mark.peer
@needs_pyrage
def test_pyrage_opens_our_passphrase_files() -> None:
    sealed = age.encrypt_bytes(b"x", passphrase=PASSPHRASE, log_n=8)
    assert pyrage.passphrase.decrypt(sealed, PASSPHRASE) == b"x"
