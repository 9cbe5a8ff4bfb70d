"""Locks reached through the real BlueZ: bleak's own back end for Linux, bluetoothd and a kernel, and simulated locks.

Opt-in (`-m bluez`); tests/bluez/README.md says what that needs. The tests without the mark need none of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import lzma
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import pytest
from bluez import guest, places, stage
from bluez.bridge import Packets
from vaults import PASSPHRASE, Vault

from lockmigrate.formats.backup import OpenedBackup, open_backup
from lockmigrate.profiles import load_profile
from lockmigrate.sim import open_unit
from lockmigrate.sim.radio import Radio
from lockmigrate.sim.serve_ble import serve_hci
from lockmigrate.sim.unit import SimulatedUnit
from lockmigrate.vault.keys import load_identity

UNITS: Final[dict[str, tuple[str, dict[str, str]]]] = {
    "old": ("full", {"codes": "12", "timers": "4"}),
    "new": ("fresh", {"seed": "5"}),
    "far": ("full", {"seed": "7", "cut": "out:frame:20"}),
}
"""Preset and options of each lock; the last one is lost when it has sent so much."""
DATED: Final = frozenset({"created_utc", "last_active_utc", "clock_offset_s"})
"""What tells when something was done."""
READ_BD_ADDR: Final = bytes.fromhex("01 0910 00")
"""HCI command (Core 5.4, Vol 4 Part E, 7.4.6)."""
COMMAND_LIMIT_S: Final = 60.0


# ---- the same commands, through BlueZ and through Bumble -------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Run:
    """The commands played on simulated locks of their own."""

    at: dict[str, dict[str, Any]]
    """Lock to what its server said of it."""
    answers: dict[str, Any]
    folder: Path
    """Where the commands ran."""

    def said(self, name: str) -> dict[str, Any]:
        """Return the document of a command that succeeded."""
        answer = self.answers[name]
        assert answer["code"] == 0, answer
        document: dict[str, Any] = json.loads(answer["stdout"])
        return document

    def opened(self, name: str) -> OpenedBackup:
        """Open a backup that the commands left."""
        keys = load_identity(self.folder / "config", PASSPHRASE)
        return open_backup((self.folder / name).read_bytes(), identities=keys)


@pytest.fixture(scope="module")
def on_bluez(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Through bleak's back end for Linux, bluetoothd and a kernel."""
    try:
        place = places.find()
    except places.Missing as missing:
        pytest.skip(str(missing))
    folder = tmp_path_factory.mktemp("bluez")
    with served(folder) as at:
        targets = {name: plain(unit) for name, unit in at.items()}
        answers = place.play(folder, at["old"]["port"], environment(stage.WORK), commands(targets))
    return Run(at=at, answers=answers, folder=folder / "left")


