"""A job: many doors in one folder of plain files, worked through step by step and again after an interruption.

`job.toml` says which doors there are; each has a sub-folder with its backup, what was decided, and the JSON document
that each step's command printed. `steps.json` beside them says how each step ended and with what it was done. Keys and
passphrases are never here; a decisions file may hold a new PIN and is readable by its owner only.
"""

from __future__ import annotations

import json
import re
import secrets
import tomllib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from lockmigrate.errors import ConfigError, FileTrouble
from lockmigrate.formats.files import exists, file_trouble, read_whole, write_whole
from lockmigrate.model.job_results import StepName
from lockmigrate.operations.backup import read_names
from lockmigrate.planning.policy import clear_decisions, decisions_bytes, is_sealed

JOB_FILE: Final = "job.toml"
NOTES_FILE: Final = "steps.json"
NAMES_FILE: Final = "names.csv"
DECISIONS_FILE: Final = "decisions.toml"
STEPS: Final[tuple[StepName, ...]] = ("backup", "plan", "restore", "verify")
MAX_FILE_BYTES: Final = 4_000_000
"""Ours, for each of our own files."""
_NAME: Final = re.compile(r"[^\W_](?:[\w .()&+#-]{0,62}[\w)])?")
_RESERVED: Final = re.compile("(con|prn|aux|nul|com[0-9]|lpt[0-9])", re.IGNORECASE)
"""What no file can be called on Windows."""
_PROFILE: Final = re.compile("(profile:)?[a-z0-9]+(-[a-z0-9]+)*")
_SALT: Final = re.compile("[0-9a-f]{32}")
_HEAD: Final = """\
# A lockmigrate job. "lockmigrate job status FOLDER" says how far each door is; "job add" adds a door or changes it.
# old and new are targets, or names of profiles as long as the unit is not there. No key and no passphrase is here.
"""


