"""A USB-disk folder of a ZKTeco terminal as a unit: read, and written as a target of a restore.

A folder has no conversation: it is read whole, each time, and a restore writes it whole. What is written is read back
from the disk, which proves the files (V4, medium: file), not that a terminal takes them. Nothing says from outside
whether a folder is opened to be read or to be written, so an empty one, or one that is not there yet, opens.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

from lockmigrate.errors import FileTrouble, ProfileError, TargetError, TornRead, Unsupported
from lockmigrate.formats.zk_access import COMBINATION_TABLE, GROUP_TABLE, VERIFY_TABLE, ZONE_TABLE
from lockmigrate.formats.zk_files import LOG_TEXT, V9_FILE, join_logs, log_entries
from lockmigrate.formats.zk_people import TEMPLATES, USERS
from lockmigrate.formats.zk_records import Width, width_of
from lockmigrate.formats.zk_tables import OPERATIONS, OPTIONS, capabilities
from lockmigrate.model.document import Gap, Table
from lockmigrate.model.records import AccessKey
from lockmigrate.model.results import Progress, Unit
from lockmigrate.model.steps import Done, Step
from lockmigrate.profiles import Profile, load_profile
from lockmigrate.protocols import EVERYTHING, ReadItem, Scope, Section, Touch
from lockmigrate.protocols.clock import utc_now
from lockmigrate.protocols.door import Door, door_of, profiles_of
from lockmigrate.protocols.zk_folder_contents import Contents, Draft, Presumed, proven, understand
from lockmigrate.protocols.zk_folder_disk import commit, erase, finish, is_folder, look

FAMILY: Final = "zk"
PROFILES: Final[dict[int, str]] = {72: "zk", 28: "zk-bw"}
"""Width of a record to the generic profile."""
ENCODINGS: Final = {"utf-8": "utf-8", "utf8": "utf-8", "gbk": "gbk", "gb2312": "gbk", "cp936": "gbk"}
"""What `?encoding=` may say: newer terminals write UTF-8, Chinese firmware GBK (reference, section 11.6)."""
ALL_STEPS: Final = 1 << 30
OPEN_DISK: Final = "a folder holds PINs and fingerprints unencrypted: erase the disk after use"
UNREAD: Final = {
    "faces": ("0014-faces", "faces, whose layout is not public"),
    "messages": ("0015-messages", "short messages"),
    "encrypted-log": ("0016-encrypted-log", "a log in another coding, which is not read yet"),
}
"""Kind of a file that is kept as bytes only: its raw table (numbered from the second file of a kind on), what it is."""
PADDED: Final = "0013-template-dat"
"""template.dat as it is, where its entries hold more than the wire's."""
_ABSENT: Final = (
    ("schedules", "zone-table-unknown", "a folder carries the numbers of time zones, not their tables"),
    ("groups", "zone-table-unknown", "a folder carries the numbers of groups, not what they mean"),
    ("combinations", "zone-table-unknown", "a folder does not carry unlock combinations"),
    ("lock_schedules", "no-public-layout", "a folder does not carry holidays and daylight saving time"),
    ("verify_styles", "no-public-layout", "a folder does not carry the users' own ways of verifying"),
)
"""Section, code and reason of what the medium itself leaves out."""


async def open_folder(path: Path, door: Door, *, encoding: str | None = None) -> FolderLock:
    """Open a folder, finishing first what an interrupted restore left in it.

    Raises:
        TargetError: the encoding is not known.
        ProfileError: the named profile is of another family, or the files contradict it.
        ImageError: a file is damaged, cut or of another kind, or the files do not belong together.
        FileTrouble: a file cannot be read or written.
    """
    if encoding is not None and encoding.lower() not in ENCODINGS:
        raise TargetError(f'names are not read as "{encoding}"', hint="?encoding= takes utf-8 and gbk")
    if door.profile is not None:
        profiles_of(FAMILY, door.profile)
        door_of(FAMILY).check_variant(door.profile)
    if not is_folder(path) and not is_folder(path.parent):
        raise FileTrouble(
            f"there is no folder {path.parent}", hint="make it first; only the last folder is made", code="no-folder"
        )
    lock = FolderLock(path, door, encoding=ENCODINGS[encoding.lower()] if encoding else None, resumed=finish(path))
    lock.load()
    return lock


