"""The command line's shell: exit codes, error documents, help, questions, layout. No unit is needed for any of it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import click
import pytest
from rich.cells import cell_len

from lockmigrate import cli as shell
from lockmigrate.cli import ask, failure, parts, progress, reasons, render, runner, screens, tables
from lockmigrate.cli.completion import TargetBashComplete, backups
from lockmigrate.cli.danger import danger_lines
from lockmigrate.cli.options import Common, Context, KeyOptions, UnitOptions, common, key_options, unit_options
from lockmigrate.cli.words import clean
from lockmigrate.errors import (
    BackupError,
    Cancelled,
    ConfigError,
    ConnectError,
    ConnectReason,
    LinkLost,
    LockmigrateError,
    MismatchError,
    PolicyError,
    RefusedError,
    WrongKeyError,
)
from lockmigrate.model.document import Gap
from lockmigrate.model.records import LOSS_CODES, Loss
from lockmigrate.model.results import (
    BackupResult,
    InfoResult,
    MigrateResult,
    PlanResult,
    Progress,
    RecordResult,
    RestoreResult,
    Result,
    ScanResult,
    ShowResult,
    TryResult,
    Unit,
    VerifyResult,
    WipeResult,
)
from lockmigrate.model.secret import MASK, Secret

ROOT = Path(__file__).resolve().parents[1]
LEAVES = [entry[0] for entry in shell.COMMANDS if entry[2]]
GROUPS = [entry[0] for entry in shell.COMMANDS if not entry[2]]
HEAVY = {"bleak", "bumble", "asyncio", "construct", "cryptography", "rich", "msgspec", "serial", "platformdirs"}

UNIT = Unit(
    id="00417", serial="00417", family="ef01", model="R503", firmware="1.4", profile="r503", target="sim://r503/full",
    label="侧门", simulated=True, counts={"fingerprints": 2},
)  # fmt: skip
SIGNER = "SHA256:" + "a" * 43


def start(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lockmigrate", *arguments],
        capture_output=True, text=True, encoding="utf-8", check=False, timeout=30, stdin=subprocess.DEVNULL, cwd=ROOT,
        env={**os.environ, **environment},
    )  # fmt: skip


def context(**given: Any) -> Context:
    return Context(common=Common(config_dir=Path("nowhere"), **given), unit=UnitOptions(), keys=KeyOptions())


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make `lockmigrate scan` end as asked, and return its runner: (exception or result, arguments) to exit code."""

    def run(outcome: Any, *arguments: str) -> int:
        @click.command("scan")
        @common
        def scan(ctx: Context) -> Any:
            """Stand in for a command."""
            kept_here = "-".join(("local", "value"))
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome if kept_here else None

        monkeypatch.setattr("lockmigrate.cli.scan_cmd.scan", scan)
        return shell.main(["scan", *arguments])

    return run


# ---- exit codes and error documents ---------------------------------------------------------------------------------

ENDINGS: list[tuple[BaseException, int, str]] = [
    (ConfigError("x"), 2, "config"),
    (ConnectError("x", reason=ConnectReason.BUSY), 3, "busy"),
    (RefusedError("x"), 4, "refused"),
    (LinkLost(), 5, "link-lost"),
    (BackupError("x", code="too-large"), 6, "too-large"),
    (WrongKeyError("x", code="no-identity"), 7, "no-identity"),
    (MismatchError("x", differences=("fingerprint/3",)), 8, "differs"),
    (PolicyError("x", code="stale"), 10, "stale"),
    (Cancelled("declined"), 130, "cancelled"),
    (KeyboardInterrupt(), 130, "cancelled"),
    (click.Abort(), 130, "cancelled"),
    (asyncio.CancelledError(), 130, "cancelled"),
    (click.UsageError("Bad."), 2, "usage"),
    (ExceptionGroup("two", [LinkLost(), ValueError("later")]), 5, "link-lost"),
]


