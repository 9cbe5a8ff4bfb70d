"""A move to a lock of another family, killed again and again while it writes, ends as one that nobody disturbed.

The lock is served in a process of its own, which lives on; the command line is another, and dies of SIGKILL.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from lockmigrate.cli import main
from lockmigrate.vault.keys import create_keys

PASSPHRASE: Final = "a passphrase of this test"
KILLS: Final = 100
"""In each direction, over all parts."""
PARTS: Final = 2
"""Each begins with a new lock, has a seed of its own, and runs beside the others."""
MOST_A_ROUND: Final = 10
"""So often one restore is killed before it is left alone."""
PATIENCE_S: Final = 30.0
ERROR: Final = "lockmigrate.error/1"
SHORT_S: Final = 0.01

ANSWERS: Final = """
[[answer]]
reason = "pin-length"
choice = "suggest"

[[answer]]
reason = "pin-alphabet"
choice = "suggest"

[[answer]]
reason = "setting-unsupported"
choice = "skip"

[[answer]]
reason = "no-card-reader"
choice = "skip"

[[answer]]
reason = "schedule-unreadable"
choice = "write"

[[answer]]
reason = "schedule-midnight"
choice = "skip"

[[answer]]
reason = "schedule-unsupported"
choice = "skip"
"""
"""New PINs where the new lock takes other digits; cards, passage mode and what would open at more hours stay behind."""
WAYS: Final = {
    "ttlock-to-nuki": ("ttlock/full?passcodes=60&cards=3&fingers=1&passage=1&log=1", "nuki/empty", "nuki"),
    "nuki-to-ttlock": ("nuki/full?codes=80&timers=1&authorisations=3&fingerprints=1&log=1", "ttlock/empty", "ttlock"),
}
"""Old unit, new unit, family of the new one."""
VOLATILE: Final = ("code_id", "created", "last_active", "lock_count")
"""A lock's own numbers, and its clock's time."""


class Spring:
    """A process that has imported everything, and forks one for each command: starting takes it no time.

    It waits for a child only when it is told to, so that nobody else can have the id of one that is killed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        environment = {key: value for key, value in os.environ.items() if not key.startswith("LOCKMIGRATE_")}
        environment |= {
            "LOCKMIGRATE_CONFIG_DIR": str(folder / "config"),
            "LOCKMIGRATE_PASSPHRASE_FILE": str(folder / "passphrase"),
        }
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder,
            env=environment,
        )  # fmt: skip
        self._count = 0

    def __enter__(self) -> Spring:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=PATIENCE_S)

    def ask(self, request: object) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def start(self, *words: str) -> Command:
        self._count += 1
        files = [self._folder / f"command-{self._count}.{name}" for name in ("out", "err")]
        for file in files:
            file.touch()
        return Command(self, self.ask([[str(file) for file in files], [*words, "--json"]]), *files)

    def run(self, *words: str) -> tuple[int, dict[str, Any]]:
        """Run a command to its end; returns its exit code and its document."""
        command = self.start(*words)
        code = command.wait()
        assert command.out.stat().st_size, command.err.read_text()
        return code, json.loads(command.out.read_text())


@dataclass
class Command:
    """A command that runs."""

    spring: Spring
    pid: int
    out: Path
    err: Path

    def says(self, text: str = "") -> None:
        """Wait until its errors and its progress hold a text, or until it has answered."""
        deadline = time.monotonic() + PATIENCE_S
        while not self.out.stat().st_size and not (text and text in self.err.read_text()):
            if time.monotonic() > deadline or ERROR in self.err.read_text():
                self.end(signal.SIGKILL)
                raise AssertionError(self.err.read_text())
            time.sleep(SHORT_S)

    def end(self, number: int) -> int:
        os.kill(self.pid, number)
        return self.wait()

    def wait(self) -> int:
        """Return its exit code, or the number of the signal that ended it, negative."""
        return self.spring.ask(self.pid)


