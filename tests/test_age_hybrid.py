"""Post-quantum age keys (mlkem768x25519): they open, they never weaken to X25519, and a lack of support is said."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from shutil import which
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lockmigrate.errors import BackupError, ConfigError, WrongKeyError
from lockmigrate.formats import age, backup
from lockmigrate.formats.age_header import INTRO, ByteReader, Stanza, b64_encode, read_header
from lockmigrate.formats.bech32 import bech32_encode

try:
    CLASSIC, HYBRID = age.X25519Identity(bytes(range(32))), age.HybridIdentity(bytes(range(32)))
    SECRET, RECIPIENT = HYBRID.reveal(), str(HYBRID.recipient)
except ConfigError:
    pytest.skip("the OpenSSL that cryptography brings here has no ML-KEM-768", allow_module_level=True)

KIND = b"mlkem768x25519"
SUPPORT = "cryptography.hazmat.primitives.asymmetric.mlkem"


def mixed(data: bytes) -> bytes:
    """A file for both kinds, which we never write: put together by hand."""
    parts = io.BytesIO()
    key = bytes(range(16))
    stanzas = (CLASSIC.recipient.wrap(key), HYBRID.recipient.wrap(key))
    age._write(io.BytesIO(data), parts, key, stanzas)
    return parts.getvalue()


def with_stanza(stanza: Stanza) -> bytes:
    return INTRO + stanza.marshal() + b"--- " + b"A" * 43 + b"\n" + bytes(32)


# ---- keys -----------------------------------------------------------------------------------------------------------


def test_a_generated_post_quantum_key_has_the_published_form_and_opens_its_files() -> None:
    secret = age.generate_identity(post_quantum=True)
    recipient = age.recipient_of(secret)
    assert secret.startswith("AGE-SECRET-KEY-PQ-1")
    assert recipient.startswith("age1pq1")
    for size in (0, 1, 65_536, 65_537):
        data = os.urandom(size)
        for armored in (False, True):
            sealed = age.encrypt_bytes(data, recipients=[recipient], armored=armored)
            assert age.decrypt_bytes(sealed, identities=[secret]) == data


def test_the_ordinary_key_stays_the_default() -> None:
    assert age.generate_identity().startswith("AGE-SECRET-KEY-1")
    assert isinstance(age.generate_secret_key(), age.X25519Identity)
    assert isinstance(age.generate_secret_key(post_quantum=True), age.HybridIdentity)


def test_identity_and_recipient_files_may_hold_both_kinds() -> None:
    assert age.parse_identities(f"# x\n{CLASSIC.reveal()}\n{SECRET}\n") == (CLASSIC, HYBRID)
    assert age.parse_recipients(f"{RECIPIENT}\n{CLASSIC.recipient}\n") == (RECIPIENT, str(CLASSIC.recipient))


def test_text_and_key_are_two_forms_of_one_thing() -> None:
    assert age.parse_identity(SECRET) == HYBRID
    assert age.parse_recipient(RECIPIENT) == HYBRID.recipient
    assert len(HYBRID.recipient.raw) == 1216


@pytest.mark.parametrize(
    "text",
    [
        RECIPIENT[:-1],
        RECIPIENT.upper(),
        SECRET,
        bech32_encode("age1pq", bytes(1215)),
        bech32_encode("age1pq", HYBRID.recipient.raw[:1184] + bytes(32)),
        bech32_encode("age1pq", b"\xff" * 1184 + HYBRID.recipient.raw[1184:]),
    ],
    ids=["cut", "capitals", "secret", "short", "low order", "not reduced"],
)
def test_a_wrong_recipient_is_a_mistake_of_the_caller_and_is_not_repeated(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        age.encrypt_bytes(b"x", recipients=[text])
    assert caught.value.code == "bad-recipient"
    assert text not in str(caught.value)


@pytest.mark.parametrize("text", [SECRET[:-1], SECRET.lower(), bech32_encode("AGE-SECRET-KEY-PQ-", bytes(31))])
def test_a_wrong_identity_text_is_a_mistake_of_the_caller(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        age.parse_identity(text)
    assert caught.value.code == "bad-identity"
    assert text not in str(caught.value)


def test_a_secret_never_shows() -> None:
    shown = str(HYBRID) + repr(HYBRID) + repr([HYBRID])
    assert SECRET not in shown
    assert "\\x" not in shown


# ---- files ----------------------------------------------------------------------------------------------------------


def test_a_post_quantum_recipient_never_shares_a_file_with_another_kind() -> None:
    """Beside an X25519 stanza it would protect nothing."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    pairs: list[list[str | age.Recipient]] = [
        [RECIPIENT, str(CLASSIC.recipient)],
        [age.Passphrase.of("x", log_n=2), RECIPIENT],
    ]
    for others in pairs:
        with pytest.raises(ConfigError, match="share one file"):
            age.encrypt_bytes(b"x", recipients=others)
        with pytest.raises(ConfigError, match="share one file"):
            backup.seal({}, {}, recipients=others, signing_key=key)