class Door(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One door, as `job.toml` has it."""

    name: str
    old: str
    new: str
    unit: str | None = None
    new_unit: str | None = None
    credential_files: tuple[str, ...] = ()
    """Paths only: of the old unit's and of the new one's; one serves both."""
    existing: str | None = None
    consent: str | None = None


class JobFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`job.toml`."""

    schema: int
    name: str
    salt: str
    """Goes into the digests of what steps were done with, so that a new PIN cannot be guessed from one."""
    door: tuple[Door, ...] = ()


class StepNote(Struct, frozen=True, kw_only=True):
    """How the last run of a step ended; `running` in a folder where nothing runs is an interrupted one."""

    state: str
    inputs: str
    exit_code: int | None = None
    code: str | None = None
    message: str | None = None
    hint: str | None = None
    result: str | None = None
    file: str | None = None
    """The backup, from the door's folder."""
    file_sha256: str | None = None
    unit: str | None = None
    """Serial number or id of the unit it was done with."""
    tries: int = 0
    started_at: str | None = None
    ended_at: str | None = None


class Notes(Struct, frozen=True, kw_only=True):
    """`steps.json` of a door."""

    schema: str = "lockmigrate.job-steps/1"
    steps: dict[str, StepNote] = {}


@dataclass(frozen=True, slots=True)
class Job:
    """A folder with its `job.toml`, as it is now."""

    folder: Path
    file: JobFile

    def door(self, name: str) -> Door:
        """Find a door.

        Raises:
            ConfigError: there is none of that name.
        """
        wanted = _plain(name)
        for door in self.file.door:
            if _plain(door.name) == wanted:
                return door
        known = ", ".join(item.name for item in self.file.door) or "none yet"
        raise ConfigError(f'the job has no door "{name}"', hint=f"there are: {known}", code="no-such-door")

    def place(self, door: Door) -> Path:
        """Return the folder of a door."""
        return self.folder / door.name

    def notes(self, door: Door) -> Notes:
        """Read how the steps of a door ended.

        Raises:
            ConfigError: the file is damaged.
            FileTrouble: it cannot be read.
        """
        path = self.place(door) / NOTES_FILE
        if not exists(path):
            return Notes()
        data = read_whole(path, max_bytes=MAX_FILE_BYTES)
        try:
            return msgspec.json.decode(data or b"", type=Notes)
        except (msgspec.DecodeError, RecursionError):
            hint = "delete it to run that door's steps again; its backup stays, and what is on the units counts as done"
            raise ConfigError(f"{path} is damaged", hint=hint, code="bad-job") from None

    def write_note(self, door: Door, step: StepName, note: StepNote) -> None:
        """Say how a step stands, whole or not at all.

        Raises:
            FileTrouble: it cannot be written.
        """
        notes = self.notes(door)
        data = msgspec.json.format(msgspec.json.encode(Notes(steps={**notes.steps, step: note})), indent=1)
        write_whole(self.place(door) / NOTES_FILE, data + b"\n", replace=True)


def is_profile(text: str) -> bool:
    """Whether a side of a door is only a model so far."""
    return _PROFILE.fullmatch(text) is not None


def new_job(folder: Path, name: str | None = None) -> Job:
    """Make the folder and its `job.toml`.

    Raises:
        FileTrouble: there is a job already, or the folder cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=False, exist_ok=True)
    except OSError as cause:
        raise file_trouble("make", folder, cause) from None
    file = JobFile(schema=1, name=_one_line(name or folder.resolve().name), salt=secrets.token_hex(16))
    write_whole(folder / JOB_FILE, _text_of(file).encode())
    return Job(folder, file)


def load_job(folder: Path) -> Job:
    """Read a job.

    Raises:
        ConfigError: there is none, or its `job.toml` is wrong; the message says where.
        FileTrouble: it cannot be read.
    """
    path = folder / JOB_FILE
    if not exists(path):
        raise ConfigError(f"{folder} holds no job", hint=f"lockmigrate job new {folder}", code="no-job")
    data = read_whole(path, max_bytes=MAX_FILE_BYTES)
    try:
        file = msgspec.convert(tomllib.loads((data or b"").decode()), JobFile)
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, or not what it should hold
        detail = str(error) if isinstance(error, msgspec.ValidationError) else "not TOML"
        raise ConfigError(f"{path}: {detail}", code="bad-job") from None
    if not _SALT.fullmatch(file.salt):
        raise ConfigError(f"{path}: salt is not 32 hex digits", code="bad-job")
    if file.schema != 1:
        raise ConfigError(f"{path} is of a newer lockmigrate", code="bad-job")
    seen: set[str] = set()
    for door in file.door:
        check_name(door.name)
        if _plain(door.name) in seen:
            raise ConfigError(f'{path}: two doors are called "{door.name}"', code="bad-job")
        seen.add(_plain(door.name))
    return Job(folder, file)


def add_door(job: Job, door: Door, *, names: Path | None = None, decisions: Path | None = None) -> Job:
    """Add a door, or put it in place of the one of that name; the lists are copied into its folder.

    Raises:
        ConfigError: the name, a list, or the place of a credential file is wrong.
        FileTrouble: a file cannot be read or written.
    """
    check_name(door.name)
    _keep_out(job.folder, door.credential_files)
    copies = {}
    if names is not None:
        read_names(names)
        copies[NAMES_FILE] = _bytes(names)
    if decisions is not None:
        data = decisions_bytes(decisions)
        if not is_sealed(data):
            clear_decisions(data, decisions)
        copies[DECISIONS_FILE] = data
    kept = [item for item in job.file.door if _plain(item.name) != _plain(door.name)]
    at = next((index for index, item in enumerate(job.file.door) if _plain(item.name) == _plain(door.name)), len(kept))
    file = msgspec.structs.replace(job.file, door=(*kept[:at], door, *kept[at:]))
    place = job.folder / door.name
    try:
        place.mkdir(mode=0o700, exist_ok=True)
    except OSError as cause:
        raise file_trouble("make", place, cause) from None
    for name, data in copies.items():
        write_whole(place / name, data, replace=True)
    write_whole(job.folder / JOB_FILE, _text_of(file).encode(), replace=True)
    return Job(job.folder, file)


def check_name(name: str) -> None:
    """Refuse a name of a door that is no name of a folder everywhere.

    Raises:
        ConfigError: code `bad-door`.
    """
    if not _NAME.fullmatch(name) or _RESERVED.fullmatch(name.partition(".")[0]):
        raise ConfigError(
            f'a door cannot be called "{name}"',
            hint="letters, digits, blanks and - . ( ) & + #; at most 64; it is the name of a folder too",
            code="bad-door",
        )


def _keep_out(folder: Path, files: Iterable[str]) -> None:
    for text in files:
        if Path(text).resolve().is_relative_to(folder.resolve()):
            raise ConfigError(
                f"{text} lies in the job's folder, where no key belongs",
                hint="the folder goes from hand to hand; keep credential files elsewhere",
                code="key-in-job",
            )


def _bytes(path: Path) -> bytes:
    data = read_whole(path, max_bytes=MAX_FILE_BYTES)
    if data is None:
        raise FileTrouble(f"{path} is no file, or too large")
    return data


def _plain(name: str) -> str:
    """Two names that are one folder on some system are one name."""
    return unicodedata.normalize("NFC", name).casefold()


def _one_line(text: str) -> str:
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _text_of(file: JobFile) -> str:
    lines = [_HEAD, f"schema = {file.schema}", f"name = {_toml(file.name)}", f"salt = {_toml(file.salt)}"]
    for door in file.door:
        lines += ["", "[[door]]"]
        values = msgspec.structs.asdict(door)
        lines += [f"{name} = {_toml(value)}" for name, value in values.items() if value not in (None, ())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """TOML's basic strings are JSON's, but for DEL."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False).replace("\x7f", "\\u007f")