def fork_on_demand() -> None:
    """Be the process of `Spring`."""
    from lockmigrate import cli
    from lockmigrate.sim import serve_ble  # noqa: F401
    from lockmigrate.transports import bumble  # noqa: F401

    small = {"nuki": "nuki/full?codes=1&timers=0&authorisations=2&log=0", "ttlock": "ttlock/full?passcodes=1&cards=0"}
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for old, new in (small.values(), reversed(small.values())):
            cli.main(["migrate", f"sim://{old}", f"sim://{new}", "--dry-run"])
    for line in sys.stdin:
        request = json.loads(line)
        if isinstance(request, int):
            answer = os.waitstatus_to_exitcode(os.waitpid(request, 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                code = 1
                try:
                    files, words = request
                    for number, file in enumerate(files, start=1):
                        os.dup2(os.open(file, os.O_WRONLY), number)
                    code = cli.main(words)
                    sys.stdout.flush()
                finally:
                    os._exit(code)
        print(answer, flush=True)  # noqa: T201  # that is how it answers


def prepare(folder: Path) -> None:
    """Make keys and answers."""
    create_keys(folder / "config", PASSPHRASE, generated=False, log_n=10)
    for name, text in (("passphrase", f"{PASSPHRASE}\n"), ("answers.toml", ANSWERS)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)


@contextlib.contextmanager
def served(spring: Spring, folder: Path, unit: str, family: str) -> Iterator[str]:
    """Serve a new unit in a process of its own; yields its target. Its memory is in new.state."""
    (folder / "new.state").unlink(missing_ok=True)
    server = spring.start("sim", "serve", f"{unit}?state={folder}/new.state", "--hci", "tcp:0")
    try:
        server.says()
        said = json.loads(server.out.read_text())
        lines = [f"{key} = {json.dumps(value)}" for key, value in said["credential"].items()]
        (folder / "new.toml").write_text("\n".join([f"[{family}]", *lines]))
        (folder / "new.toml").chmod(0o600)
        yield str(said["target"])
    finally:
        server.end(signal.SIGTERM)


def memory(folder: Path) -> Counter[str]:
    """Return what opens the new lock, without its own numbers: its memory is kept at every change."""
    flash = json.loads((folder / "new.state").read_text())["flash"]
    rows = [row for name in ("codes", "passcodes", "cards") for row in flash.get(name, {}).values()]
    return Counter(
        json.dumps({key: value for key, value in row.items() if key not in VOLATILE}, sort_keys=True) for row in rows
    )


@pytest.mark.parametrize("way", WAYS)
def test_its_answers_leave_nothing_open(
    way: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path)
    monkeypatch.setenv("LOCKMIGRATE_CONFIG_DIR", str(tmp_path / "config"))
    old, new, _ = WAYS[way]
    words = ["migrate", f"sim://{old}", f"sim://{new}", "--decisions", str(tmp_path / "answers.toml")]
    assert main([*words, "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["executable"], plan["blocked_by"]


@pytest.mark.sweep
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork, and has no SIGKILL")
@pytest.mark.at_once(seconds=60)
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("way", WAYS)
def test_a_move_that_is_killed_again_and_again_ends_as_if_nothing_had_happened(
    way: str, part: int, tmp_path: Path
) -> None:
    prepare(tmp_path)
    with Spring(tmp_path) as spring:
        kill_and_repeat(spring, tmp_path, way, random.Random(f"{way} {part}"))


def kill_and_repeat(spring: Spring, folder: Path, way: str, drawn: random.Random) -> None:
    old, unit, family = WAYS[way]
    assert spring.run("backup", f"sim://{old}", "-o", "old.age")[0] == 0
    with served(spring, folder, unit, family) as target:
        code, whole = spring.run(*restoring(target, unit_of(spring, target)))
        wanted = memory(folder)
    assert code in (0, 9)
    assert len(wanted) == wanted.total() >= 40

    def look() -> None:
        assert memory(folder) <= wanted, "a code that the plan does not know, or one twice"

    kills = rounds = 0
    while kills < KILLS // PARTS:
        rounds += 1
        assert rounds <= KILLS // PARTS, "it is hardly ever killed in time"
        with served(spring, folder, unit, family) as target:
            words = restoring(target, unit_of(spring, target))
            for _ in range(min(MOST_A_ROUND, KILLS // PARTS - kills)):
                ended = killed(spring.start(*words), drawn.uniform(0, whole["duration_s"] * 2 / MOST_A_ROUND), look)
                look()
                if ended != -signal.SIGKILL:
                    assert ended == code
                    break
                kills += 1
            again, result = spring.run(*words)
            assert (again, fates(result)) == (code, fates(whole))
            assert memory(folder) == wanted


def unit_of(spring: Spring, target: str) -> str:
    """Return a unit's id."""
    return str(spring.run("info", target, "--credential-file", "new.toml")[1]["unit"]["id"])


def restoring(target: str, unit: str) -> list[str]:
    """Return the command."""
    words = ["restore", "old.age", target, "--decisions", "answers.toml", "--credential-file", "new.toml"]
    return [*words, "--confirm", unit, "--skip-rehearsal", "--progress", "json"]


def killed(command: Command, delay_s: float, look: Callable[[], None]) -> int:
    """Kill a command so long after it began to write, and look at the lock all the while; returns how it ended."""
    command.says('"stage": "restore"')
    until_s = time.monotonic() + delay_s
    while (left_s := until_s - time.monotonic()) > 0:
        time.sleep(min(left_s, SHORT_S))
        look()
    return command.end(signal.SIGKILL)


def fates(result: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return what became of each record, and at which proof."""
    return [(item["key"], item["outcome"], item["proof"], item["new_pin"]) for item in result["records"]]


if __name__ == "__main__":
    fork_on_demand()
