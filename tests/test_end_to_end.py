"""The main job as programs see it: real processes, a real port, nothing shared but bytes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lockmigrate.profiles import load_profile
from lockmigrate.sim import open_unit
from lockmigrate.vault.keys import create_keys

pytestmark = pytest.mark.at_once

PASSPHRASE = "a passphrase of the test suite"
needs_pty = pytest.mark.skipif(not hasattr(os, "openpty"), reason="this system has no pseudo terminals")


class Bench:
    """A config directory with keys, and the program."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config"
        create_keys(self.config, PASSPHRASE, generated=False, log_n=10)
        self.passphrase_file = folder / "passphrase"
        self.passphrase_file.write_text(PASSPHRASE + "\n", encoding="utf-8")
        self.passphrase_file.chmod(0o600)

    def run(self, *arguments: str, expect: int = 0) -> Any:
        """Run the program with --json and return its document: stdout's, or stderr's last line."""
        keys = ["--passphrase-file", str(self.passphrase_file)]
        command = [sys.executable, "-m", "lockmigrate", *arguments, "--json", "--config-dir", str(self.config)]
        if arguments[0] not in ("info", "try", "scan"):
            command += keys
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == expect, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        if expect in (0, 8, 9):
            return json.loads(done.stdout)
        return json.loads(done.stderr.strip().splitlines()[-1])


@contextlib.contextmanager
def served(medium: str, what: str, state: Path) -> Iterator[str]:
    """`sim serve` in a process of its own; yields the target that it printed."""
    command = [sys.executable, "-m", "lockmigrate", "sim", "serve", what, "--state", str(state), "--json"]
    if medium == "tcp":
        command.append("--tcp")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            target = str(json.loads(process.stdout.readline())["target"])
            # On a pty the speed is found; behind a socket it has to be told, or the slower one is waited for.
            yield f"{target}?baud=115200" if medium == "tcp" else target
        finally:
            process.terminate()
            process.wait(timeout=10)


def flash(profile: str, state: Path, **options: str) -> Any:
    """The raw memory that a served unit left behind."""
    return open_unit(load_profile(profile), "empty", options, state=state).flash


@pytest.mark.at_once(seconds=12)
@pytest.mark.parametrize(
    ("medium", "profile", "size"),
    [
        pytest.param("pty", "r503", 1536, marks=needs_pty),
        pytest.param("tcp", "as608", 768),
        pytest.param("tcp", "r503", 1536, marks=pytest.mark.sweep),
        pytest.param("pty", "as608", 768, marks=[needs_pty, pytest.mark.sweep]),
    ],
)
def test_fifty_templates_survive_backup_wipe_and_restore_byte_for_byte(
    tmp_path: Path, medium: str, profile: str, size: int
) -> None:
    bench = Bench(tmp_path)
    state = bench.folder / "unit.state"
    # Unpaced, and at the top speed, because a pseudo terminal has no wire to wait for.
    options = "fill=50&baud=115200"
    with served(medium, f"{profile}/full?{options}", state) as target:
        before = flash(profile, state)
        assert len(before.templates) == 50
        assert {len(template) for template in before.templates.values()} == {size}
        unit = bench.run("info", target, "--profile", profile)["unit"]
        backup = bench.run("backup", target, "--profile", profile, "-o", "old.age")
        assert backup["counts"]["fingerprints"] == 50
        assert flash(profile, state).image() == before.image(), "reading changed the unit"
        wiped = bench.run("wipe", target, "--profile", profile, "--backup", "old.age", "--confirm", unit["id"])
        assert wiped["left"] == {}
        assert flash(profile, state).templates == {}
        restored = bench.run("restore", "old.age", target, "--profile", profile, "--confirm", unit["id"])
        assert {record["proof"] for record in restored["records"] if record["kind"] == "fingerprint"} == {"V4"}
        verified = bench.run("verify", "old.age", target, "--profile", profile)
        assert verified["counts"]["different"] == 0
    assert flash(profile, state).image() == before.image()


