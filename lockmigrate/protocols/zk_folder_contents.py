"""What the files of a ZKTeco export folder hold together, and what a restore makes of it (no I/O)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from lockmigrate.errors import ImageError
from lockmigrate.formats.zk_files import (
    EXPORT_AGAIN,
    MISMATCH,
    USER_FILE,
    V9_FILE,
    V10_FILES,
    Entry,
    build_sums,
    choose_templates,
    digest_of,
    kind_of,
    refuse_foreign,
    split_records,
    user_width,
    v9_file,
    wire_table,
)
from lockmigrate.formats.zk_records import MAX_TEMPLATE_BYTES, V9_TEMPLATE_BYTES, Width
from lockmigrate.model.steps import Done, Step
from lockmigrate.protocols.zk_folder_disk import OURS, Found

FINGERS: Final = range(256)
"""What a byte can hold; units number from 0 to 9 (reference, section 7)."""
UNVERIFIABLE: Final = (
    "unverifiable-length: there is no SHA256SUMS, so nothing proves that a file was not cut off behind a whole record"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Presumed:
    """What is known before the files are looked at."""

    width: Width | None = None
    """What a named profile says of the width of records."""
    version: int | None = None
    """What it says of the templates."""
    empty_width: Width = 72
    """For a folder without users."""
    empty_version: Mapping[int, int] = field(default_factory=lambda: {72: 10, 28: 9})
    """For a folder without templates, by the width of its records: as the generic profiles say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """Users and their templates, of one moment. The bytes are people's data and do not print."""

    found: Found
    width: Width
    version: int
    users: dict[int, bytes] = field(repr=False)
    """Number to record, in the order of the file."""
    entries: tuple[Entry, ...] = field(repr=False)
    warnings: tuple[str, ...] = ()

    @property
    def verified(self) -> bool:
        """Whether the length of every file is proven."""
        return self.found.sums is not None

    @property
    def user_table(self) -> bytes:
        return b"".join(self.users.values())

    @property
    def template_table(self) -> bytes:
        return wire_table(self.entries)

    def of_kind(self, kind: str) -> dict[str, bytes]:
        """Return the files of one kind, by name."""
        return {name: data for name, data in self.found.files.items() if kind_of(name) == kind}


def understand(found: Found, presumed: Presumed) -> Contents:
    """Read the files of a folder as one.

    Raises:
        ImageError: a file is damaged, cut or of another kind, or the files do not belong together.
    """
    for name, data in found.files.items():
        if kind_of(name) in ("users", "templates"):
            refuse_foreign(name, data)
    data = found.files.get(USER_FILE, b"")
    width = user_width(data, known=presumed.width) or presumed.empty_width
    users = split_records(data, width)
    templates = choose_templates(found.files)
    version = templates.version or presumed.version or presumed.empty_version[width]
    strangers = sorted({entry.uid for entry in templates.entries} - users.keys())
    if strangers:
        have = f"{USER_FILE} does not" if USER_FILE in found.files else f"there is no {USER_FILE}"
        raise ImageError(
            f"{templates.name} has fingerprints of the number {strangers[0]}, {have}"
            + (f" (and of {len(strangers) - 1} others)" if len(strangers) > 1 else ""),
            hint=f"a template file with the wrong user file would swap identities; {EXPORT_AGAIN}",
            code=MISMATCH,
        )
    warnings = list(templates.warnings)
    if found.files and found.sums is None:
        warnings.append(UNVERIFIABLE)
    if USER_FILE in found.files and not users:
        warnings.append(f"{USER_FILE} is empty: there are no users in it")
    return Contents(
        found=found,
        width=width,
        version=version,
        users=users,
        entries=templates.entries,
        warnings=tuple(warnings),
    )


