"""Transcripts of whole moves from one family to another: `tests/cli/across/*.txt`, on a terminal of 80 columns.

All commands of a file share a folder, keys and simulated units whose memory is kept there. Beside what
`test_cli` knows, a line `~ FILE QUESTION = CHOICE [VALUE]` answers a question in a decisions file, `$ cat FILE` shows
one, `| head -n N` behind a command leaves out the rest, `> FILE` keeps it. `…` stands for what differs from run to run
and for nothing else, so a screen that changes is a change of its file: `python tests/test_across_cli.py` writes all
anew.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import io
import json
import os
import re
import shlex
import tempfile
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from against_schemas import check
from locks_on_air import source_of
from rich.cells import cell_len
from virtual_time import VirtualTimeLoop, run_test

from lockmigrate import cli
from lockmigrate.cli import restore_cmd
from lockmigrate.model.records import CardData, PinData
from lockmigrate.vault.keys import create_keys

FOLDER: Final = Path(__file__).parent / "cli" / "across"
MOVES: Final = sorted(path.stem for path in FOLDER.glob("*.txt"))
COLUMNS: Final = 80
NOW_UTC: Final = "2026-11-25T11:00:00Z"
NOW_LOCAL: Final = "2026-11-25T12:00"
"""When the commands run, so that the same records are over on any day; the units were filled then."""
PASSPHRASE: Final = "a passphrase of this test"
MASKED: Final = (
    (re.compile(r"SHA256:[A-Za-z0-9+/]+"), "SHA256:…"),
    (re.compile(r"age1\w+"), "age1…"),
    (re.compile(r"\([0-9.]+ s\)"), "(… s)"),
)
SHORTEST: Final = 3
"""Of what is looked for: the presets' PINs have as many digits or more, and shorter ones are all kinds of numbers."""
NEW_PINS: Final = 17
"""That the transcript from TTLock to Nuki gives out: all of 18 but the one-time code."""
ANSWERED: Final = re.compile(r"~ (?P<file>\S+) (?P<question>\S+) = (?P<choice>\S+)(?: (?P<value>\S+))?")
TYPED: Final = re.compile(r"\$ (?P<command>.*?)(?: \| head -n (?P<lines>[0-9]+)| > (?P<file>\S+))?")


@dataclass(frozen=True)
class Played:
    """What came of a transcript."""

    text: str
    """The transcript as it is now."""
    folder: Path
    seen: tuple[str, ...]
    """All that was printed, unmasked: stdout and stderr of each command in turn."""


