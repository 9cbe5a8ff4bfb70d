"""Find, parse and check firmware profiles: the facts about one model, as data.

A profile is TOML: no expressions, no module paths. Unknown keys are errors with their dotted path, and every number in
`[serial]`, `[capabilities]`, `[variant]`, `[match]` and `[tables]` names its source in `[cites]`. `[simulated]` holds
what only the simulator invents (serial numbers, delays) and needs no source.
"""

from __future__ import annotations

import difflib
import functools
import math
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from lockmigrate.errors import ProfileError
from lockmigrate.model.capabilities import Capabilities

PATH_VARIABLE: Final = "LOCKMIGRATE_PROFILE_PATH"
FAMILIES: Final = ("ef01", "zk", "gt511", "f5", "nuki", "ttlock", "image")
"""Families that this version can talk to; each has a generic profile of its own name (decision 27)."""
MAX_CHARACTERS: Final = 65_536
"""Ours: twenty times the longest shipped one. tomllib's time grows with the square of the depth of tables."""
_NAME: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_FIELD: Final = re.compile(r"Object (?P<what>contains unknown|missing required) field `(?P<name>[^`]*)`")
"""Sentences of msgspec 0.20 about a key; any other sentence is passed on as it stands."""


class SerialFacts(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The line to the unit."""

    baud: int
    bauds: tuple[int, ...] = ()
    """Speeds that the unit can be set to, in the order in which they are searched."""
    answer_s: float = 1.0
    """How long a read may take."""
    write_s: float = 3.0
    """How long a write to flash may take."""
    erase_s: float = 10.0
    tries: int = 3
    ready_s: float = 0.0
    """How long after power-on the unit starts to listen."""


class Match(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How `identify` recognises the model; every given field must fit, and a profile without any is never detected."""

    model: tuple[str, ...] = ()
    """Shell-style patterns for the model text that the unit itself gives."""
    firmware: tuple[str, ...] = ()
    dialect: str | None = None
    slots: tuple[int, ...] = ()
    system_ids: tuple[int, ...] = ()
    bauds: tuple[int, ...] = ()


class Bilingual(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sentence in both languages of the guide."""

    en: str
    zh_CN: str  # noqa: N815  # the language's own name


class Guide(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to connect a unit of this model; what is absent is not known. Each part names its source in `[cites]`."""

    wiring: Bilingual | None = None
    voltage: Bilingual | None = None
    speed: Bilingual | None = None
    """Only where `[serial]` does not say it."""
    wake: Bilingual | None = None
    reset: Bilingual | None = None
    cautions: tuple[Bilingual, ...] = ()


class Profile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The facts about one model and its firmware."""

    schema: Literal[1]
    name: str
    title: str
    family: str
    vendor: str | None = None
    evidence: Literal["documented", "captured", "bench"]
    """`documented`: from public papers and code; `captured`: seen on a wire; `bench`: tried by us on a real unit."""
    notes: tuple[str, ...] = ()
    """Sentences for the technician."""
    sources: dict[str, str]
    """Short name of a source to its full title."""
    cites: dict[str, tuple[str, ...]]
    """Dotted path of a value (or of a table above it) to the short names of the sources that state it."""
    match: Match = Match()
    serial: SerialFacts | None = None
    capabilities: Capabilities = Capabilities()
    gaps: dict[str, str] = {}
    """What the unit holds and will not give out, announced up front: section to reason."""
    variant: dict[str, Any] = {}
    """Choices among tables in the family's format; their keys are checked by the family."""
    guide: Guide = Guide()
    tables: dict[str, Any] = {}
    """Layout of a raw dump (family `image`), declarative; compiled and checked by `formats.tables`."""
    simulated: dict[str, Any] = {}


def profile_folders() -> list[Path]:
    """Return the folders searched for profiles: those of `LOCKMIGRATE_PROFILE_PATH`, then the shipped ones."""
    own = [Path(part) for part in os.environ.get(PATH_VARIABLE, "").split(os.pathsep) if part]
    package = Path(__file__).parent
    shipped = [package / "_profiles", package.parent / "firmware_profiles"]
    return own + [folder for folder in shipped if folder.is_dir()][:1]


def profile_names() -> list[str]:
    """Return the names of all profiles that can be found, sorted."""
    return sorted({path.stem for path in _files()})


def load_profile(name: str) -> Profile:
    """Find a profile by its name.

    Raises:
        ProfileError: there is none of that name (the hint suggests the nearest), or its file is wrong.
    """
    for path in _files():
        if path.stem == name:
            return read_profile(path)
    near = difflib.get_close_matches(name, profile_names(), n=1, cutoff=0.5)
    hint = (
        f'did you mean "{near[0]}"? "lockmigrate profiles list" shows all'
        if near
        else ('"lockmigrate profiles list" shows what is known')
    )
    raise ProfileError(f'no profile is called "{name}"', hint=hint, code="unknown-profile")


def load_all(family: str | None = None) -> list[Profile]:
    """Load every profile that can be found, of one family or of all, sorted by name.

    Raises:
        ProfileError: one of the files is wrong.
    """
    loaded = [read_profile(path) for path in sorted(_files(), key=lambda path: path.stem)]
    return [profile for profile in loaded if family in (None, profile.family)]


def read_profile(path: Path) -> Profile:
    """Parse and check one profile file.

    Raises:
        ProfileError: the file cannot be read or does not follow the rules; the message names the dotted path.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ProfileError(f"no such profile file: {path}") from None
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a path with a NUL
        raise ProfileError(f"cannot read the profile {path}: {_reason(error)}") from None
    profile = parse_profile(text, where=str(path))
    if profile.name != path.stem:
        raise ProfileError(f'{path}: the profile calls itself "{profile.name}"', hint="file name and `name` are equal")
    return profile


@functools.lru_cache(maxsize=128)  # every opening looks at all profiles of its family
def parse_profile(text: str, *, where: str) -> Profile:
    """Parse one profile from its text; see `read_profile`.

    Raises:
        ProfileError: the text does not follow the rules; `where` starts the message.
    """
    if len(text) > MAX_CHARACTERS:
        raise ProfileError(f"{where}: longer than {MAX_CHARACTERS} characters, which no profile is")
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError too: an integer of more than 4300 digits
        raise ProfileError(f"{where}: not TOML: {error}") from None
    try:
        profile = msgspec.convert(document, Profile)
        problems = check(profile, document)
    except msgspec.ValidationError as error:
        raise ProfileError(f"{where}: {_dotted(str(error))}") from None
    except RecursionError:
        raise ProfileError(f"{where}: nested too deeply") from None
    if problems:
        raise ProfileError(f"{where}: {problems[0]}", hint=None if len(problems) == 1 else "; ".join(problems[1:4]))
    return profile


def check(profile: Profile, document: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a parsed profile beyond its types, each as a sentence with the dotted path."""
    problems = list(_out_of_range(profile))
    if not _NAME.fullmatch(profile.name):
        problems.append("name: lower-case letters, digits and hyphens only; it is part of targets such as sim://NAME")
    if profile.family not in FAMILIES:
        problems.append(f'family: "{profile.family}" is not one of {", ".join(FAMILIES)}')
    if not profile.sources:
        problems.append("sources: at least one source is needed")
    for path, names in profile.cites.items():
        problems += [f"cites.{path}: no source is called {name}" for name in names if name not in profile.sources]
        if not names:
            problems.append(f"cites.{path}: names no source")
        if not _exists(document, path):
            problems.append(f"cites.{path}: there is no such value")
    if profile.tables and profile.family != "image":
        problems.append('tables: only a raw dump (family "image") is laid out by its profile')
    for topic in document.get("guide", {}):
        if f"guide.{topic}" not in profile.cites:
            problems.append(f"guide.{topic}: an advice without a source; add it to [cites]")
    for table in ("match", "serial", "capabilities", "variant", "tables"):
        for path in _numbers(document.get(table, {}), table):
            if not any(path == cited or path.startswith(cited + ".") for cited in profile.cites):
                problems.append(f"{path}: a number without a source; add it to [cites]")
    return problems


def _files() -> Iterator[Path]:
    seen: set[str] = set()
    for folder in profile_folders():
        for path in folder.glob("*.toml") if folder.is_dir() else ():
            if path.stem not in seen:
                seen.add(path.stem)
                yield path


def _out_of_range(profile: Profile) -> Iterator[str]:
    """Yield a sentence for each number that no unit can have; TOML also knows nan and inf."""
    line = profile.serial
    if line:
        for speed in (line.baud, *line.bauds):
            if speed < 1:
                yield f"serial.{'baud' if speed == line.baud else 'bauds'}: {speed} is not a speed"
        for key in ("answer_s", "write_s", "erase_s"):
            if not (math.isfinite(getattr(line, key)) and getattr(line, key) > 0):
                yield f"serial.{key}: a time above 0 s is needed"
        if not (math.isfinite(line.ready_s) and line.ready_s >= 0):
            yield "serial.ready_s: a time of 0 s or more is needed"
        if line.tries < 1:
            yield "serial.tries: at least 1 is needed"
    held = profile.capabilities.credentials
    for kind in held.__struct_fields__:
        capability = getattr(held, kind)
        for key in ("slots", "template_size_bytes"):
            if capability is not None and (getattr(capability, key) or 1) < 1:
                yield f"capabilities.credentials.{kind}.{key}: below 1"


def _numbers(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _numbers(inner, f"{path}.{key}")
    elif isinstance(value, list):
        if any(isinstance(item, int | float) and not isinstance(item, bool) for item in value):
            yield path
        for index, item in enumerate(value):
            if isinstance(item, Mapping):
                yield from _numbers(item, f"{path}.{index}")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


def _exists(document: Mapping[str, Any], path: str) -> bool:
    here: Any = document
    for part in path.split("."):
        if not isinstance(here, Mapping) or part not in here:
            return False
        here = here[part]
    return True


def _dotted(message: str) -> str:
    """Turn msgspec's sentence with a `$.a.b` path into ours: the dotted path first."""
    text, _, path = message.partition(" - at `$")
    path = path.strip("`").lstrip(".")
    field = _FIELD.fullmatch(text)
    if field:
        where = f"{path}.{field['name']}" if path else field["name"]
        return f"{where}: unknown key" if field["what"] == "contains unknown" else f"{where}: is needed and not there"
    return f"{path}: {text[0].lower()}{text[1:]}" if path else f"{text[0].lower()}{text[1:]}"


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        return error.strerror or "it cannot be opened"
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else "no file can have this name"