class FolderLock:
    """One folder."""

    batch = ALL_STEPS

    def __init__(self, path: Path, door: Door, *, encoding: str | None = None, resumed: bool = False) -> None:
        self._path = path
        self._door = door
        self._encoding = encoding
        self._resumed = resumed
        self._presumed = _presumed(door.profile)
        self._seen: Contents | None = None

    @property
    def variant(self) -> dict[str, Any]:
        """What the decoder must know beside the tables; see `Lock.variant`."""
        seen = self._seen or self.load()
        absent = [ZONE_TABLE, GROUP_TABLE, COMBINATION_TABLE, VERIFY_TABLE, OPERATIONS]
        known = {"record_bytes": seen.width, "fp_version": seen.version, "unsupported": absent}
        return {**self._profile(seen).variant, **known, **({"encoding": self._encoding} if self._encoding else {})}

    @property
    def given(self) -> tuple[AccessKey, ...]:
        """Nothing: a folder is not locked."""
        return ()

    def load(self) -> Contents:
        """Read the whole folder.

        Raises:
            ImageError, FileTrouble, ProfileError: see `open_folder`.
        """
        before = self._seen
        seen = understand(look(self._path), self._presumed)
        if before is not None and not seen.users:
            # An emptied folder stays what it was.
            version = before.version if not seen.entries else seen.version
            kept = Presumed(width=self._presumed.width, version=version, empty_width=before.width)
            seen = understand(seen.found, kept)
        _contradiction(self._door.profile, self._presumed, seen)
        self._seen = seen
        return seen

    # ---- who it is --------------------------------------------------------------------------------------------------

    async def identify(self) -> Unit:
        """Say what the folder holds; see `Lock.identify`."""
        seen = self.load()
        profile = self._profile(seen)
        details: dict[str, Any] = {
            "medium": "file",
            "record_bytes": seen.width,
            "fp_version": str(seen.version),
            "files": sorted(seen.found.files),
            "verified_length": seen.verified,
        }
        if self._encoding:
            details["encoding"] = self._encoding
        if not is_folder(self._path):
            details["exists"] = False
        return Unit(
            id=self._name(),
            serial=None,
            family=FAMILY,
            model=profile.title if profile.name not in PROFILES.values() else None,
            vendor=profile.vendor,
            firmware=None,
            profile=profile.name,
            target=self._door.target,
            simulated=self._door.simulated,
            capabilities=capabilities(None, seen.width, seen.version),
            counts={"users": len(seen.users), "fingerprints": len(seen.entries)},
            details=details,
            warnings=tuple(self._warnings(seen)),
        )

    def _profile(self, seen: Contents) -> Profile:
        return self._door.profile or load_profile(PROFILES[seen.width])

    def _name(self) -> str:
        if self._door.port_id not in ("", ".", ".."):
            return self._door.port_id
        return self._path.resolve().name or self._door.port_id

    def _warnings(self, seen: Contents) -> Iterator[str]:
        yield from seen.warnings
        if self._resumed:
            yield "an interrupted restore had been left in this folder: it was finished, the folder holds what it wrote"
        if _bound(seen):
            yield "nothing can be written here: faces and messages in it are bound to the numbers of its users"
        yield OPEN_DISK

    # ---- reading ----------------------------------------------------------------------------------------------------

    async def read(self, sections: frozenset[Section] = EVERYTHING, *, twice: bool = False) -> AsyncIterator[ReadItem]:
        """Give the files as tables; see `Lock.read`.

        Raises:
            TornRead: asked to read twice, the second reading is another one.
            ImageError, FileTrouble: see `open_folder`.
        """
        seen = self.load()
        if twice and self.load().found.files != seen.found.files:
            raise TornRead("the files changed while they were read", hint="the disk or its reader may be failing")
        if Section.IDENTITY in sections:
            yield _table(OPTIONS, f"~ZKFPVersion={seen.version}".encode(), 1, seen)
        if Section.INDEX in sections:
            yield _table(USERS, seen.user_table, len(seen.users), seen)
        if Section.SETTINGS in sections:
            for section, code, detail in _ABSENT:
                yield Gap(section=section, record=None, code=code, detail=detail, announced=True)
        if Section.CREDENTIALS in sections:
            count = len(seen.entries)
            table = _table(TEMPLATES, seen.template_table, count, seen)
            yield Progress(stage="fingerprints", done=count, total=count, size_bytes=len(table.data))
            yield table
            if any(any(entry.padding) for entry in seen.entries):
                yield _table(PADDED, seen.found.files[V9_FILE], count, seen)
            for item in self._unread(seen, "faces", "messages"):
                yield item
        if Section.LOG in sections:
            for item in self._log(seen):
                yield item

    def _log(self, seen: Contents) -> Iterator[ReadItem]:
        files = seen.of_kind("log")
        if files:
            body = join_logs(files.values())
            entries, strange = log_entries(body)
            yield _table(LOG_TEXT, body, len(entries), seen)
            if strange:
                detail = f"{len(strange)} lines of the attendance log are none that are known, first line {strange[0]}"
                yield Gap(section="log", record="log", code="log", detail=f"{detail}; they are kept as bytes only")
        yield from self._unread(seen, "encrypted-log")

    def _unread(self, seen: Contents, *kinds: str) -> Iterator[ReadItem]:
        """Files that nobody can decode yet: their bytes are kept, and it is said."""
        for kind in kinds:
            name, what = UNREAD[kind]
            for number, (file, data) in enumerate(sorted(seen.of_kind(kind).items()), start=1):
                yield _table(name if number == 1 else f"{name}-{number}", data, 0, seen)
                later = kind == "encrypted-log"
                yield Gap(
                    section="log" if later else kind,
                    record=file,
                    code="log" if later else "no-public-layout",
                    detail=f"{file} holds {what}; it is kept as bytes only",
                    announced=later,
                )

    # ---- writing ----------------------------------------------------------------------------------------------------

    async def rehearse_write(self, sample: bytes) -> bool | None:
        """A file takes every size that its entries can name; see `Lock.rehearse_write`."""
        del sample
        return None

    async def write(self, steps: Iterable[Step]) -> AsyncIterator[Done]:
        """Carry out all steps in memory, write the folder anew, and compare it with what the disk then holds.

        Raises:
            Unsupported: the folder holds faces or messages, which would go to whoever gets the number.
            FileTrouble: it cannot be written; what is on the disk then is whole all the same.
            ImageError: see `open_folder`.
        """
        finish(self._path)
        before = self.load()
        draft = Draft(before)
        taken = [(step, draft.apply(step)) for step in steps]
        if draft.changed:
            if _bound(before):
                raise Unsupported(
                    "the folder holds faces or messages, which are bound to the numbers of its users",
                    hint="restore into an empty folder; what lies here would go to whoever gets the number",
                )
            files = draft.files()
            commit(self._path, files, draft.sums(files))
        after = self.load()
        templates = {(entry.uid, entry.finger): entry for entry in after.entries}
        for step, refused in taken:
            done = refused or proven(step, after, templates)
            yield done
            for key in step.also:
                yield replace(done, key=key)

    async def erase(self, scope: Scope) -> AsyncIterator[Progress]:
        """Delete the files of users, templates, logs, faces and messages; see `Lock.erase`.

        Files are deleted, not emptied: nobody knows what a terminal makes of an empty user.dat.

        Raises:
            Unsupported: a folder has no factory state.
            FileTrouble: a file cannot be deleted.
        """
        if scope is Scope.FACTORY:
            raise Unsupported(
                "a folder has no factory state", hint="without --factory the files of a terminal in it are deleted"
            )
        erase(self._path)
        yield Progress(stage="files", done=1, total=1)

    async def touch(self, timeout_s: float) -> Touch:
        """There is no sensor.

        Raises:
            Unsupported: always.
        """
        del timeout_s
        raise Unsupported(
            "a folder has no sensor to lay a finger on", hint="try it on the terminal that reads the disk"
        )

    async def close(self) -> None:
        """Nothing is held open."""


