"""Everything that goes wrong at a door: a named error with a hint, the right exit code, nothing half-written."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lockmigrate.cli import main
from lockmigrate.profiles import load_profile
from lockmigrate.sim import open_unit
from lockmigrate.vault.keys import create_keys

PASSPHRASE = "correct horse battery staple"
needs_pty = pytest.mark.skipif(not hasattr(os, "openpty"), reason="this system has no pseudo terminals")


def made_keys(folder: Path) -> list[str]:
    """Make a config directory with keys and a passphrase file; return the options that unlock them."""
    create_keys(folder / "config", PASSPHRASE, generated=False, log_n=10)
    (folder / "passphrase").write_text(PASSPHRASE, encoding="utf-8")
    (folder / "passphrase").chmod(0o600)
    return ["--passphrase-file", str(folder / "passphrase")]


class Desk:
    """A config directory, and the program run in this process."""

    def __init__(self, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capfd = capfd
        self.keys = made_keys(folder)

    def run(self, *arguments: str, expect: int, keys: bool = False) -> Any:
        """Run with --json; return the document and check the contract of errors."""
        given = [*arguments, "--json", "--config-dir", str(self.folder / "config"), *(self.keys if keys else [])]
        self._capfd.readouterr()
        code = main(given)
        return document_of(arguments, code, *self._capfd.readouterr(), expect=expect)


def document_of(arguments: Sequence[str], code: int, out: str, err: str, *, expect: int) -> Any:
    """Return the document that a run printed, and check the contract of errors."""
    assert code == expect, f"{arguments}: exit {code}\n{out}\n{err}"
    assert "Traceback" not in err
    if expect in (0, 8, 9):
        return json.loads(out)
    if arguments[0] not in ("plan", "show", "verify") or expect != 10:
        assert out == ""
    document = json.loads(err.strip().splitlines()[-1])
    assert document["schema"] == "lockmigrate.error/1"
    assert document["exit"] == expect
    assert document["message"]
    return document


def run_apart(folder: Path, *arguments: str, expect: int) -> Any:
    """Run with --json in a process of its own; return the document and check the contract of errors."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOCKMIGRATE_")}
    command = [sys.executable, "-m", "lockmigrate", *arguments, "--json", "--config-dir", str(folder / "config")]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=120, check=False
    )
    return document_of(arguments, done.returncode, done.stdout, done.stderr, expect=expect)


@pytest.fixture
def desk(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("LOCKMIGRATE_")]:
        monkeypatch.delenv(name)
    return Desk(tmp_path, capfd)


@contextlib.contextmanager
def talking_port(answer: bytes) -> Iterator[str]:
    """A pseudo terminal with something on it that answers everything with the same bytes; empty: silence."""
    import tty

    master, slave = os.openpty()
    tty.setraw(slave)
    stop = threading.Event()

    def talk() -> None:
        with contextlib.suppress(OSError):
            while not stop.is_set():
                if os.read(master, 4096) and answer:
                    os.write(master, answer)

    thread = threading.Thread(target=talk, daemon=True)
    thread.start()
    try:
        yield os.ttyname(slave)
    finally:
        stop.set()
        os.write(slave, b"\n")
        thread.join(2)
        os.close(slave)
        os.close(master)


@pytest.mark.parametrize("target", ["serial:///dev/ttyNOTHERE", "serial://COM99", "serial://socket://127.0.0.1:1"])
def test_a_missing_port_is_exit_3_with_a_hint(desk: Desk, target: str) -> None:
    error = desk.run("info", target, expect=3)
    assert error["code"] in ("not-found", "open-failed")
    assert error["hint"]
    assert error["target"] == target


def test_a_file_is_no_port(desk: Desk) -> None:
    (desk.folder / "notes.txt").write_text("x", encoding="utf-8")
    error = desk.run("info", f"serial://{desk.folder / 'notes.txt'}", expect=3)
    assert error["hint"]