class Draft:
    """The contents as they are to be: takes steps one after the other."""

    def __init__(self, before: Contents) -> None:
        self._before = before
        self.users = dict(before.users)
        self._entries: list[Entry | None] = list(before.entries)
        self._places: dict[tuple[int, int], list[int]] = {}
        for index, entry in enumerate(before.entries):
            self._places.setdefault((entry.uid, entry.finger), []).append(index)

    @property
    def entries(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self._entries if entry is not None)

    @property
    def changed(self) -> bool:
        return self.users != self._before.users or self.entries != self._before.entries

    def files(self) -> dict[str, bytes]:
        """Return user.dat and the template files; none that would be empty.

        Templates of version 10 are written under both names: which of them a terminal looks for differs by firmware
        (section 9), and one of an earlier time must not stay.
        """
        files = {USER_FILE: b"".join(self.users.values())} if self.users else {}
        entries = self.entries
        if entries and self._before.version == 9:
            files[V9_FILE] = v9_file(entries)
        elif entries:
            files |= dict.fromkeys(V10_FILES, wire_table(entries))
        return files

    def sums(self, files: Mapping[str, bytes]) -> bytes:
        """Return the SHA256SUMS of these files and of all others that stay."""
        found = self._before.found
        digests = {found.names[name]: digest_of(data) for name, data in found.files.items() if name not in OURS} | {
            name: digest_of(data) for name, data in files.items()
        }
        others = {name: digest for name, digest in (found.sums or {}).items() if kind_of(name) is None}
        return build_sums(others | digests)

    def apply(self, step: Step) -> Done | None:
        """Take a step; returns a Done only where it is refused."""
        uid = step.origin.get("user_index")
        if step.kind not in ("user", "fingerprint") or step.action not in ("put", "remove"):
            return _refused(step, "schedule-unsupported", "a folder carries users and fingerprints only")
        if not isinstance(uid, int) or isinstance(uid, bool) or not 0 < uid <= 0xFFFF:
            return _refused(step, "capacity", "no user has this number")
        if step.kind == "fingerprint":
            return self._finger(step, uid)
        if step.action == "remove":
            self.users.pop(uid, None)
            for finger in FINGERS:
                self._drop((uid, finger))
            return None
        return self._put_user(step, uid)

    def _put_user(self, step: Step, uid: int) -> Done | None:
        record = step.value
        width = self._before.width
        if not isinstance(record, bytes) or len(record) != width or int.from_bytes(record[:2], "little") != uid:
            return _refused(step, "write-refused", f"this is no record of {width} bytes for the number {uid}")
        if step.origin.get("verify"):
            return _refused(
                step, "rule-unsupported", "the user's own verify style has no place in a folder; it may widen a right"
            )
        self.users[uid] = record
        return None

    def _finger(self, step: Step, uid: int) -> Done | None:
        finger, flag, template = step.origin.get("finger"), step.origin.get("flag", 1), step.value
        if not isinstance(finger, int) or finger not in FINGERS:
            return _refused(step, "capacity", "no finger has this number")
        place = (uid, finger)
        if step.action == "remove":
            self._drop(place)
            return None
        longest = V9_TEMPLATE_BYTES if self._before.version == 9 else MAX_TEMPLATE_BYTES
        if not isinstance(template, bytes) or not 0 < len(template) <= longest:
            return _refused(step, "template-size", f"a template of version {self._before.version} has no such length")
        if not isinstance(flag, int) or flag not in range(256):
            return _refused(step, "write-refused", "no template has such a flag")
        if uid not in self.users:
            return _refused(step, "user-missing", f"there is no user {uid} in the folder")
        first, *others = self._places.get(place, [len(self._entries)])
        for index in others:
            self._entries[index] = None
        self._entries[first : first + 1] = [Entry(uid, finger, flag, template)]
        self._places[place] = [first]
        return None

    def _drop(self, place: tuple[int, int]) -> None:
        for index in self._places.pop(place, []):
            self._entries[index] = None


def proven(step: Step, after: Contents, templates: Mapping[tuple[int, int], Entry]) -> Done:
    """Say what became of a step, by what the disk holds now."""
    uid = int(step.origin["user_index"])
    entry = templates.get((uid, int(step.origin["finger"]))) if step.kind == "fingerprint" else None
    if step.action == "remove":
        equal = uid not in after.users if step.kind == "user" else entry is None
    elif step.kind == "user":
        equal = after.users.get(uid) == step.value
    else:
        equal = entry is not None and (entry.template, entry.flag) == (step.value, step.origin.get("flag", 1))
    if equal:
        return Done(key=step.key, status="written" if step.action == "put" else "removed", proof="V4")
    return Done(key=step.key, status="differs", code="read-back-differs", detail="the disk holds something else")


def _refused(step: Step, code: str, detail: str) -> Done:
    return Done(key=step.key, status="refused", code=code, detail=detail)
