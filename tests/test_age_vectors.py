"""The public age test vectors (C2SP/CCTV, `age/testdata`): all 143, each with the kind of result that it demands.

They come at test time from the npm package `cctv-age`, which holds the same files; nothing of them is stored here.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import shutil
import subprocess
import tarfile
import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import pytest

from lockmigrate.errors import BackupError, WrongKeyError
from lockmigrate.formats import age

PACKAGE: Final = "cctv-age"
PATIENCE: Final = ["--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=20000"]
"""Without a network npm would try for minutes."""
VERSION: Final = "0.2.0"
KINDS: Final[dict[str, tuple[int, type[BackupError] | None]]] = {
    "success": (26, None),
    "header failure": (62, age.AgeHeaderError),
    "armor failure": (22, age.AgeArmorError),
    "payload failure": (19, age.AgePayloadError),
    "no match": (13, age.AgeNoMatchError),
    "HMAC failure": (1, age.AgeMacError),
}
"""What the vectors expect, how many of each there are, and the error that we call it."""

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("npm") is None, reason=f"npm, which gets the package {PACKAGE}, is not installed"),
]


@dataclass(frozen=True)
class Vector:
    """One file of `age/testdata`: lines of `key: value`, an empty line, then an age file, packed or not."""

    name: str
    fields: dict[str, list[str]] = field(repr=False)
    file: bytes = field(repr=False)

    @classmethod
    def parse(cls, name: str, raw: bytes) -> Vector:
        head, _, body = raw.partition(b"\n\n")
        fields: dict[str, list[str]] = {}
        for line in head.decode("ascii").splitlines():
            key, _, value = line.partition(": ")
            fields.setdefault(key, []).append(value)
        if "compressed" in fields:
            assert fields["compressed"] == ["zlib"]
            body = zlib.decompress(body)
        return cls(name, fields, body)

    def one(self, key: str) -> str | None:
        values = self.fields.get(key, [None])
        assert len(values) == 1
        return values[0]

    @property
    def expect(self) -> str:
        return self.one("expect") or ""

    def keys(self) -> list[age.Identity]:
        keys: list[age.Identity] = [age.parse_identity(text) for text in self.fields.get("identity", [])]
        return keys + [age.Passphrase.of(text) for text in self.fields.get("passphrase", [])]


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> list[Vector]:
    folder = tmp_path_factory.mktemp("vectors")
    command = ["npm", "pack", f"{PACKAGE}@{VERSION}", "--silent", "--ignore-scripts", *PATIENCE]
    try:
        subprocess.run(command, cwd=folder, capture_output=True, check=True, timeout=60)
    except (subprocess.SubprocessError, OSError):
        pytest.skip(f"npm cannot get the package {PACKAGE} {VERSION}")
    with tarfile.open(folder / f"{PACKAGE}-{VERSION}.tgz") as packed:
        member = packed.extractfile("package/index.js")
        assert member is not None
        script = member.read().decode("utf-8")
    found = re.findall(r'^// \S*testdata/(\S+)\nvar \w+ = __toBinary\("([A-Za-z0-9+/=]*)"\);', script, re.MULTILINE)
    return [Vector.parse(name, base64.b64decode(text)) for name, text in found]


def outcome(vector: Vector, *, told: bool) -> tuple[str, bytes]:
    """The kind of result and what the streaming call had given out by then.

    Args:
        told: whether we are told that the file is armored, or have to look.
    """
    given_out = io.BytesIO()
    armored = vector.one("armored") == "yes" if told else None
    try:
        age.decrypt(io.BytesIO(vector.file), given_out, vector.keys(), armored=armored)
    except BackupError as error:
        kinds = [kind for kind, (_, error_type) in KINDS.items() if type(error) is error_type]
        return (kinds or [type(error).__name__])[0], given_out.getvalue()
    return "success", given_out.getvalue()


def test_all_143_vectors_are_here(vectors: list[Vector]) -> None:
    assert len(vectors) == len({vector.name for vector in vectors}) == 143
    assert Counter(vector.expect for vector in vectors) == {kind: count for kind, (count, _) in KINDS.items()}
    assert sum("compressed" in vector.fields for vector in vectors) == 22
    assert sum(vector.name.startswith("hybrid") for vector in vectors) == 18


@pytest.mark.parametrize("told", [True, False], ids=["told that it is armored", "looking"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_vector_ends_as_it_must(kind: str, told: bool, vectors: list[Vector]) -> None:
    wrong = {}
    chosen = [vector for vector in vectors if vector.expect == kind]
    for vector in chosen:
        ended, _ = outcome(vector, told=told)
        if ended != kind:
            wrong[vector.name] = ended
    assert not wrong
    assert len(chosen) == KINDS[kind][0]


def test_what_was_given_out_before_a_failure_is_what_the_vector_allows(vectors: list[Vector]) -> None:
    """The streaming call writes authenticated chunks to a sink that must wait; a vector's hash says how far it may get.

    Without a hash, nothing may have been written.
    """
    wrong = {}
    for vector in vectors:
        _, given_out = outcome(vector, told=True)
        allowed = vector.one("payload") or hashlib.sha256(b"").hexdigest()
        if hashlib.sha256(given_out).hexdigest() != allowed:
            wrong[vector.name] = len(given_out)
    assert not wrong
    assert sum(vector.one("payload") is not None and vector.expect != "success" for vector in vectors) > 10


def test_the_call_that_returns_bytes_gives_out_nothing_before_the_end(vectors: list[Vector]) -> None:
    """Backups are opened this way: the whole plaintext, once the last chunk is authenticated, or an error."""
    for vector in vectors:
        if vector.expect == "success":
            plain = age.decrypt_bytes(vector.file, identities=vector.keys())
            assert hashlib.sha256(plain).hexdigest() == vector.one("payload"), vector.name
        else:
            with pytest.raises(BackupError) as caught:
                age.decrypt_bytes(vector.file, identities=vector.keys())
            assert isinstance(caught.value, WrongKeyError) is (vector.expect == "no match"), vector.name
            assert caught.value.exit_code in {6, 7}