@pytest.mark.at_once(seconds=6)
@pytest.mark.parametrize("medium", [pytest.param("pty", marks=needs_pty), "tcp"])
def test_two_programs_on_one_port_do_not_disturb_each_other(tmp_path: Path, medium: str) -> None:
    bench = Bench(tmp_path)
    with served(medium, "r503/full?fill=25&baud=115200&pace=1", bench.folder / "state") as target:
        command = [sys.executable, "-m", "lockmigrate", "backup", target, "-o", "first.age", "--json"]
        command += ["--config-dir", str(bench.config), "--passphrase-file", str(bench.passphrase_file)]
        command += ["--progress", "json"]
        with subprocess.Popen(command, cwd=bench.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as first:
            assert first.stderr is not None
            first.stderr.readline()  # it is at work
            error = bench.run("info", target, expect=3 if medium == "pty" else 5)
            assert error["code"] in ("busy", "link-lost", "no-answer")
            assert error["hint"]
            out, _ = first.communicate(timeout=60)
            assert first.returncode == 0
            assert json.loads(out)["counts"]["fingerprints"] == 25


@pytest.mark.at_once(seconds=8)
@pytest.mark.parametrize(
    ("medium", "family"),
    [
        pytest.param("pty", "gt511", marks=needs_pty),
        pytest.param("pty", "f5", marks=needs_pty),
        pytest.param("tcp", "gt511"),
        pytest.param("tcp", "f5", marks=pytest.mark.sweep),
    ],
)
def test_the_other_serial_families_survive_backup_wipe_and_restore_byte_for_byte(
    tmp_path: Path, medium: str, family: str
) -> None:
    """The family is found without being named, also behind a pseudo terminal, where the speed has to be found too."""
    bench = Bench(tmp_path)
    state = bench.folder / "unit.state"
    with served(medium, f"{family}/full?fill=12", state) as target:
        target = target.partition("?")[0]
        named = ["--profile", family] if medium == "tcp" else []  # a socket has no speed to tell families apart by
        before = flash(family, state)
        assert len(before.templates) == 12
        unit = bench.run("info", target, *named)["unit"]
        assert unit["family"] == family
        assert bench.run("backup", target, "-o", "old.age", *named)["counts"]["fingerprints"] == 12
        assert flash(family, state).image() == before.image(), "reading changed the unit"
        bench.run("wipe", target, "--backup", "old.age", "--confirm", unit["id"], *named)
        assert flash(family, state).templates == {}
        restored = bench.run("restore", "old.age", target, "--confirm", unit["id"], *named)
        assert {record["proof"] for record in restored["records"] if record["kind"] == "fingerprint"} == {"V4"}
        assert bench.run("verify", "old.age", target, *named)["counts"]["different"] == 0
    assert flash(family, state).image() == before.image()


@contextlib.contextmanager
def terminal(what: str, state: Path, medium: str) -> Iterator[tuple[str, Any]]:
    """A served ZK terminal; yields its target and the table of its credential file."""
    command = [sys.executable, "-m", "lockmigrate", "sim", "serve", what, "--state", str(state), "--json", medium]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            told = json.loads(process.stdout.readline())
            yield told["target"], told["credential"]
        finally:
            process.terminate()
            process.wait(timeout=10)


@pytest.mark.parametrize("profile", ["zk", "zk-bw"])
def test_a_terminal_moves_from_tcp_to_udp_byte_for_byte(tmp_path: Path, profile: str) -> None:
    bench = Bench(tmp_path)
    old_state, new_state = bench.folder / "old.state", bench.folder / "new.state"
    key = bench.folder / "terminal.toml"
    with terminal(f"{profile}/full?comm_key=123456", old_state, "--tcp") as (old, credential):
        key.write_text(f"[zk]\ncomm_key = {credential['comm_key']}\n", encoding="utf-8")
        key.chmod(0o600)
        assert bench.run("info", old, expect=2)["code"] == "no-credential"
        made = bench.run("backup", old, "-o", "old.age", "--credential-file", str(key))
        assert made["counts"]["users"] == 40
    with terminal(f"{profile}/empty", new_state, "--udp") as (new, _):
        assert new.startswith("udp://127.0.0.1:")
        unit = bench.run("info", new)["unit"]
        planned = bench.run("plan", "old.age", new)
        assert planned["executable"]
        restored = bench.run("restore", "old.age", new, "--confirm", unit["id"])
        moved = [record for record in restored["records"] if record["outcome"] in ("copy", "adjust")]
        assert {record["proof"] for record in moved} == {"V4"}
        assert bench.run("verify", "old.age", new)["counts"]["different"] == 0
    assert flash(profile, new_state).image() == flash(profile, old_state).image()


def test_a_wrong_communication_key_is_tried_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    key = bench.folder / "terminal.toml"
    key.write_text("[zk]\ncomm_key = 1\n", encoding="utf-8")
    key.chmod(0o600)
    with terminal("zk/full?comm_key=123456", bench.folder / "state", "--tcp") as (target, _):
        error = bench.run("info", target, "--credential-file", str(key), expect=4)
    assert error["code"] == "wrong-credential"
    assert "123456" not in json.dumps(error)