@needs_pty
@pytest.mark.at_once(seconds=14)
def test_a_silent_port_is_exit_5_and_says_what_to_check(tmp_path: Path) -> None:
    with talking_port(b"") as port:
        error = run_apart(tmp_path, "info", f"serial://{port}", expect=5)
    assert error["code"] == "no-answer"
    for word in ("TX", "RX", "3.3 V", "reset"):
        assert word in error["hint"]


@needs_pty
@pytest.mark.at_once(seconds=5)
def test_a_device_of_another_family_is_exit_3(tmp_path: Path) -> None:
    with talking_port(bytes.fromhex("f500000000f5") + b"hello from another world\r\n") as port:
        error = run_apart(tmp_path, "info", f"serial://{port}?baud=57600", expect=3)
    assert error["code"] == "unknown-unit"


def test_a_wrong_password_is_exit_4_and_is_not_tried_again(desk: Desk) -> None:
    secret = "deadbeef"
    (desk.folder / "wrong.toml").write_text(f'[ef01]\npassword = "{secret}"\n', encoding="utf-8")
    error = desk.run(
        "info", "sim://r503/full?password=01020304", "--credential-file", str(desk.folder / "wrong.toml"), expect=4
    )
    assert error["code"] == "wrong-credential"
    assert secret not in json.dumps(error)


def test_a_wrong_profile_is_exit_2(desk: Desk) -> None:
    error = desk.run("info", "sim://r503/full", "--profile", "hlk-zw101", expect=2)
    assert error["code"] == "wrong-profile"
    assert error["hint"]


def test_an_encrypted_module_is_exit_4_and_leaves_no_file(desk: Desk) -> None:
    error = desk.run("backup", "sim://hlk-zw101/full?encryption=1", "-o", "x.age", keys=True, expect=4)
    assert error["code"] == "encryption-level"
    assert not (desk.folder / "x.age").exists()


def test_a_target_that_holds_others_needs_a_choice_and_is_backed_up_first(desk: Desk) -> None:
    state = desk.folder / "state"
    desk.run("backup", "sim://r503/half?fill=4", "-o", "a.age", keys=True, expect=0)
    target = f"sim://r503/full?fill=3&seed=9&state={state}"
    error = desk.run("restore", "a.age", target, keys=True, expect=10)
    assert error["code"] == "target-not-empty"
    others = open_unit(load_profile("r503"), "empty", {}, state=state).flash.templates
    done = desk.run("restore", "a.age", target, "--existing", "replace", keys=True, expect=0)
    assert set(done["removed"]) <= {f"fingerprint/{slot}" for slot in others}
    assert Path(done["before"]).name.startswith("before-restore-")
    shown = desk.run("show", done["before"], keys=True, expect=0)
    assert shown["counts"]["fingerprints"] == len(others)
    now = open_unit(load_profile("r503"), "empty", {}, state=state).flash.templates
    assert len(now) == 4


def test_a_replacement_of_another_kind_is_exit_10_and_stays_untouched(desk: Desk) -> None:
    state = desk.folder / "state"
    desk.run("backup", "sim://r503/half?fill=4", "-o", "a.age", keys=True, expect=0)
    error = desk.run("restore", "a.age", f"sim://hlk-zw111/empty?state={state}", keys=True, expect=10)
    assert error["code"] == "wrong-target"
    assert open_unit(load_profile("hlk-zw111"), "empty", {}, state=state).flash.templates == {}


def test_a_full_target_with_merge_says_which_slots_are_taken(desk: Desk) -> None:
    desk.run("backup", "sim://r503/full?fill=5&slots=5", "-o", "a.age", keys=True, expect=0)
    error = desk.run("restore", "a.age", "sim://r503/full?slots=5&seed=3", "--existing", "merge", keys=True, expect=10)
    assert error["code"] == "plan-blocked"