def _table(name: str, data: bytes, rows: int, seen: Contents) -> Table:
    check = "sha256sums" if seen.verified else None
    return Table(name=name, data=data, rows=rows, read_at_utc=utc_now(), check=check)


def _bound(seen: Contents) -> bool:
    """Whether there is more that hangs on the numbers of users, and that nobody can rewrite."""
    return bool(seen.of_kind("faces") or seen.of_kind("messages"))


def _presumed(profile: Profile | None) -> Presumed:
    """Take from a named profile what it says of the files."""
    if profile is None:
        return Presumed()
    width, version = width_of(profile.variant.get("record_bytes")), profile.variant.get("fp_version")
    if width is None and profile.name == PROFILES[28]:
        width = 28
    if width == 16:
        raise ProfileError(f'the profile "{profile.name}" is of a terminal whose files have no public layout')
    return Presumed(
        width=cast("Width | None", width),
        version=version if version in (9, 10) else None,
        empty_width=width or 72,
    )


def _contradiction(profile: Profile | None, presumed: Presumed, seen: Contents) -> None:
    if profile is not None and seen.users and presumed.width not in (None, seen.width):
        raise ProfileError(
            f'the profile "{profile.name}" is of a terminal with {presumed.width} bytes for a user, the folder has '
            f"{seen.width}",
            hint="leave --profile out, or name the profile of the terminal that wrote the folder",
            code="wrong-profile",
        )