@pytest.mark.parametrize(("error", "code", "machine"), ENDINGS, ids=lambda value: type(value).__name__)
def test_an_error_ends_with_its_exit_code_and_a_document_as_the_last_line(
    error: BaseException, code: int, machine: str, ending: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(error, "--json") == code
    out, err = capsys.readouterr()
    document = json.loads(err.splitlines()[-1])
    assert out == ""
    assert list(document)[:6] == ["schema", "code", "exit", "message", "hint", "target"]
    assert (document["schema"], document["exit"], document["code"]) == ("lockmigrate.error/1", code, machine)


@pytest.mark.parametrize(("error", "code", "machine"), ENDINGS, ids=lambda value: type(value).__name__)
def test_an_error_is_said_to_people_in_our_form(
    error: BaseException, code: int, machine: str, ending: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(error) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert all(line.startswith("lockmigrate: ") for line in err.splitlines())
    assert "Traceback" not in err


def test_a_bug_ends_with_1_and_leaves_its_traceback_without_locals_in_a_private_file(
    ending: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert ending(KeyError("4711-pin"), "--json") == 1
    out, err = capsys.readouterr()
    (file,) = tmp_path.iterdir()
    document = json.loads(err.splitlines()[-1])
    assert (out, document["code"]) == ("", "internal")
    assert str(file) in document["hint"]
    assert "4711" not in err
    text = file.read_text(encoding="utf-8")
    assert "Traceback" in text
    assert "local-value" not in text, "locals have no business there"
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "arguments",
    [["--json", "nonsense"], ["sim", "serve", "--json"], ["scan", "--json", "--nope"], ["scan", "extra", "--json"]],
)
def test_a_usage_error_is_a_document_when_json_stands_anywhere(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert shell.main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, json.loads(err.splitlines()[-1])["code"]) == ("", "usage")


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["restor"], 'did you mean "lockmigrate restore"?'),
        (["sim", "lst"], 'did you mean "lockmigrate sim list"?'),
        (["scan", "--jsn"], "did you mean --json?"),
        (["keys", "init", "--passphrase", "hunter2"], "--passphrase-file"),
        (["backup", "--pin=1234", "x"], "secrets are not taken from a command line"),
    ],
)
def test_what_was_probably_meant_is_suggested(
    arguments: list[str], wanted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shell.main(arguments) == 2
    err = capsys.readouterr().err
    assert wanted in err
    assert not any(secret in err for secret in ("hunter2", "1234"))


def test_a_group_without_a_command_shows_its_help_and_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert shell.main(["keys"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "init" in err


def test_a_result_ends_with_its_exit_code(ending: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(ScanResult(exit_code=9)) == 9
    assert "no serial port found" in capsys.readouterr().out


def test_exit_10_prints_the_document_and_then_the_error(ending: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(ALL["plan"], "--json") == 10
    out, err = capsys.readouterr()
    assert json.loads(out)["blocked_by"] == ["target-not-empty"]
    assert json.loads(err.splitlines()[-1])["code"] == "target-not-empty"


@pytest.mark.parametrize("trust", ["untrusted", "unsigned", "revoked", "expired", "drift"])
def test_a_backup_that_is_not_trusted_is_refused_after_it_was_shown(trust: str) -> None:
    refusal = render.refusal_of(msg(ALL["show"], trust=trust, exit_code=10))
    assert isinstance(refusal, PolicyError)
    assert refusal.code in {"untrusted", "unsigned", "drift"}


def test_a_command_may_be_a_coroutine(capsys: pytest.CaptureFixture[str]) -> None:
    async def work() -> ScanResult:
        await asyncio.sleep(0)
        return ScanResult()

    assert runner.perform(lambda _: work(), context(json=True), {}) == 0
    assert json.loads(capsys.readouterr().out)["ports"] == []


@pytest.mark.skipif(os.name != "posix", reason="needs a signal that another process can send")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_cancels_the_operation_and_its_finally_runs(number: int, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import asyncio, click, lockmigrate.cli as cli, lockmigrate.cli.scan_cmd as module\n"
        "from lockmigrate.cli.options import common\n"
        "@click.command()\n"
        "@common\n"
        "async def scan(ctx):\n"
        "    try:\n"
        "        print('ready', flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "    finally:\n"
        "        await asyncio.sleep(0)\n"
        "        print('cleaned up', flush=True)\n"
        "module.scan = scan\n"
        "import sys; sys.argv[1:] = ['scan', '--json']\n"
        "cli.run()\n",
        encoding="utf-8",
    )
    with subprocess.Popen(
        [sys.executable, str(program)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "cleaned up\n")
    assert json.loads(err.splitlines()[-1])["exit"] == 130


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_an_error_and_no_traceback() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "lockmigrate", "sim", "list"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=30, cwd=ROOT,
        )  # fmt: skip
    assert done.returncode == 2
    assert "cannot write the output" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="needs a pipe whose reader goes away")
def test_a_reader_that_goes_away_is_no_failure() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "lockmigrate", "sim", "list"],
        stdout=writer, stderr=subprocess.PIPE, text=True, check=False, timeout=30, cwd=ROOT,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(os.name != "posix", reason="needs a pipe whose reader goes away")
@pytest.mark.at_once
def test_nobody_reading_the_progress_stops_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "lockmigrate", "migrate", "sim://r503/half", "sim://r503/empty", "--progress", "json"],
        stdout=subprocess.PIPE,
        stderr=writer,
        text=True,
        check=False,
        timeout=30,
        cwd=ROOT,
    )
    os.close(writer)
    assert done.returncode == 0
    assert "records equal" in done.stdout


# ---- help -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [("--help",), ("sim", "-h"), ("scan", "-h"), ("keys", "init", "-h")])
def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "lockmigrate", *arguments],
        capture_output=True, text=True, check=True, timeout=30, cwd=ROOT,
    )  # fmt: skip
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "click" in imported
    assert imported & HEAVY == set()
    assert done.stdout.startswith("Usage: lockmigrate")


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_explains_itself_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert shell.main([*name.split(), "-h"]) == 0
    text = capsys.readouterr().out
    assert f"Usage: lockmigrate {name}" in text
    assert f"\n    lockmigrate {name}" in text, "an example line"
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("name", GROUPS)
def test_every_group_lists_its_commands(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert shell.main([name, "--help"]) == 0
    text = capsys.readouterr().out
    mine = [leaf.removeprefix(f"{name} ") for leaf in LEAVES if leaf.startswith(f"{name} ")]
    assert mine
    assert all(f"\n  {leaf} " in text for leaf in mine)


def test_the_top_help_fits_one_screen_and_truncates_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert shell.main(["-h"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert len(text.splitlines()) <= 40
    assert "..." not in text.split("Commands:")[1]


def test_no_option_takes_a_secret() -> None:
    taking = []
    for name in LEAVES:
        command: Any = shell.cli
        for part in name.split():
            command = command.get_command(click.Context(command), part)
        for option in command.params:
            secret = any(word in str(option.name) for word in ("passphrase", "password", "pin", "credential"))
            if secret and not isinstance(option.type, click.Path):
                taking.append(f"{name} {option.name}")
    assert taking == []


def test_the_module_names_itself_lockmigrate_and_knows_its_version() -> None:
    done = start("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("lockmigrate ")


# ---- options --------------------------------------------------------------------------------------------------------


def test_options_are_collected_for_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Context] = []

    @click.command()
    @unit_options
    @key_options
    @common
    def probe(ctx: Context) -> None:
        seen.append(ctx)

    monkeypatch.setenv("LOCKMIGRATE_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("LOCKMIGRATE_CREDENTIAL_FILE", "c.toml")
    monkeypatch.setenv("LOCKMIGRATE_PASSPHRASE_FILE", "p.txt")
    probe.main(["--label", "door", "--identity", "a", "--identity", "b", "--no-key-copy", "-vv"], standalone_mode=False)
    (ctx,) = seen
    assert (ctx.common.config_dir, ctx.common.verbose, ctx.common.progress) == (tmp_path, 2, "auto")
    assert (ctx.unit.label, ctx.unit.credential_files) == ("door", (Path("c.toml"),))
    assert ctx.keys.passphrase_file == Path("p.txt")
    assert (ctx.keys.identities, ctx.keys.key_copy) == ((Path("a"), Path("b")), False)


def test_one_credential_file_serves_both_targets_and_two_go_in_order() -> None:
    one, two = Path("one"), Path("two")
    assert [UnitOptions(credential_files=(one,)).credential_file(at) for at in (0, 1)] == [one, one]
    assert [UnitOptions(credential_files=(one, two)).credential_file(at) for at in (0, 1)] == [one, two]
    assert UnitOptions().credential_file(0) is None


def test_an_error_document_names_the_target(capsys: pytest.CaptureFixture[str]) -> None:
    assert shell.main(["info", "sim://nothing-like-it/full", "--json"]) == 2
    assert json.loads(capsys.readouterr().err.splitlines()[-1])["target"] == "sim://nothing-like-it/full"


# ---- rendering ------------------------------------------------------------------------------------------------------


def msg(result: Any, **changes: Any) -> Any:
    from msgspec.structs import replace

    return replace(result, **changes)


RECORDS = (
    RecordResult(key="fingerprint/1", kind="fingerprint", outcome="copy", proof="V4"),
    RecordResult(key="fingerprint/2", kind="fingerprint", outcome="copy", done=True, proof="V4"),
    RecordResult(key="fingerprint/3", kind="fingerprint", outcome="re_enrol", reasons=("template-size",)),
    RecordResult(key="fingerprint/4", kind="fingerprint", outcome="needs_input", reasons=("template-look-alike",)),
    RecordResult(key="setting/ef01.address", kind="setting", outcome="skip", reasons=("device-bound",)),
)
GAPS = (
    Gap(section="users", record=None, code="unsupported-by-unit", detail="the module knows no names", announced=True),
)
LOSSES = (Loss(record="fingerprint/9", stage="read", code="template-unreadable"),)
BACKUP = BackupResult(
    unit=UNIT, file="old.age", backup_id="7q3m", manifest_sha256="00", signer=SIGNER, recipients=("age1abc",),
    counts={"fingerprints": 2}, gaps=GAPS,
)  # fmt: skip
RESTORE = RestoreResult(
    file="old.age", backup_id="7q3m", source=UNIT, unit=UNIT, records=RECORDS[:2], written=1, already_equal=1
)
ALL: dict[str, Result] = {
    "info": InfoResult(unit=UNIT, carries={"fingerprints": "byte for byte"}, notes=("a note",)),
    "scan": ScanResult(),
    "backup": BACKUP,
    "show": ShowResult(
        file="old.age", backup_id="7q3m", created_at="2026-01-02T03:04:05Z", signer=SIGNER, trust="untrusted",
        unit=UNIT, records=({"key": "fingerprint/1", "kind": "fingerprint", "name": "张伟"},), gaps=GAPS,
    ),
    "verify": VerifyResult(
        file="old.age", backup_id="7q3m", signer=SIGNER, trust="trusted", unit=UNIT, target=UNIT, records=RECORDS,
        extra=("fingerprint/7",), not_compared=("setting/ef01.address",), losses=LOSSES,
    ),
    "plan": PlanResult(
        file="old.age", backup_id="7q3m", source=UNIT, unit=UNIT, executable=False, exit_code=10,
        blocked_by=("target-not-empty",), records=RECORDS, existing=("fingerprint/7",), gaps=GAPS, losses=LOSSES,
    ),
    "restore": RESTORE,
    "migrate": MigrateResult(
        backup=BACKUP, restore=RESTORE, file="old.age", backup_id="7q3m", unit=UNIT, records=RECORDS[:2],
        throw_away_keys=True,
    ),
    "wipe": WipeResult(unit=UNIT, erased={"fingerprints": 2}),
    "try": TryResult(unit=UNIT, matched=True, slot=3, score=120),
}  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_a_result_is_one_json_document_with_the_fields_of_its_struct(name: str) -> None:
    result = ALL[name]
    document = json.loads(render.json_line(result))
    assert list(document) == [field for field in result.__struct_fields__ if field != "exit_code"]
    assert document["schema"].startswith("lockmigrate.")
    assert all(isinstance(document[key], list) for key in ("gaps", "losses", "records") if key in document)
    assert render.json_line(result).count("\n") == 1
    assert "exit_code" not in render.json_line(result)


@pytest.mark.parametrize("name", ALL)
def test_every_result_has_a_screen_that_fits_80_columns(name: str) -> None:
    lines = tables.plain(tables.lay_out(screens.screen(ALL[name]), width=80)).splitlines()
    assert lines
    assert [line for line in lines if cell_len(line) > 80] == []


@pytest.mark.parametrize("name", ["backup", "show", "plan"])
def test_announced_gaps_stand_on_the_screen(name: str) -> None:
    assert "the module knows no names" in render.for_people(ALL[name])


def test_an_unknown_signer_is_the_first_thing_said() -> None:
    assert render.for_people(ALL["show"]).startswith(f"UNKNOWN SIGNER {SIGNER}")
    assert "UNKNOWN" not in render.for_people(msg(ALL["show"], trust="trusted"))


def test_a_migration_is_told_in_four_lines() -> None:
    lines = render.for_people(ALL["migrate"]).splitlines()
    assert [line.split("  ")[0] for line in lines[:4]] == ["read", "sealed", "restored", "read back"]
    assert lines[3] == "read back  2 of 2 records equal"


def test_a_plan_says_who_must_come_back_and_what_to_do() -> None:
    text = render.for_people(ALL["plan"])
    for wanted in ("has to come back and enrol again (1)", "fingerprint/3", "--accept-look-alike", "--existing merge"):
        assert wanted in text


def test_a_restore_that_proved_nothing_does_not_claim_it() -> None:
    record = RecordResult(key="fingerprint/1", kind="fingerprint", outcome="copy", reasons=("write-refused",))
    text = render.for_people(msg(RESTORE, records=(record,), written=0, already_equal=0, exit_code=9))
    assert "0 of 1 record equal" in text
    assert "the unit refused to store it" in text


def test_secrets_are_dots_and_bytes_are_hex() -> None:
    text = render.json_line({"pin": Secret("4711"), "raw": b"\xab\x01", "deep": [{"key": Secret(b"4711")}]})
    assert json.loads(text) == {"pin": MASK, "raw": "ab01", "deep": [{"key": MASK}]}
    shown = msg(ALL["show"], records=({"key": "setting/x", "kind": "setting", "value": Secret("4711")},))
    assert "4711" not in render.for_people(shown)
    assert MASK in render.for_people(shown)


def test_a_file_name_that_is_no_text_is_still_json() -> None:
    assert json.loads(render.json_line({"file": "a\udcff"}))["file"] == "a\udcff"


def test_chinese_names_stand_in_aligned_columns() -> None:
    block = tables.Table(("name", "slot"), [("张伟", "1"), ("Ann", "2"), ("王小明", "3")])
    rows = tables.plain(tables.lay_out([block], width=None)).splitlines()
    assert {cell_len(row) - 1 for row in rows[1:]} == {8}
    assert rows[1] == "张伟    1"


def test_text_wraps_between_words_and_wide_characters_and_never_inside_a_key() -> None:
    assert tables.wrap("one two three", 8) == ["one two", "three"]
    assert tables.wrap("一二三四五", 4) == ["一二", "三四", "五"]
    key = "fingerprint/" + "9" * 60
    assert tables.wrap(f"see {key} there", 20) == ["see", key, "there"]


def test_a_pipe_gets_one_line_per_row() -> None:
    block = tables.Facts([("label", "word " * 60)])
    assert len(tables.lay_out([block], width=None)) == 1
    assert len(tables.lay_out([block], width=80)) > 3


def test_a_terminal_is_never_obeyed() -> None:
    assert clean("a\x1b[31mb\u202ec\n") == "a\\x1b[31mb\\u202ec\\n"
    assert clean("侧门\u3000东") == "侧门\u3000东"
    evil = msg(UNIT, model="\x1b]0;owned\x07", label="[bold]x[/bold]")
    text = render.for_people(InfoResult(unit=evil))
    assert "\x1b" not in text
    assert "[bold]x[/bold]" in text


def test_runs_of_keys_are_folded_and_none_is_lost() -> None:
    assert parts.keys_text(["f/1", "f/2", "f/3", "f/7", "s/x", "f/8"]) == "f/1 to 3, 7, s/x, f/8"
    assert parts.keys_text([f"f/{at * 2}" for at in range(50)], most=2) == "f/0, 2, and 48 more (--json lists all)"


@pytest.mark.parametrize(("variable", "coloured"), [("", True), ("1", False)])
def test_no_color_is_honoured(variable: str, coloured: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", variable)
    assert ("\x1b[" in render.for_people(ALL["plan"])) is coloured


def test_every_loss_code_has_a_sentence() -> None:
    assert LOSS_CODES - set(reasons.REASONS) == set()
    assert [text for text in reasons.REASONS.values() if text.endswith(".") or "  " in text] == []


def test_warnings_go_to_stderr_and_into_json(ending: Any, capsys: pytest.CaptureFixture[str]) -> None:
    ending(ScanResult(warnings=("mind the step",)))
    people = capsys.readouterr()
    assert "mind the step" not in people.out
    assert people.err == "lockmigrate: warning: mind the step\n"
    ending(ScanResult(warnings=("mind the step",)), "--json")
    machine = capsys.readouterr()
    assert (json.loads(machine.out)["warnings"], machine.err) == (["mind the step"], "")


# ---- progress -------------------------------------------------------------------------------------------------------


async def _three(closed: list[bool], fail: bool = False) -> AsyncIterator[Progress | str]:
    try:
        for done in range(3):
            yield Progress(stage="read", done=done, total=3, size_bytes=done * 10)
        if fail:
            raise LinkLost
        yield "whole"
    finally:
        closed.append(True)


async def test_the_last_item_is_the_result_and_a_pipe_sees_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    closed: list[bool] = []
    assert await progress.drain(_three(closed), context().common) == "whole"
    assert closed == [True]
    assert capsys.readouterr() == ("", "")


async def test_progress_for_front_ends_is_json_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    await progress.drain(_three([]), context(progress="json").common)
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in err.splitlines()]
    assert out == ""
    assert lines[2] == {"schema": "lockmigrate.progress/1", "stage": "read", "done": 2, "total": 3, "size_bytes": 20}


async def test_a_failing_operation_is_closed_and_its_error_comes_through() -> None:
    closed: list[bool] = []
    with pytest.raises(LinkLost):
        await progress.drain(_three(closed, fail=True), context().common)
    assert closed == [True]


@pytest.mark.parametrize("fail", [True, False])
async def test_a_bar_appears_after_a_second_and_leaves_the_terminal_clean(
    fail: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def slow() -> AsyncIterator[Progress | str]:
        yield Progress(stage="read", done=1, total=3)
        await asyncio.sleep(2 * progress.SHOW_AFTER_S)
        if fail:
            raise LinkLost
        yield "whole"

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    if fail:
        with pytest.raises(LinkLost):
            await progress.drain(slow(), context().common)
    else:
        assert await progress.drain(slow(), context().common) == "whole"
    out, err = capsys.readouterr()
    assert out == ""
    assert "1/3" in err
    assert err.count("\x1b[?25l") == err.count("\x1b[?25h") == 1, "the cursor is back"


def test_the_rate_is_in_bytes_where_bytes_move() -> None:
    assert progress.rate_text(Progress(stage="read", done=10, total=20, size_bytes=30_000), 2.0) == "15.0 kB/s"
    assert progress.rate_text(Progress(stage="write", done=10, total=20), 2.0) == "5.0 records/s"
    assert progress.rate_text(Progress(stage="write", done=0, total=20), 2.0) == ""


# ---- questions ------------------------------------------------------------------------------------------------------


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretend that a person types the given answers; what was asked is kept in `asked`."""
    asked: list[str] = []

    def types(*answers: Any) -> list[str]:
        left = list(answers)

        def prompt(text: str, **_: Any) -> str:
            asked.append(text)
            answer = left.pop(0)
            return str(answer() if callable(answer) else answer)

        monkeypatch.setattr(ask, "on_terminal", lambda: True)
        monkeypatch.setattr(click, "prompt", prompt)
        return asked

    return types


def test_a_script_names_the_unit_or_ends_at_once() -> None:
    ask.confirm_unit("00417", "00417", "all goes")
    with pytest.raises(ConfigError) as wrong:
        ask.confirm_unit("00417", "00418", "all goes")
    assert (wrong.value.code, wrong.value.exit_code) == ("wrong-confirm", 2)
    with pytest.raises(ConfigError) as absent:
        ask.confirm_unit("side door", None, "all goes", is_terminal=False)
    assert (absent.value.code, absent.value.exit_code) == ("confirm-needed", 2)
    assert "--confirm 'side door'" in str(absent.value.hint)


def test_a_person_types_the_unit_after_reading_what_happens(terminal: Any, capsys: pytest.CaptureFixture[str]) -> None:
    terminal("00417", "00418", "")
    ask.confirm_unit("00417", None, danger_lines(msg(ALL["plan"], removals=("fingerprint/7",)), "before.age"))
    err = capsys.readouterr().err
    assert "This replaces the records on R503 (simulated) serial 00417" in err
    assert "remove 1 record: fingerprint/7" in err
    assert "A copy of what is there now goes to before.age" in err
    for _ in range(2):
        with pytest.raises(Cancelled):
            ask.confirm_unit("00417", None, "all goes")


def test_a_new_passphrase_is_asked_twice_and_a_short_one_refused(terminal: Any) -> None:
    asked = terminal(
        "short", "long enough, surely", "long enough, surely?", "long enough, surely", "long enough, surely"
    )
    assert ask.ask_passphrase(new=True) == ask.Passphrase("long enough, surely")
    assert len(asked) == 5
    assert "surely" not in repr(ask.Passphrase("long enough, surely"))


def test_an_empty_answer_makes_a_passphrase_that_is_shown_once_and_typed_back(
    terminal: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[str] = []

    def read_back() -> str:
        err = capsys.readouterr().err
        shown.extend(line.strip() for line in err.splitlines() if line.startswith("    "))
        return shown[0].replace("-", " ")

    terminal("", "something else", read_back)
    chosen = ask.ask_passphrase(new=True)
    assert chosen.generated
    assert shown == [chosen.text]
    assert chosen.text not in capsys.readouterr().err


def test_a_choice_is_one_of_the_offered(terminal: Any) -> None:
    terminal("x", "rep", "")
    trouble = ConfigError("nobody")
    assert ask.ask_choice("what now?", {"merge": "keep", "replace": "remove"}, otherwise=trouble) == "replace"
    with pytest.raises(Cancelled):
        ask.ask_choice("what now?", {"merge": "keep"}, otherwise=trouble)


@pytest.mark.parametrize(
    "question",
    [
        lambda: ask.ask_passphrase(new=True),
        lambda: ask.ask_passphrase(new=False),
        lambda: ask.confirm_unit("1", None, "x"),
        lambda: ask.ask_text("who?", otherwise=ConfigError("nobody")),
        lambda: ask.ask_choice("which?", {"a": "b"}, otherwise=ConfigError("nobody")),
    ],
)
def test_nothing_is_asked_without_a_terminal(question: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "on_terminal", lambda: False)
    with pytest.raises(LockmigrateError) as error:
        question()
    assert error.value.exit_code == 2


@pytest.mark.at_once
def test_keys_init_does_not_hang_a_script(tmp_path: Path) -> None:
    done = start("keys", "init", "--config-dir", str(tmp_path / "keys"), "--json", LOCKMIGRATE_PASSPHRASE_FILE="")
    assert done.returncode == 2
    assert json.loads(done.stderr.splitlines()[-1])["code"] == "no-passphrase"
    assert not (tmp_path / "keys").exists()


# ---- commands that touch no unit ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Return a config directory with keys, made by the command itself, and what it said."""
    folder = tmp_path_factory.mktemp("cli-keys")
    secret = folder / "passphrase.txt"
    secret.write_text("correct horse battery\n", encoding="utf-8")
    secret.chmod(0o600)
    done = start("keys", "init", "--config-dir", str(folder / "keys"), "--passphrase-file", str(secret), "--json")
    assert done.returncode == 0, done.stderr
    assert "correct" not in done.stdout + done.stderr
    return folder / "keys", json.loads(done.stdout)


def test_keys_show_gives_what_others_need(keys: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder, made = keys
    assert shell.main(["keys", "show", "--config-dir", str(folder), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert {shown[name] == made[name] for name in ("recipient", "signer", "public_key")} == {True}
    assert shown["recipient"].startswith("age1")
    assert shown["signer"].startswith("SHA256:")
    assert shown["public_key"].startswith("ssh-ed25519 ")


def test_keys_are_never_replaced(keys: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert shell.main(["keys", "init", "--config-dir", str(keys[0]), "--json"]) == 2
    assert json.loads(capsys.readouterr().err.splitlines()[-1])["code"] == "keys-exist"


def test_the_exported_identity_stays_locked_and_replaces_nothing(
    keys: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "key-copy.age"
    assert shell.main(["keys", "export", str(copy), "--config-dir", str(keys[0])]) == 0
    assert copy.read_bytes() == (keys[0] / "identity.age").read_bytes()
    assert shell.main(["keys", "export", str(copy), "--config-dir", str(keys[0])]) == 2
    assert "exists already" in capsys.readouterr().err


def test_a_signer_is_trusted_only_by_the_right_fingerprint(
    keys: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, made = keys
    mine = ["--config-dir", str(tmp_path / "mine"), "--json"]
    public = str(folder / "signing.pub")
    assert shell.main(["trust", "add", public, "--confirm", SIGNER, *mine]) == 2
    assert shell.main(["trust", "list", *mine]) == 0
    assert json.loads(capsys.readouterr().out)["signers"] == []
    assert shell.main(["trust", "add", public, "--confirm", made["signer"], *mine]) == 0
    capsys.readouterr()
    assert shell.main(["trust", "list", *mine]) == 0
    (signer,) = json.loads(capsys.readouterr().out)["signers"]
    assert signer["fingerprint"] == made["signer"]


def test_one_broken_profile_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.toml").write_text("schema = [", encoding="utf-8")
    monkeypatch.setenv("LOCKMIGRATE_PROFILE_PATH", str(tmp_path))
    assert shell.main(["profiles", "list", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [item["name"] for item in document["broken"]] == ["broken"]
    assert "r503" in [item["name"] for item in document["profiles"]]
    assert shell.main(["profiles", "list"]) == 0
    assert "not TOML" in capsys.readouterr().out


def test_profiles_are_shown_and_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert shell.main(["profiles", "show", "r503"]) == 0
    assert "sources:" in capsys.readouterr().out
    assert shell.main(["profiles", "check", str(ROOT / "firmware_profiles" / "r503.toml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "lockmigrate.profile-check/1"
    assert shell.main(["profiles", "check", "no-such.toml"]) == 2


def test_scan_gives_targets_to_paste(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from lockmigrate.targets import parse_target
    from lockmigrate.transports.ports import PortInfo

    devices = ["/dev/ttyUSB0", "COM3", "/dev/tty odd?100%"]
    found = [PortInfo(device=device, description="UART", vid=0x10C4, pid=0xEA60) for device in devices]
    monkeypatch.setattr("lockmigrate.transports.ports.list_serial_ports", lambda: found)
    assert shell.main(["scan", "--json"]) == 0
    ports = json.loads(capsys.readouterr().out)["ports"]
    assert ports[0]["target"] == "serial:///dev/ttyUSB0"
    assert ports[0]["usb_id"] == "10c4:ea60"
    assert [parse_target(port["target"]).address for port in ports] == devices


@pytest.mark.parametrize("where", [["--tcp"], []])
def test_a_served_unit_says_at_once_where_it_is(where: list[str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "lockmigrate", "sim", "serve", "r503/half?seed=3", "--json", *where],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        document = json.loads(process.stdout.readline())
        process.terminate()
        process.communicate(timeout=20)
    assert list(document) == ["target", "device", "port", "hci", "credential"]
    assert document["target"].startswith("serial://")
    assert (document["device"] is None) != (document["port"] is None)
    if where:
        assert document["target"] == f"serial://socket://127.0.0.1:{document['port']}"
    assert set(document["credential"]) == {"password", "address"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["r503/ful"], "bad-target"),
        (["r50x"], "unknown-profile"),
        (["r503/full?sed=1"], "bad-target"),
        (["r503", "--option", "seed"], "config"),
        (["r503?seed=1", "--option", "seed=2"], "config"),
    ],
)
def test_what_cannot_be_served_is_refused(arguments: list[str], code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert shell.main(["sim", "serve", *arguments, "--json"]) == 2
    assert json.loads(capsys.readouterr().err.splitlines()[-1])["code"] == code


# ---- completion -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_a_completion_script_is_printed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert shell.main(["completion", name]) == 0
    script = capsys.readouterr().out
    assert f"_LOCKMIGRATE_COMPLETE={name}_complete" in script
    program = shutil.which(name)
    if program and name != "fish":
        checked = subprocess.run([program, "-n"], input=script, text=True, capture_output=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.at_once
@pytest.mark.parametrize(
    ("words", "at", "wanted"),
    [
        ("lockmigrate res", 1, "plain,restore"),
        ("lockmigrate sim s", 2, "plain,serve"),
        ("lockmigrate profiles show r50", 3, "plain,r503"),
        ("lockmigrate info sim : //r503/h", 4, "plain,//r503/half"),
        ("lockmigrate sim serve r503/e", 3, "plain,r503/empty"),
        ("lockmigrate backup --la", 2, "plain,--label"),
    ],
)
def test_bash_completes_commands_profiles_and_targets(words: str, at: int, wanted: str) -> None:
    done = start(_LOCKMIGRATE_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(at))
    assert done.returncode == 0
    assert wanted in done.stdout.splitlines()


def test_a_target_that_bash_took_apart_is_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    complete = TargetBashComplete(shell.cli, {}, "lockmigrate", "_LOCKMIGRATE_COMPLETE")
    monkeypatch.setenv("COMP_WORDS", "lockmigrate migrate sim : //a/b sim : //c")
    monkeypatch.setenv("COMP_CWORD", "7")
    assert complete.get_completion_args() == (["migrate", "sim://a/b"], "sim://c")
    monkeypatch.setenv("COMP_WORDS", "lockmigrate info ")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert complete.get_completion_args() == (["info"], "")


def test_backups_and_folders_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("old.age", "other.txt", ".hidden.age"):
        Path(name).touch()
    Path("shelf").mkdir()
    assert [item.value for item in backups("")] == ["old.age", f"shelf{os.sep}"]
    assert [item.value for item in backups("ol")] == ["old.age"]
    assert backups("no-such-folder/x") == []


def test_an_unexpected_exception_is_translated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    translated = failure.translate(ValueError("x"))
    assert translated.exit_code == 1
    assert "could not be written" in str(translated.hint)