def test_a_mix_written_by_somebody_else_is_read() -> None:
    for identity in (CLASSIC.reveal(), SECRET):
        assert age.decrypt_bytes(mixed(b"hello"), identities=[identity]) == b"hello"


def test_several_post_quantum_recipients_open_one_file() -> None:
    other = age.generate_identity(post_quantum=True)
    sealed = age.encrypt_bytes(b"x", recipients=[RECIPIENT, age.recipient_of(other)])
    assert age.decrypt_bytes(sealed, identities=[other]) == age.decrypt_bytes(sealed, identities=[SECRET]) == b"x"
    assert [stanza.kind for stanza in read_header(ByteReader(io.BytesIO(sealed))).stanzas] == [KIND, KIND]


def test_thirty_two_post_quantum_recipients_fit_in_a_header() -> None:
    sealed = age.encrypt_bytes(b"x", recipients=[HYBRID.recipient] * 32)
    assert age.decrypt_bytes(sealed, identities=[HYBRID]) == b"x"


def test_a_key_that_does_not_fit_is_a_wrong_key() -> None:
    sealed = age.encrypt_bytes(b"x", recipients=[RECIPIENT])
    for identity in (age.generate_identity(post_quantum=True), CLASSIC.reveal()):
        with pytest.raises(WrongKeyError) as caught:
            age.decrypt_bytes(sealed, identities=[identity])
        assert (caught.value.exit_code, caught.value.code) == (7, "wrong-key")


ENC = HYBRID.recipient.wrap(bytes(16)).args[1]
GOOD = read_header(ByteReader(io.BytesIO(age.encrypt_bytes(b"", recipients=[RECIPIENT])))).stanzas[0]
LOW_ORDER = [bytes(32), b"\x01" + bytes(31)]


def enc_with(share: bytes) -> bytes:
    import base64

    raw = base64.b64decode(GOOD.args[1] + b"=" * (-len(GOOD.args[1]) % 4))
    return b64_encode(raw[:1088] + share)


@pytest.mark.parametrize(
    "stanza",
    [
        Stanza((KIND,), GOOD.body),
        Stanza((*GOOD.args, b"more"), GOOD.body),
        Stanza((KIND, GOOD.args[1] + b"="), GOOD.body),
        Stanza((KIND, b64_encode(bytes(1119))), GOOD.body),
        Stanza(GOOD.args, GOOD.body[:-1]),
        Stanza(GOOD.args, GOOD.body + b"x"),
        *[Stanza((KIND, enc_with(share)), GOOD.body) for share in LOW_ORDER],
    ],
    ids=["no share", "three", "padded", "short share", "short body", "long body", "zero", "low order"],
)
def test_a_malformed_or_low_order_stanza_refuses_the_whole_file(stanza: Stanza) -> None:
    """HPKE itself reports a low-order X25519 half as an ordinary wrong key: the exchange is tried first."""
    with pytest.raises(age.AgeHeaderError) as caught:
        age.decrypt_bytes(with_stanza(stanza), identities=[SECRET])
    assert (caught.value.exit_code, caught.value.code) == (6, "not-a-backup")


def test_a_changed_byte_anywhere_in_the_stanza_is_refused() -> None:
    sealed = age.encrypt_bytes(b"x", recipients=[RECIPIENT])
    for at in range(0, len(sealed), 13):
        flipped = bytearray(sealed)
        flipped[at] ^= 1 << at % 8
        with pytest.raises(BackupError) as caught:
            age.decrypt_bytes(bytes(flipped), identities=[SECRET])
        assert caught.value.exit_code in {6, 7}


def test_a_backup_is_sealed_for_post_quantum_recipients() -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    sealed, file_key = backup.seal({}, {"raw/x": b"1"}, recipients=[RECIPIENT], signing_key=key)
    for identity in (SECRET, file_key):
        assert backup.open_backup(sealed, identities=[identity]).entries == {"raw/x": b"1"}


# ---- without support ------------------------------------------------------------------------------------------------


def unsupported(*_: Any) -> None:
    raise UnsupportedAlgorithm("no ML-KEM here")


WITHOUT = [
    SimpleNamespace(
        MLKEM768PrivateKey=SimpleNamespace(from_seed_bytes=unsupported),
        MLKEM768PublicKey=SimpleNamespace(from_public_bytes=unsupported),
    ),
    None,
    SimpleNamespace(),
]


