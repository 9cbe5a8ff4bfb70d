"""ZK terminals, folders and dumps at the command line: what a technician is told, and what a script gets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lockmigrate.errors import ConfigError, TargetError
from lockmigrate.planning.policy import read_decisions
from lockmigrate.protocols.credentials import read_credentials
from lockmigrate.targets import parse_target

ROOT = Path(__file__).resolve().parents[1]
DUMP = f"image://{ROOT / 'docs' / 'examples' / 'example-keypad.bin'}?profile=example-keypad-eeprom"

apart = pytest.mark.at_once


def run(*arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "lockmigrate", *arguments],
        capture_output=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
        env={**os.environ, "COLUMNS": "100"},
    )
    assert done.returncode == expect, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def documents(*arguments: str, expect: int = 0) -> Any:
    done = run(*arguments, "--json", expect=expect)
    return json.loads(done.stdout if expect in (0, 8, 9) else done.stderr.strip().splitlines()[-1])


@apart
def test_a_terminal_moves_to_the_next_in_one_command() -> None:
    result = documents("migrate", "sim://zk/full", "sim://zk/empty")
    moved = [record for record in result["records"] if record["outcome"] in ("copy", "adjust")]
    assert {record["proof"] for record in moved} == {"V4"}
    assert result["counts"]["copy"] == len(moved)
    assert [gap["section"] for gap in result["gaps"]] == ["lock_schedules"], "holidays are an announced gap"


@apart
def test_a_dry_run_of_wiping_says_what_would_go() -> None:
    done = run("wipe", "sim://zk/full", "--dry-run")
    assert "would erase  40 users, 60 fingerprints" in done.stdout
    assert "nothing was erased" in done.stdout


@apart
def test_a_path_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    assert documents("info", f"image://{tmp_path}/nothing", expect=3)["code"] == "not-found"
    missing = f"image://{tmp_path}/nothing?profile=example-keypad-eeprom"
    assert documents("info", missing, expect=3)["code"] == "not-found"


@apart
def test_a_dump_is_read_and_never_written_or_wiped(tmp_path: Path) -> None:
    told = documents("info", DUMP)
    assert told["unit"]["family"] == "image"
    error = documents("wipe", DUMP, "--no-backup", expect=4)
    assert "only read" in error["message"]
    error = documents("migrate", DUMP, "sim://zk/empty", "--dry-run", expect=10)
    assert error["code"] == "wrong-target"
    assert "fingerprints" not in error["message"]


@apart
def test_a_plan_that_asks_ends_with_a_decisions_file_that_it_takes(tmp_path: Path) -> None:
    asked = run("migrate", "sim://zk/full", "sim://zk-bw/empty", "--dry-run", expect=10)
    lines = [line.strip() for line in asked.stdout.splitlines()]
    start = lines.index("[[answer]]")
    answers = "\n".join(line for line in lines[start:] if line.startswith(("[[answer]]", "key", "reason", "choice")))
    file = tmp_path / "decisions.toml"
    file.write_text(answers.replace("skip", "write"), encoding="utf-8")
    assert read_decisions(file).answer
    again = run("migrate", "sim://zk/full", "sim://zk-bw/empty", "--dry-run", "--decisions", str(file), expect=10)
    assert again.stdout != asked.stdout


@apart
def test_an_answer_that_settles_nothing_is_told(tmp_path: Path) -> None:
    file = tmp_path / "decisions.toml"
    file.write_text('[[answer]]\nkey = "user/999"\nchoice = "skip"\n', encoding="utf-8")
    told = run("migrate", "sim://zk/full", "sim://zk/empty", "--dry-run", "--decisions", str(file))
    assert 'no record is called "user/999"' in told.stderr


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('[[answer]]\nreason = "zone-table-unknow"\nchoice = "skip"\n', 'did you mean "zone-table-unknown"?'),
        ('[[answer]]\nkey = "user/3"\nchoice = "yes"\n', "[[answer]]"),
        ('[answer]\nkey = "user/3"\nchoice = "skip"\n', "[[answer]]"),
    ],
)
def test_a_decisions_file_that_is_wrong_is_explained(tmp_path: Path, text: str, hint: str) -> None:
    file = tmp_path / "decisions.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_decisions(file)
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize("line", ["comm_key = 123456", 'comm_key = "123456"'])
def test_a_comm_key_may_stand_in_quotes(tmp_path: Path, line: str) -> None:
    file = tmp_path / "terminal.toml"
    file.write_text(f"[zk]\n{line}\n", encoding="utf-8")
    assert read_credentials(file)["zk"].comm_key == 123456  # type: ignore[union-attr]


def test_a_comm_key_without_its_table_is_explained_without_being_repeated(tmp_path: Path) -> None:
    file = tmp_path / "terminal.toml"
    file.write_text("comm_key = 987654\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_credentials(file)
    assert "[zk]" in (caught.value.hint or "")
    assert "987654" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("text", ["192.168.1.201", "192.168.1.201:4370", "tcp://192.168.1.201:4370"])
def test_an_address_alone_is_told_how_terminals_are_written(text: str) -> None:
    with pytest.raises(TargetError) as caught:
        parse_target(text)
    assert "udp://192.168.1.201" in (caught.value.hint or "")


def test_the_model_s_profile_leaves_the_algorithm_open() -> None:
    """A plan on paper must not send people to enrol again whose templates would fit."""
    from lockmigrate.operations.on_paper import unit_of_profile
    from lockmigrate.profiles import load_profile

    fingerprint = unit_of_profile(load_profile("zk")).capabilities.credentials.fingerprint
    assert fingerprint is not None
    assert fingerprint.template_formats == ("zk/zkfinger/9", "zk/zkfinger/10")