class Terminal(io.TextIOWrapper):
    """What stdout is to the commands: a terminal."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8")

    def isatty(self) -> bool:
        return True

    def text(self) -> str:
        self.flush()
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode()


class Bench:
    """A folder with keys, in which commands are run in this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen: list[str] = []
        """Everything that was printed."""
        create_keys(folder / "config", PASSPHRASE, generated=False, log_n=10)
        (folder / "passphrase").write_text(f"{PASSPHRASE}\n")
        (folder / "passphrase").chmod(0o600)

    def run(self, words: list[str]) -> tuple[str, str, int]:
        """Return what a command wrote to stdout and to stderr, and its exit code."""
        out, err = Terminal(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli.main(words)
        self.seen += [out.text(), err.getvalue()]
        return out.text(), err.getvalue(), code

    def play(self, typed: str) -> list[str]:
        """Do what a line of a transcript says, and return what it shows."""
        if typed.startswith("~ "):
            self.answer(typed)
            return []
        line = TYPED.fullmatch(typed)
        assert line is not None
        words = shlex.split(line["command"])
        if words[0] == "cat":
            return [*(self.folder / words[1]).read_text(encoding="utf-8").splitlines(), "? 0"]
        assert words[0] == "lockmigrate"
        out, err, code = self.run(words[1:])
        lines = masked(out).splitlines()
        if line["file"] is not None:
            (self.folder / line["file"]).write_text(out, encoding="utf-8")
            lines = []
        if line["lines"] is not None:
            lines = lines[: int(line["lines"])]
        return [*lines, *(f"! {line}" for line in masked(err).splitlines()), f"? {code}"]

    def answer(self, typed: str) -> None:
        """Answer a question, as a person would in an editor."""
        asked = ANSWERED.fullmatch(typed)
        assert asked is not None, typed
        path = self.folder / asked["file"]
        lines = path.read_text(encoding="utf-8").splitlines()
        (at,) = (
            number for number, line in enumerate(lines)
            if re.match(rf'(key|reason) = "{re.escape(asked["question"])}"', line)
        )  # fmt: skip
        assert lines[at + 1].startswith('choice = "skip"')
        lines[at + 1] = f'choice = "{asked["choice"]}"'
        if asked["value"] is not None:
            lines.insert(at + 2, f'value = "{asked["value"]}"')
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@contextlib.contextmanager
def surroundings(folder: Path) -> Iterator[Bench]:
    """Be in a folder of its own, at a time of its own, before a terminal without colours."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("LOCKMIGRATE_")]:
            patch.delenv(name)
        patch.setenv("LOCKMIGRATE_CONFIG_DIR", str(folder / "config"))
        patch.setenv("LOCKMIGRATE_PASSPHRASE_FILE", str(folder / "passphrase"))
        patch.setenv("COLUMNS", str(COLUMNS))
        patch.setenv("NO_COLOR", "1")
        patch.setenv("TERM", "xterm")
        patch.setattr(restore_cmd, "utc_now", lambda: NOW_UTC)
        patch.setattr(restore_cmd, "local_now", lambda: NOW_LOCAL)
        patch.setattr(asyncio, "run", on_virtual_time)
        patch.chdir(folder)
        yield Bench(folder)


def on_virtual_time(main: Coroutine[Any, Any, Any]) -> Any:
    """Stand in for `asyncio.run`: what a simulated unit takes its time for takes none here."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


def masked(text: str) -> str:
    """Put `…` for what differs from run to run."""
    for pattern, instead in MASKED:
        text = pattern.sub(instead, text)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def play(path: Path, folder: Path) -> Played:
    """Run a transcript; its comments and commands are kept, what is shown is what is shown now."""
    written: list[str] = []
    shown: list[str] = []
    with surroundings(folder) as bench:
        for line in spoken(path.read_text(encoding="utf-8")):
            written += [""] if shown else []
            shown = [] if line.startswith("# ") else bench.play(line)
            written += [line, *shown]
    return Played("\n".join(written) + "\n", folder, tuple(bench.seen))


def spoken(text: str) -> Iterator[str]:
    """Yield the lines of a transcript that are not shown by a command."""
    showing = False
    for line in text.splitlines():
        if showing:
            showing = not re.fullmatch(r"\? [0-9]+", line)
        elif line:
            yield line
            showing = line.startswith("$ ")


@functools.cache
def played(move: str) -> Played:
    """Run a transcript once for all tests of this module."""
    return play(FOLDER / f"{move}.txt", Path(tempfile.mkdtemp(prefix=f"{move}-", dir=base())))


@functools.cache
def base() -> Path:
    """Return a folder that goes when this process ends."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    return Path(folder.name)


def targets_of(move: str) -> tuple[str, str]:
    """Return the old and the new unit of a transcript."""
    text = (FOLDER / f"{move}.txt").read_text(encoding="utf-8")
    old, new = list(dict.fromkeys(re.findall(r'"(sim://[^"]*)"', text)))
    return old, new


def secrets_of(move: str) -> set[str]:
    """Return PINs, numbers of cards and keys of both units, as they are after the move."""
    old, new = targets_of(move)
    found: set[str] = set()
    for target in (old, new.replace("state=", f"state={played(move).folder}/")):
        snapshot = run_test(functools.partial(source_of, target)).snapshot
        for item in snapshot.credentials:
            data = item.data
            held = data.digits if isinstance(data, PinData) else data.number if isinstance(data, CardData) else None
            found |= {str(held.reveal())} if held is not None else set()
        found |= {str(item.secret.reveal()) for item in snapshot.access_keys}
    return {secret for secret in found if len(secret) >= SHORTEST}


def holding(secrets: set[str], text: str) -> set[str]:
    """Return which secrets stand in a text by themselves, not as a part of a longer word or number."""
    return {secret for secret in secrets if re.search(rf"(?<![\w.+/=]){re.escape(secret)}(?![\w+/=])", text)}


# ---- the screens ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("move", MOVES)
def test_a_move_looks_as_its_transcript_says(move: str) -> None:
    assert played(move).text == (FOLDER / f"{move}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("move", MOVES)
def test_every_line_fits_on_the_terminal(move: str) -> None:
    screens = [text for text in played(move).seen[::2] if not text.startswith("{")]
    assert [line for text in screens for line in text.splitlines() if cell_len(line) > COLUMNS] == []


@pytest.mark.parametrize("move", MOVES)
def test_no_pin_no_card_and_no_key_is_printed_or_kept_in_the_clear(move: str) -> None:
    secrets = secrets_of(move)
    assert secrets
    kept = [
        path for path in played(move).folder.rglob("*")
        if path.is_file() and path.suffix not in (".age", ".state") and path.name not in ("pins.html", "passphrase")
    ]  # fmt: skip
    assert {"restored.json", "verified.json", "report.html", "journal.jsonl"} <= {path.name for path in kept}
    texts = {path.name: path.read_text(encoding="utf-8", errors="replace") for path in kept}
    texts["the screens"] = masked("\n".join(played(move).seen))
    assert {name: found for name, text in texts.items() if (found := holding(secrets, text))} == {}


def test_the_page_of_new_pins_tells_what_the_new_lock_opens_to() -> None:
    move = "ttlock-to-nuki"
    folder = played(move).folder
    snapshot = run_test(lambda: source_of(f"sim://nuki/empty?state={folder}/new.state")).snapshot
    on_lock = {str(item.data.digits.reveal()) for item in snapshot.credentials if isinstance(item.data, PinData)}
    page = (folder / "pins.html").read_text(encoding="utf-8")
    assert len(on_lock) == NEW_PINS
    assert holding(on_lock, page) == on_lock
    if os.name == "posix":
        assert (folder / "pins.html").stat().st_mode & 0o077 == 0


# ---- the same for scripts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("move", MOVES)
def test_with_json_each_step_ends_alike_and_its_document_is_what_the_schema_says(move: str, tmp_path: Path) -> None:
    transcript = (FOLDER / f"{move}.txt").read_text(encoding="utf-8")
    codes = [int(code) for code in re.findall(r"^\? ([0-9]+)$", transcript, re.MULTILINE)]
    restored: list[dict[str, Any]] = []
    with surroundings(tmp_path) as bench:
        for typed in (line for line in spoken(transcript) if not line.startswith("# ")):
            if not typed.startswith("$ lockmigrate"):
                codes = codes[1:] if bench.play(typed) else codes
                continue
            line = TYPED.fullmatch(typed)
            assert line is not None
            out, err, code = bench.run([*shlex.split(line["command"])[1:], "--json"])
            assert (typed, code) == (typed, codes.pop(0))
            document = check(json.loads(out))
            if code == 10:
                check(json.loads(err.splitlines()[-1]))
            if line["file"] is not None:
                (tmp_path / line["file"]).write_text(out, encoding="utf-8")
            if document["schema"].startswith("lockmigrate.restore-result/"):
                restored.append(document)
    first, *again = restored
    assert first["written"] > 0
    assert [each["written"] for each in again] == [0, 0]
    assert [each["already_equal"] for each in again] == [first["written"] + first["already_equal"]] * 2
    assert [fates(document) for document in again] == [fates(first)] * 2


def fates(document: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return what became of each record, and at which proof."""
    kept = ("key", "kind", "outcome", "proof", "new_pin", "follows")
    return [tuple(record[name] for name in kept) for record in document["records"]]


if __name__ == "__main__":
    for transcript in sorted(FOLDER.glob("*.txt")):
        with tempfile.TemporaryDirectory() as new_folder:
            transcript.write_text(play(transcript, Path(new_folder)).text, encoding="utf-8")
