"""Many doors in one folder: each step as its own command, finished ones not repeated, one failure not everybody's."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from against_schemas import check
from vaults import PASSPHRASE, Vault

from lockmigrate import cli
from lockmigrate.cli import job_cmd
from lockmigrate.errors import ConfigError, LinkLost
from lockmigrate.operations.job_steps import Outcome, run_door, see_door
from lockmigrate.operations.jobs import Door, add_door, check_name, load_job, new_job

HEAD = 'schema = 1\nname = "x"\nsalt = "00112233445566778899aabbccddeeff"\n'
OLD = "sim://r503/full?fill=3"


class Bench:
    """The keys of a technician, a job's folder, and the commands in this process."""

    def __init__(self, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.base, self._capsys = base, capsys
        self.vault = Vault(base)
        self.folder = base / "hotel"
        self.out = self.err = ""

    def run(self, *words: str, expect: int = 0, keys: bool = False, as_json: bool = True) -> Any:
        given = ["--config-dir", str(self.vault.config)]
        given += ["--passphrase-file", str(self.vault.passphrase_file)] if keys else []
        code = cli.main([*words, *given, *(["--json"] if as_json else [])])
        self.out, self.err = self._capsys.readouterr()
        assert code == expect, f"{words}: exit {code}\n{self.out}\n{self.err}"
        if not as_json:
            return self.out
        document = json.loads(self.out if code in (0, 8, 9) else self.err.strip().splitlines()[-1])
        return check(document) if code in (0, 8, 9) else document

    def job(self, verb: str, *words: str, **how: Any) -> Any:
        return self.run("job", verb, str(self.folder), *words, keys=verb == "run", **how)

    def steps(self, door: str) -> dict[str, Any]:
        (found,) = [item for item in self.job("status")["doors"] if item["door"] == door]
        return {item["step"]: item for item in found["steps"]}

    def states(self, door: str) -> list[str]:
        return [item["state"] for item in self.steps(door).values()]

    def empty(self, name: str, profile: str = "r503") -> str:
        return f"sim://{profile}/empty?state={self.base / name}.state"

    def next(self, door: str) -> str:
        (found,) = [item["next"] for item in self.job("status")["doors"] if item["door"] == door]
        return str(found)


@pytest.fixture
def bench(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Bench:
    made = Bench(tmp_path, capsys)
    made.job("new", "--name", "Hotel Zur Post")
    return made


# ---- the whole way --------------------------------------------------------------------------------------------------


def test_two_doors_go_all_the_way_and_nothing_is_done_twice(bench: Bench) -> None:
    bench.job("add", "Room 12", "--old", OLD, "--new", bench.empty("a"))
    bench.job(
        "add", "Tür 7", "--old", "sim://ttlock/full?passcodes=3&cards=2&fingers=1", "--new", bench.empty("b", "ttlock")
    )
    document = bench.job("run")
    assert document["ran"] == [f"{door}/{step}" for door in ("Room 12", "Tür 7") for step in (
        "backup", "plan", "restore", "verify"
    )]  # fmt: skip
    assert document["finished"] == 2
    for door in ("Room 12", "Tür 7"):
        place = bench.folder / door
        for step in ("backup", "plan", "restore", "verify"):
            check(json.loads((place / f"{step}.json").read_text(encoding="utf-8")))
        # No key, also none that is locked: the folder goes from hand to hand.
        assert sorted(path.name for path in place.iterdir()) == [
            "backup.age", "backup.json", "plan.json", "restore.json", "steps.json", "verify.json",
        ]  # fmt: skip
    held = b"".join(path.read_bytes() for path in bench.folder.rglob("*") if path.is_file())
    assert not any(secret in held for secret in bench.vault.secrets())
    assert bench.job("run")["ran"] == []
    assert bench.next("Room 12") == "finished"
    again = bench.job("run", "Room 12", "--only", "verify", "--again")
    assert again["ran"] == ["Room 12/verify"]
    assert bench.steps("Room 12")["verify"]["tries"] == 2


def test_the_table_says_door_by_step(bench: Bench) -> None:
    bench.job("add", "Room 12", "--old", OLD, "--new", "r503")
    assert bench.job("run", expect=9)["ran"] == ["Room 12/backup", "Room 12/plan"]
    lines = bench.job("status", as_json=False).splitlines()
    assert lines[0] == f"job    Hotel Zur Post  {bench.folder}"
    assert [line.split() for line in lines[3:5]] == [
        ["door", "backup", "plan", "restore", "verify"],
        ["Room", "12", "done", "done", "waits", "waits"],
    ]
    assert "waits for the new unit: job add --new TARGET" in lines[-1]


def test_a_model_becomes_a_unit_when_it_has_arrived(bench: Bench) -> None:
    bench.job("add", "Room 12", "--old", OLD, "--new", "profile:r503")
    bench.job("run", expect=9)
    bench.job("add", "Room 12", "--new", bench.empty("a"))
    assert bench.states("Room 12") == ["done", "changed", "waiting", "waiting"]
    assert bench.job("run")["ran"] == ["Room 12/plan", "Room 12/restore", "Room 12/verify"]


def test_names_and_consent_travel_with_the_door(bench: Bench) -> None:
    names = bench.base / "names.csv"
    names.write_text("31,Anna\n", encoding="utf-8")
    bench.job(
        "add", "Room 12", "--old", "sim://r503/full?fill=2", "--new", "r503", "--names", str(names), "--consent", "F 3"
    )
    names.unlink()
    bench.job("run", "Room 12", "--only", "backup")
    shown = bench.run("show", str(bench.folder / "Room 12" / "backup.age"), keys=True)
    assert [row.get("name") for row in shown["records"] if row["kind"] == "fingerprint"] == ["Anna", None]


# ---- what goes wrong ------------------------------------------------------------------------------------------------


def test_a_door_that_fails_does_not_stop_the_next(bench: Bench) -> None:
    bench.job("add", "A", "--old", "sim://hlk-zw101/full?encryption=1", "--new", "r503")
    bench.job("add", "B", "--old", OLD, "--new", "r503")
    document = bench.job("run", "--only", "backup", expect=9)
    assert document["ran"] == ["A/backup", "B/backup"]
    failed = bench.steps("A")["backup"]
    assert (failed["state"], failed["exit"]) == ("failed", 4)
    assert "encryption" in bench.next("A")
    assert bench.states("B")[0] == "done"
    bench.job("add", "A", "--old", OLD)  # another unit, and it goes on
    assert bench.job("run", "A", "--only", "backup")["ran"] == ["A/backup"]


def test_a_refused_plan_waits_for_its_decisions_and_nothing_is_written(bench: Bench) -> None:
    bench.job("add", "A", "--old", OLD, "--new", f"{bench.empty('a')}&slots=50")
    assert bench.job("run", expect=9)["ran"] == ["A/backup", "A/plan"]
    plan = bench.steps("A")["plan"]
    assert (plan["state"], plan["exit"], plan["code"]) == ("failed", 10, "plan-blocked")
    assert check(json.loads((bench.folder / "A" / "plan.json").read_text()))["executable"] is False
    assert "decisions.toml" in bench.next("A")
    questions = (bench.folder / "A" / "questions.toml").read_text(encoding="utf-8")
    assert tomllib.loads(questions)["answer"][0]["reason"] == "capacity"
    assert bench.states("A")[2:] == ["waiting", "waiting"]
    (bench.folder / "A" / "decisions.toml").write_text('[[answer]]\nreason = "capacity"\nchoice = "skip"\n')
    assert bench.states("A")[1] == "changed"
    assert bench.job("run")["ran"] == ["A/plan", "A/restore", "A/verify"]
    # One finger was left out by decision, which the check is told too.
    assert (bench.states("A")[3], bench.steps("A")["verify"]["exit"]) == ("done", 0)
    state = bench.base / "a.state"
    state.unlink()  # another unit, on which nothing lies: that was not decided
    assert bench.job("run", "--only", "verify", "--again", expect=9)["failed"] == 1
    assert "restore --again" in bench.next("A")


def test_other_records_on_the_new_unit_have_to_be_decided_about(bench: Bench) -> None:
    bench.job("add", "A", "--old", OLD, "--new", f"sim://r503/full?fill=9&serial=00000999&state={bench.base / 's'}")
    bench.job("run", expect=9)
    assert bench.steps("A")["plan"]["code"] == "target-not-empty"
    assert "--existing merge" in bench.next("A")
    bench.job("add", "A", "--existing", "merge")
    bench.job("run", "A", "--only", "plan")
    assert bench.states("A")[:3] == ["done", "done", "open"]


@pytest.mark.parametrize(("option", "step"), [("--unit", "backup"), ("--new-unit", "plan")])
def test_another_unit_than_the_expected_one_is_refused(bench: Bench, option: str, step: str) -> None:
    bench.job("add", "A", "--old", OLD, "--new", bench.empty("a"), option, "S1234")
    bench.job("run", expect=9)
    seen = bench.steps("A")[step]
    assert (seen["state"], seen["exit"], seen["code"]) == ("failed", 10, "other-unit")
    assert "S1234" in seen["message"]
    assert not (bench.folder / "A" / f"{step}.json").exists()


def test_the_old_unit_is_not_taken_for_the_new_one(bench: Bench) -> None:
    bench.job("add", "A", "--old", OLD, "--new", OLD)
    bench.job("run", expect=9)
    assert bench.steps("A")["plan"]["code"] == "wrong-target"


def test_a_backup_is_never_replaced_by_another(bench: Bench) -> None:
    bench.job("add", "A", "--old", OLD, "--new", "r503")
    bench.job("run", "--only", "backup")
    first = (bench.folder / "A" / "backup.age").read_bytes()
    bench.job("run", "--only", "backup", "--again")
    assert (bench.folder / "A" / "backup.age").read_bytes() == first
    assert bench.job("status")["doors"][0]["backup"] == "A/backup-2.age"
    (bench.folder / "A" / "backup-2.age").unlink()
    assert bench.steps("A")["backup"]["why"] == "the backup file is gone"


def test_a_failed_retry_keeps_the_backup_that_is_there(bench: Bench) -> None:
    bench.job("add", "A", "--old", OLD, "--new", "r503")
    bench.job("run", "--only", "backup")
    bench.job("add", "A", "--unit", "DEAD")
    bench.job("run", "--only", "backup", expect=9)
    assert bench.job("status")["doors"][0]["backup"] == "A/backup.age"


def test_a_credential_file_does_not_come_into_the_folder(bench: Bench) -> None:
    inside = bench.folder / "lock.toml"
    inside.write_text("[zk]\ncomm_key = 1\n")
    words = ["A", "--old", OLD, "--new", "r503", "--credential-file", str(inside)]
    assert bench.job("add", *words, expect=2)["code"] == "key-in-job"


def test_only_the_path_of_a_credential_file_is_kept_and_it_is_used(bench: Bench) -> None:
    key = bench.base / "terminal.toml"
    key.write_text("[zk]\ncomm_key = 123456\n")
    key.chmod(0o600)
    bench.job("add", "A", "--old", "sim://zk/half?comm_key=123456", "--new", "zk", "--credential-file", str(key))
    assert bench.job("run", "--only", "backup")["ran"] == ["A/backup"]
    text = (bench.folder / "job.toml").read_text(encoding="utf-8")
    assert str(key) in text
    assert text.count("123456") == 1  # of the simulated unit, not of the file
    key.write_text("[zk]\ncomm_key = 1\n")
    bench.job("run", "--only", "backup", "--again", expect=9)
    assert bench.steps("A")["backup"]["code"] == "wrong-credential"


# ---- stopped in the middle ------------------------------------------------------------------------------------------


async def test_a_step_that_did_not_end_is_interrupted_and_run_again(tmp_path: Path) -> None:
    job = add_door(new_job(tmp_path / "job"), Door(name="A", old=OLD, new="r503"))
    (door,) = job.file.door

    async def stopped(*_: Any) -> Outcome:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await run_door(job, door, stopped)
    seen = see_door(job, door)
    assert seen.steps[0].state == "interrupted"
    assert "run it again" in seen.next

    async def ends(door: Door, step: str, work: Any) -> Outcome:
        work.backup.write_bytes(b"sealed")
        return Outcome(document="{}\n", exit_code=0, file=work.backup)

    assert await run_door(job, door, ends, only="backup") == ("A/backup",)
    assert see_door(job, door).steps[0].tries == 2


async def test_a_lost_link_is_told_with_its_exit_code_and_what_to_do(tmp_path: Path) -> None:
    job = add_door(new_job(tmp_path / "job"), Door(name="A", old=OLD, new="r503"))

    async def lost(*_: Any) -> Outcome:
        raise LinkLost

    assert await run_door(job, job.file.door[0], lost) == ("A/backup",)
    step = see_door(job, job.file.door[0]).steps[0]
    assert (step.state, step.exit, step.code) == ("failed", 5, "link-lost")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_run_that_was_killed_while_it_wrote_ends_when_it_is_run_again(bench: Bench) -> None:
    new = bench.empty("a")
    bench.job("add", "A", "--old", "sim://r503/full?fill=40", "--new", new)
    bench.job("run", "--only", "backup")
    bench.job("run", "--only", "plan")
    command = [sys.executable, "-m", "lockmigrate", "job", "run", str(bench.folder), "--config-dir"]
    command += [str(bench.vault.config), "--passphrase-file", str(bench.vault.passphrase_file), "--json"]
    journal = bench.vault.config / "journal.jsonl"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 30
        while not (journal.exists() and "started" in journal.read_text()) and time.monotonic() < deadline:
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
    assert bench.states("A")[:3] == ["done", "done", "interrupted"]
    assert bench.job("run")["ran"] == ["A/restore", "A/verify"]
    assert bench.steps("A")["restore"]["tries"] == 2
    assert bench.job("status")["finished"] == 1


# ---- the folder's own files -----------------------------------------------------------------------------------------


def test_job_toml_is_read_as_it_was_written(bench: Bench) -> None:
    bench.job("add", 'Zimmer "12"'.replace('"', ""), "--old", OLD, "--new", "r503", "--consent", 'Akte "7" \\ 张\x7f')
    text = (bench.folder / "job.toml").read_text(encoding="utf-8")
    document = tomllib.loads(text)
    assert document["name"] == "Hotel Zur Post"
    assert document["door"][0]["consent"] == 'Akte "7" \\ 张\x7f'
    assert text.startswith("# A lockmigrate job.")


def test_changing_a_door_keeps_the_others_and_the_order(bench: Bench) -> None:
    for name in ("A", "B", "C"):
        bench.job("add", name, "--old", OLD, "--new", "r503")
    document = bench.job("add", "b", "--new", "as608")
    assert [(door["door"], door["new"]) for door in document["doors"]] == [("A", "r503"), ("B", "as608"), ("C", "r503")]


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\\b", ".a", "a.", "con", "LPT1.x", "a:b", "x" * 65, "a\n", " a"])
def test_a_door_is_not_called_what_no_folder_can_be(name: str) -> None:
    with pytest.raises(ConfigError):
        check_name(name)


@pytest.mark.parametrize("name", ["Room 12", "a", "门 3", "Tür (Süd)", "A&B #2", "1.07"])
def test_a_door_is_called_as_people_call_it(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    ("file", "text", "code"),
    [
        ("job.toml", "schema = 1", "bad-job"),
        ("job.toml", "not toml", "bad-job"),
        ("job.toml", 'schema = 2\nname = "x"\nsalt = "00112233445566778899aabbccddeeff"', "bad-job"),
        ("job.toml", HEAD + '[[door]]\nname = "../x"\nold = "a"\nnew = "b"', "bad-door"),
        ("job.toml", HEAD + '[[door]]\nname = "x"\nold = "a"\nnew = "b"\n' * 2, "bad-job"),
        ("job.toml", 'schema = 1\nname = "x"\nsalt = "zz"', "bad-job"),
        ("A/steps.json", "{", "bad-job"),
        ("A/steps.json", "[]", "bad-job"),
    ],
)
def test_a_damaged_file_is_named(bench: Bench, file: str, text: str, code: str) -> None:
    bench.job("add", "A", "--old", OLD, "--new", "r503")
    (bench.folder / file).write_text(text, encoding="utf-8")
    assert bench.job("status", expect=2)["code"] == code


def test_mistakes_of_the_command_line(bench: Bench) -> None:
    assert bench.job("new", expect=2)["code"] == "file-exists"
    assert bench.job("add", "A", "--old", OLD, expect=2)["code"] == "config"
    assert bench.job("add", "A", "--old", OLD, "--new", "r504", expect=2)["code"] == "unknown-profile"
    assert bench.job("add", "A", "--old", "/dev/ttyUSB0", "--new", "r503", expect=2)["code"] == "bad-target"
    assert bench.job("run", "B", expect=2)["code"] == "no-such-door"
    assert bench.run("job", "status", str(bench.base), expect=2)["code"] == "no-job"
    assert "job add" in bench.job("status", as_json=False)


def test_what_steps_were_done_with_tells_nothing_of_a_pin(bench: Bench) -> None:
    decisions = bench.base / "decisions.toml"
    decisions.write_text('[[answer]]\nkey = "pin/1"\nchoice = "value"\nvalue = "4711"\n')
    decisions.chmod(0o600)
    bench.job("add", "A", "--old", OLD, "--new", "r503", "--decisions", str(decisions))
    copy = bench.folder / "A" / "decisions.toml"
    assert copy.stat().st_mode & 0o077 == 0
    bench.job("run", expect=9)
    assert "4711" not in bench.out + bench.err + (bench.folder / "A" / "steps.json").read_text()
    assert PASSPHRASE not in bench.out + bench.err


def test_every_step_has_its_command() -> None:
    assert list(job_cmd._COMMANDS) == ["backup", "plan", "restore", "verify"]
    assert load_job.__doc__
