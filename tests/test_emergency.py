"""In an emergency a backup opens, and is checked, with age, tar, ssh-keygen and sha256sum alone: no code of ours.

The transcript below is what docs/backup-format.md prints; the test runs it line by line.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from shutil import which
from typing import Final

import pytest
from typing_at import type_passphrase

PASSPHRASE: Final = "a passphrase of the test suite"
PROGRAMS: Final = ("age", "tar", "ssh-keygen", "sha256sum", "sh")

DECRYPT_IDENTITY: Final = "age -d -o key.txt keys/identity.age"
TRANSCRIPT: Final = [
    ("mkdir opened", ""),
    ("age -d -i key.txt x.age | tar -x -C opened", ""),
    (
        "cd opened && ssh-keygen -Y verify -f ../keys/allowed_signers -I operator -n lockmigrate-backup-v1"
        " -s manifest.json.sig < manifest.json",
        r'Good "lockmigrate-backup-v1" signature for operator with ED25519 key SHA256:[A-Za-z0-9+/]{43}\n',
    ),
    ("cd opened && LIST manifest.json | sha256sum -c --strict", r"((raw|records)/[a-z0-9_.-]+: OK\n)+"),
]
"""Command and what it prints; LIST is one of `LISTERS`."""

LISTERS: Final = {
    "jq": "jq -r '.entries[] | .sha256 + \"  \" + .name'",
    "python": f"{sys.executable} -c 'import json, sys\n"
    'for e in json.load(open(sys.argv[1]))["entries"]: print(e["sha256"] + "  " + e["name"])\'',
}
"""Two ways to print the manifest's list as sha256sum wants it."""

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(sys.platform == "win32", reason="this system has no pty to type a passphrase on"),
    *[pytest.mark.skipif(which(name) is None, reason=f"the program `{name}` is not installed") for name in PROGRAMS],
]


def sh(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )


def program(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "lockmigrate", *arguments, "--config-dir", "keys", "--passphrase-file", "words"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of a simulated module, and its keys; then the identity, unlocked by age itself."""
    folder = tmp_path_factory.mktemp("emergency")
    (folder / "words").write_text(PASSPHRASE + "\n", encoding="utf-8")
    (folder / "words").chmod(0o600)
    program(folder, "keys", "init")
    program(folder, "backup", "sim://r503/half", "-o", "x.age")
    words = DECRYPT_IDENTITY.split()
    identity, locked = folder / words[3], folder / words[4]
    type_passphrase([*words[:3], identity, locked], PASSPHRASE, 1)
    return folder


def test_the_unlocked_identity_is_an_ordinary_age_identity(folder: Path) -> None:
    assert re.search(r"^AGE-SECRET-KEY-1[0-9A-Z]{58}$", (folder / "key.txt").read_text(), re.MULTILINE)


@pytest.mark.parametrize("lister", LISTERS)
def test_a_backup_is_opened_and_checked_with_common_programs_alone(lister: str, folder: Path) -> None:
    if which(lister) is None and lister == "jq":
        pytest.skip("the program `jq` is not installed")
    sh(folder, "rm -rf opened")
    printed = ""
    for command, expected in TRANSCRIPT:
        done = sh(folder, command.replace("LIST", LISTERS[lister]))
        assert (done.returncode, done.stderr) == (0, ""), command
        assert re.fullmatch(expected, done.stdout), command
        printed += done.stdout
    # Every file that was unpacked was checked, and the fingerprints are there, as the module gave them.
    opened = folder / "opened"
    unpacked = {str(path.relative_to(opened)) for path in opened.rglob("*") if path.is_file()}
    checked = set(re.findall(r"^(\S+): OK$", printed, re.MULTILINE))
    assert checked == unpacked - {"manifest.json", "manifest.json.sig"}
    manifest = json.loads((opened / "manifest.json").read_bytes())
    assert manifest["counts"]["fingerprints"] > 10
    credentials = (opened / "records" / "credentials.jsonl").read_text().splitlines()
    assert len(credentials) == manifest["counts"]["fingerprints"]
    template = json.loads(credentials[0])["data"]["template"]
    assert len((opened / "raw" / "0006-templates.bin").read_bytes()) >= template["offset"] + template["size"]


def test_the_common_programs_notice_a_change(folder: Path) -> None:
    """Else their good words above would mean nothing."""
    sh(folder, "rm -rf opened")
    for command, _ in TRANSCRIPT[:2]:
        sh(folder, command)
    table, manifest = folder / "opened" / "raw" / "0006-templates.bin", folder / "opened" / "manifest.json"
    data = bytearray(table.read_bytes())
    data[100] ^= 1
    table.write_bytes(data)
    listing = sh(folder, TRANSCRIPT[3][0].replace("LIST", LISTERS["python"]))
    assert listing.returncode != 0
    assert "raw/0006-templates.bin: FAILED" in listing.stdout
    manifest.write_bytes(manifest.read_bytes().replace(b'"users": 0', b'"users": 1'))
    assert sh(folder, TRANSCRIPT[2][0]).returncode != 0
    (folder / "cut.age").write_bytes((folder / "x.age").read_bytes()[:-1])
    assert sh(folder, "age -d -i key.txt cut.age > /dev/null").returncode != 0