@pytest.mark.parametrize("module", WITHOUT, ids=["an OpenSSL without it", "no module", "no class"])
def test_an_installation_without_ml_kem_says_so_and_never_falls_back(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed, both = age.encrypt_bytes(b"x", recipients=[RECIPIENT]), mixed(b"x")
    monkeypatch.setitem(sys.modules, SUPPORT, module)
    for act in (
        lambda: age.generate_identity(post_quantum=True),
        lambda: age.recipient_of(SECRET),
        lambda: age.parse_recipient(RECIPIENT),
        lambda: age.encrypt_bytes(b"x", recipients=[RECIPIENT]),
        lambda: age.decrypt_bytes(sealed, identities=[SECRET]),
        lambda: age.decrypt_bytes(both, identities=[SECRET]),
    ):
        with pytest.raises(ConfigError, match="no post-quantum support") as caught:
            act()
        assert (caught.value.exit_code, caught.value.code) == (2, "no-post-quantum")
        assert caught.value.hint


def test_ordinary_files_open_without_support_even_if_a_post_quantum_key_is_at_hand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sealed = age.encrypt_bytes(b"x", recipients=[str(CLASSIC.recipient)])
    monkeypatch.setitem(sys.modules, SUPPORT, None)
    assert age.decrypt_bytes(sealed, identities=[SECRET, CLASSIC.reveal()]) == b"x"


@pytest.mark.at_once
def test_ordinary_use_does_not_import_the_post_quantum_parts() -> None:
    script = (
        "import sys; from lockmigrate.formats import age; key = age.generate_identity();"
        "age.decrypt_bytes(age.encrypt_bytes(b'', recipients=[age.recipient_of(key)]), identities=[key]);"
        "sys.exit(any(name.endswith(('.hpke', '.mlkem')) for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)


# ---- another implementation -----------------------------------------------------------------------------------------

PATIENCE = ["--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=20000"]
"""Without a network npm would try for minutes."""
TYPAGE = "age-encryption@0.3.1"
SCRIPT = """
import { readFileSync, writeFileSync } from "node:fs";
import { Decrypter, Encrypter, identityToRecipient } from "age-encryption";
const [secret, given, ...folders] = process.argv.slice(2);
if (await identityToRecipient(secret) !== given) throw new Error("the recipient differs");
for (const folder of folders) {
  const decrypter = new Decrypter();
  decrypter.addIdentity(secret);
  writeFileSync(`${folder}/plain`, await decrypter.decrypt(readFileSync(`${folder}/ours`)));
  const encrypter = new Encrypter();
  encrypter.addRecipient(given);
  writeFileSync(`${folder}/theirs`, await encrypter.encrypt(readFileSync(`${folder}/plain`)));
}
"""
SIZES = (0, 1, 100, 65_535, 65_536, 65_537, 131_072, 131_073, 1_000_000)


@pytest.fixture(scope="module")
def typage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each size, with our file, and with what the TypeScript implementation by age's author made of it.

    Its package is got at test time from npm.
    """
    if which("npm") is None or which("node") is None:
        pytest.skip("npm and node, which get and run the package age-encryption, are not installed")
    folder = tmp_path_factory.mktemp("typage")
    (folder / "package.json").write_text("{}", encoding="utf-8")
    command = ["npm", "install", TYPAGE, "--silent", "--ignore-scripts", "--no-audit", "--no-fund", *PATIENCE]
    try:
        subprocess.run(command, cwd=folder, capture_output=True, check=True, timeout=60)
    except (subprocess.SubprocessError, OSError):
        pytest.skip(f"npm cannot get the package {TYPAGE}")
    (folder / "peer.mjs").write_text(SCRIPT, encoding="utf-8")
    for size in SIZES:
        (folder / str(size)).mkdir()
        data = os.urandom(size)
        (folder / str(size) / "data").write_bytes(data)
        (folder / str(size) / "ours").write_bytes(age.encrypt_bytes(data, recipients=[RECIPIENT]))
    command = ["node", "peer.mjs", SECRET, RECIPIENT, *map(str, SIZES)]
    subprocess.run(command, cwd=folder, capture_output=True, check=True, timeout=60)
    return folder


@pytest.mark.peer
@pytest.mark.parametrize("size", SIZES)
def test_typage_and_we_agree_on_keys_and_open_each_other_s_files(size: int, typage: Path) -> None:
    """The vectors show that we read what others write; this, that others read what we write."""
    data, plain, theirs = ((typage / str(size) / name).read_bytes() for name in ("data", "plain", "theirs"))
    assert len(data) == size
    assert plain == data
    assert age.decrypt_bytes(theirs, identities=[SECRET]) == data