def test_damaged_foreign_and_missing_files_have_their_own_errors(desk: Desk) -> None:
    desk.run("backup", "sim://r503/half?fill=2", "-o", "a.age", keys=True, expect=0)
    whole = (desk.folder / "a.age").read_bytes()
    (desk.folder / "cut.age").write_bytes(whole[:-1])
    (desk.folder / "flipped.age").write_bytes(whole[:40000] + bytes([whole[40000] ^ 1]) + whole[40001:])
    (desk.folder / "zip.age").write_bytes(b"PK\x03\x04" + bytes(100))
    (desk.folder / "empty.age").write_bytes(b"")
    (desk.folder / "folder.age").mkdir()
    for name, codes in {
        "cut.age": {"corrupt"},
        "flipped.age": {"corrupt"},
        "zip.age": {"not-a-backup"},
        "empty.age": {"not-a-backup"},
        "folder.age": {"not-a-backup"},
    }.items():
        for command in ("show", "verify"):
            assert desk.run(command, name, keys=True, expect=6)["code"] in codes
        error = desk.run("restore", name, "sim://r503/empty", keys=True, expect=6)
        assert error["code"] in codes
    desk.run("show", "missing.age", keys=True, expect=2)


def test_the_wrong_passphrase_and_the_wrong_key_are_exit_7(desk: Desk) -> None:
    desk.run("backup", "sim://r503/half?fill=2", "-o", "a.age", keys=True, expect=0)
    (desk.folder / "other").write_text("not the right passphrase", encoding="utf-8")
    (desk.folder / "other").chmod(0o600)
    wrong = ["--passphrase-file", str(desk.folder / "other")]
    assert desk.run("show", "a.age", *wrong, expect=7)["code"] == "wrong-key"
    error = desk.run("backup", "sim://r503/half", "-o", "b.age", *wrong, expect=7)
    assert error["code"] == "wrong-key"
    assert not (desk.folder / "b.age").exists()
    create_keys(desk.folder / "stranger", PASSPHRASE, generated=False, log_n=10)
    code = main(["show", "a.age", "--config-dir", str(desk.folder / "stranger"), *desk.keys])
    assert code == 7


def test_no_identity_anywhere_says_where_it_looked(desk: Desk) -> None:
    desk.run("backup", "sim://r503/half?fill=2", "-o", "a.age", keys=True, expect=0)
    with contextlib.suppress(FileNotFoundError):
        (desk.folder / "config" / "identity.age").unlink()
    error = desk.run("show", "a.age", keys=True, expect=7)
    assert error["code"] == "no-identity"
    assert "identity.age" in error["message"] + error["hint"]


def test_an_existing_file_is_not_replaced(desk: Desk) -> None:
    (desk.folder / "a.age").write_text("precious", encoding="utf-8")
    error = desk.run("backup", "sim://r503/half?fill=2", "-o", "a.age", keys=True, expect=2)
    assert error["code"] == "file-exists"
    assert (desk.folder / "a.age").read_text(encoding="utf-8") == "precious"


def test_a_script_that_names_no_unit_or_another_one_writes_nothing(desk: Desk) -> None:
    state = desk.folder / "state"
    target = f"sim://r503/full?fill=3&state={state}"
    before = open_unit(load_profile("r503"), "full", {"fill": "3"}, state=state).image()
    error = desk.run("wipe", target, "--confirm", "00000000", "--no-backup", expect=2)
    assert error["code"] == "wrong-confirm"
    assert open_unit(load_profile("r503"), "full", {}, state=state).image() == before