@pytest.fixture(scope="module")
def on_bumble(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Through our own back end, on this computer."""
    folder = tmp_path_factory.mktemp("bumble")
    answers: dict[str, Any] = {}
    with served(folder) as at:
        targets = {name: unit["target"] for name, unit in at.items()}
        for name, command in commands(targets, "--hci", at["old"]["hci"]).items():
            done = subprocess.run(
                command, capture_output=True, text=True, cwd=folder, timeout=COMMAND_LIMIT_S, check=False,
                env={**os.environ, **environment(folder)},
            )  # fmt: skip
            answers[name] = {"code": done.returncode, "stdout": done.stdout, "stderr": done.stderr}
    return Run(at=at, answers=answers, folder=folder)


def commands(targets: dict[str, str], *controller: str) -> dict[str, list[str]]:
    """What is played, in this order."""

    def on(name: str) -> tuple[str, str, str]:
        return targets[name], "--credential-file", f"{name}.toml"

    told = {
        "scan": ("scan", "--for", "5", *controller),
        "info": ("info", *on("old")),
        "backup": ("backup", *on("old"), "-o", "old.age"),
        "pair": ("pair", *on("new")),
        "restore": ("restore", "old.age", *on("new"), "--confirm", unit_of("new").id),
        "again": ("backup", *on("new"), "-o", "new.age"),
        "far": ("backup", *on("far"), "-o", "far.age"),
    }
    return {name: [sys.executable, "-m", "lockmigrate", *words, "--json"] for name, words in told.items()}


def environment(folder: Path) -> dict[str, str]:
    """Where the commands find keys and passphrase; no target goes by a controller that the caller has set."""
    return {
        "LOCKMIGRATE_CONFIG_DIR": f"{folder}/config",
        "LOCKMIGRATE_PASSPHRASE_FILE": f"{folder}/passphrase",
        "LOCKMIGRATE_HCI": "",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@contextlib.contextmanager
def served(folder: Path) -> Iterator[dict[str, dict[str, Any]]]:
    """Serve the locks from another process; the folder gets keys, and what opens the locks."""
    Vault(folder)
    units = [f"nuki/{preset}?{urlencode(options, safe=':')}" for preset, options in UNITS.values()]
    server = subprocess.Popen(
        [sys.executable, "-m", "lockmigrate", "sim", "serve", "--json", "--hci", "tcp:0", *units],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        at = {name: json.loads(server.stdout.readline()) for name in UNITS}
        for name, unit in at.items():
            lines = [f"{key} = {json.dumps(value)}" for key, value in unit["credential"].items()]
            (folder / f"{name}.toml").write_text("\n".join(["[nuki]", *lines]))
            (folder / f"{name}.toml").chmod(0o600)
        yield at
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=10)


def unit_of(name: str) -> SimulatedUnit:
    """Return a lock like the one that is served."""
    return open_unit(load_profile("nuki"), *UNITS[name])


def digits(credentials: list[Any]) -> list[str]:
    """Return the keypad codes themselves."""
    return sorted(each["data"]["digits"]["text"] for each in credentials if each["credential_type"] == "PIN")


def plain(at: dict[str, Any]) -> str:
    """Return a target without its controller."""
    return str(at["target"].partition("?")[0])


def undated(value: Any) -> Any:
    """Leave out what depends on the time of day."""
    if isinstance(value, dict):
        return {key: undated(item) for key, item in value.items() if key not in DATED}
    return [undated(item) for item in value] if isinstance(value, list) else value


def records(backup: OpenedBackup, *sections: str) -> dict[str, list[Any]]:
    """Return the records of some sections of a backup, undated."""
    return {
        section: [undated(json.loads(line)) for line in backup.entries[f"records/{section}.jsonl"].splitlines()]
        for section in sections
    }


@pytest.mark.bluez
def test_a_scan_by_bleaks_own_linux_back_end_finds_each_lock_with_its_nuki_id(on_bluez: Run) -> None:
    found = {lock["target"]: (lock["family"], lock["serial"], lock["state"]) for lock in on_bluez.said("scan")["locks"]}
    states = {"old": None, "new": "pairing", "far": None}
    assert found == {plain(on_bluez.at[name]): ("nuki", unit_of(name).id, states[name]) for name in UNITS}


@pytest.mark.bluez
def test_info_through_bluez_is_what_it_is_through_bumble(on_bluez: Run, on_bumble: Run) -> None:
    said, other = (undated(run.said("info")) for run in (on_bluez, on_bumble))
    assert said["unit"]["id"] == unit_of("old").id
    assert said["unit"].pop("target") == other["unit"].pop("target").partition("?")[0]
    assert said == other


@pytest.mark.bluez
def test_a_backup_through_bluez_holds_the_records_of_one_through_bumble(on_bluez: Run, on_bumble: Run) -> None:
    made, other = (run.opened("old.age") for run in (on_bluez, on_bumble))
    assert made.entries.keys() == other.entries.keys()
    compared = ("credentials", "lock", "metadata")
    # The lock's clock stands in one of these tables, and when we were last there in the other.
    dated = {"raw/0002-config.bin", "raw/0006-authorisations.bin", "records/attachments.jsonl"}
    dated |= {f"records/{section}.jsonl" for section in compared}
    assert {name for name in made.entries if made.entries[name] != other.entries[name]} <= dated
    assert records(made, *compared) == records(other, *compared)
    codes = [each for each in records(made, "credentials")["credentials"] if each["credential_type"] == "PIN"]
    assert len(codes) == int(UNITS["old"][1]["codes"])


@pytest.mark.bluez
def test_a_lock_paired_and_restored_to_through_bluez_holds_what_it_holds_through_bumble(
    on_bluez: Run, on_bumble: Run
) -> None:
    for run in (on_bluez, on_bumble):
        proofs = [record["proof"] for record in run.said("restore")["records"] if record["outcome"] == "copy"]
        assert set(proofs) == {"V4"}, "read back, all of them"
    compared = ("credentials", "schedules", "lock_schedules", "settings")
    held, other = (records(run.opened("new.age"), *compared) for run in (on_bluez, on_bumble))
    assert held == other
    before = records(on_bluez.opened("old.age"), "credentials")["credentials"]
    assert digits(held["credentials"]) == digits(before)
    assert len(digits(before)) == int(UNITS["old"][1]["codes"])


@pytest.mark.bluez
def test_a_lock_that_goes_out_of_reach_of_bluez_ends_the_command_as_it_does_on_bumble(
    on_bluez: Run, on_bumble: Run
) -> None:
    for run in (on_bluez, on_bumble):
        answer = run.answers["far"]
        assert answer["code"] == 5, answer
        assert json.loads(answer["stderr"])["code"] == "link-lost"
        assert not (run.folder / "far.age").exists()


# ---- what that is played with ----------------------------------------------------------------------------------------


def test_packets_are_whole_however_the_bytes_come() -> None:
    sent = [
        bytes.fromhex(text)
        for text in ("01030c00", "0240000300aabbcc", "03400002aabb", "040e0401030c00", "0540000140ee")
    ]
    for size in range(1, 9):
        packets, stream = Packets(), b"".join(sent)
        got = [each for at in range(0, len(stream), size) for each in packets.feed(stream[at : at + size])]
        assert got == sent
    with pytest.raises(ValueError, match="0x7f"):
        list(Packets().feed(b"\x7f"))


def test_a_module_is_loaded_behind_those_it_depends_on(tmp_path: Path) -> None:
    for name, needs in (("top", "left-one,right"), ("left_one", "base"), ("right", "base,not-a-file"), ("base", "")):
        (tmp_path / f"{name}.ko.xz").write_bytes(lzma.compress(b"\x7fELF\0depends=" + needs.encode() + b"\0name=x\0"))
    names = [name for name, _ in guest.modules_in_order(tmp_path, ("right", "top", "built_in"))]
    assert names == ["base", "right", "left_one", "top"]


def test_what_is_missing_for_bluez_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(places.KERNEL_VARIABLE, str(tmp_path / "vmlinuz-6.12"))
    with pytest.raises(places.Missing) as missing:
        places.find()
    for name in ("dbus-daemon", "dbus-send", "qemu-system-x86_64", "a static busybox", "a kernel with hci_vhci"):
        assert name in str(missing.value)


@pytest.mark.real_time
async def test_every_client_has_a_controller_with_an_address_as_linux_wants_it() -> None:
    server = await serve_hci(Radio(), "tcp:0")
    told = []
    for _ in range(2):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(READ_BD_ADDR)
        event = await asyncio.wait_for(reader.readexactly(13), 5)
        assert event[:7] == bytes.fromhex("040e0a 01 0910 00")
        told.append(event[7:])
        writer.close()
        await writer.wait_closed()
    await server.close()
    assert len(set(told)) == 2
    assert all(address[5] & 3 == 2 for address in told), "one unit's, and locally administered"