@needs_pty
@pytest.mark.at_once(seconds=2)
@pytest.mark.parametrize(("lines", "stage"), [(0, None), (1, "notepad"), (20, "fingerprints")])
def test_ctrl_c_during_a_backup_is_exit_130_and_leaves_nothing(tmp_path: Path, lines: int, stage: str | None) -> None:
    """While the program starts, at its first word of progress, and among the templates."""
    keys = made_keys(tmp_path)
    command = [sys.executable, "-m", "lockmigrate", "backup", "sim://r503/full?fill=40&pace=1", "-o", "x.age"]
    command += ["--config-dir", str(tmp_path / "config"), *keys, "--progress", "json"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        if not lines:
            time.sleep(0.3)
        told = [json.loads(process.stderr.readline()) for _ in range(lines)]
        process.send_signal(signal.SIGINT)
        process.wait(timeout=20)
        err = process.stderr.read()
    assert not told or told[-1]["stage"] == stage
    assert process.returncode == 130 or (not lines and process.returncode == -signal.SIGINT), err
    assert "Traceback" not in err or not lines  # before our first line runs, Python itself speaks
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config", "passphrase"]


def test_no_secret_is_ever_printed(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    """Passwords, templates and notepad pages of a unit that goes through every command and several failures."""
    password = "c0ffee42"
    (desk.folder / "c.toml").write_text(f'[ef01]\npassword = "{password}"\n', encoding="utf-8")
    (desk.folder / "c.toml").chmod(0o600)
    unit = open_unit(load_profile("r503"), "full", {"fill": "4", "password": password})
    canaries = [bytes.fromhex(password), *(page for page in unit.flash.notepad if any(page))]
    canaries += [template[100:116] for template in unit.flash.templates.values()]
    source = f"sim://r503/full?fill=4&password={password}"
    with_credential = ["--credential-file", str(desk.folder / "c.toml")]
    files = ["--config-dir", str(desk.folder / "config"), *desk.keys]
    commands = [
        ["info", source, *with_credential],
        ["backup", source, *with_credential, "-o", "a.age", *files],
        ["show", "a.age", *files],
        ["verify", "a.age", *files],
        ["verify", "a.age", source, *with_credential, *files],
        ["plan", "a.age", "sim://r503/empty", *files],
        ["plan", "a.age", "profile:as608", *files],
        ["restore", "a.age", "sim://r503/empty", "--dry-run", *files],
        ["restore", "a.age", "sim://r503/empty", *files],
        ["restore", "a.age", "sim://as608/empty", *files],
        ["migrate", source, "sim://r503/empty?quirks=readback-differs:1:9", *with_credential],
        ["verify", "a.age", "--rehearse", *files],
        ["keys", "show", *files[:2]],
        ["keys", "export", "copy.age", *files[:2]],
        ["keys", "import", "copy.age", "--config-dir", str(desk.folder / "second"), *desk.keys],
        ["trust", "list", *files[:2]],
        ["trust", "add", str(desk.folder / "config" / "signing.pub"), "--confirm", "SHA256:wrong", *files[:2]],
        ["vault", "list", *files[:2]],
        ["vault", "verify", *files],
        ["vault", "verify", "--rehearse", *files],
        ["vault", "purge", *files[:2]],
        ["vault", "reindex", *files],
        ["show", "a.age", "--config-dir", str(desk.folder / "nowhere")],
        ["wipe", source, *with_credential, "--no-backup", *files],
        ["info", source, *files[:2]],
        ["info", f"sim://r503/full?password=99999999&x={password[:0]}", *files[:2]],
    ]
    for command in commands:
        for extra in ([], ["--json"], ["-vv"]):
            if command[0] == "backup" and extra:
                (desk.folder / "a.age").unlink()
            capfd.readouterr()
            main([*command, *extra])
            printed = "".join(capfd.readouterr())
            shown = printed.replace(source, "")  # what the user typed may be repeated
            for canary in canaries:
                assert canary.hex() not in shown.lower(), f"{command[0]} shows a secret"
                assert base64.b64encode(canary).decode().rstrip("=") not in shown, f"{command[0]} shows a secret"
                assert str(int.from_bytes(canary, "big")) not in shown, f"{command[0]} shows a secret"
                assert repr(canary)[2:-1] not in shown, f"{command[0]} shows a secret"
            assert PASSPHRASE not in shown
    for name in ("journal.jsonl", "catalogue.sqlite", "catalogue.sqlite-wal"):
        kept = desk.folder / "config" / name
        content = kept.read_bytes() if kept.exists() else b""
        for canary in canaries:
            for form in (canary, canary.hex().encode(), base64.b64encode(canary).rstrip(b"=")):
                assert form not in content, f"{name} holds a secret"
    for path in desk.folder.rglob("*.age"):
        assert not any(canary in path.read_bytes() for canary in canaries)
