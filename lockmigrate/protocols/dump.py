"""A raw dump as a lock that can only be read: a file instead of a conversation.

The file is looked at anew for each question, so that a dump which is still being written is told by its change.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Final, NoReturn

from lockmigrate.errors import TornRead, Unsupported
from lockmigrate.formats.tables import TABLE, Dump, ImageLayout, read_image
from lockmigrate.formats.tables_keys import portable
from lockmigrate.model.document import Table
from lockmigrate.model.records import AccessKey
from lockmigrate.model.results import Progress, Unit
from lockmigrate.model.steps import Done, Step
from lockmigrate.profiles import Profile
from lockmigrate.protocols import EVERYTHING, ReadItem, Scope, Section, Touch
from lockmigrate.protocols.clock import utc_now

FAMILY: Final = "image"
_COUNTS: Final = {"PIN": "pins", "RFID": "cards", "Fingerprint": "fingerprints", "Face": "faces"}
_KINDS: Final = {"user": "users", "pin": "pins", "card": "cards", "fingerprint": "fingerprints", "face": "faces"}


class DumpLock:
    """One dump file, read by one profile. Made by `lockmigrate.protocols.dump_door`."""

    batch = 1

    def __init__(
        self,
        fetch: Callable[[], bytes],
        *,
        name: str,
        profile: Profile,
        layout: ImageLayout,
        target: str,
        simulated: bool = False,
    ) -> None:
        self._fetch, self._name, self._profile, self._layout = fetch, name, profile, layout
        self._target, self._simulated = target, simulated
        self._data = fetch()
        self._dump = read_image(layout, self._data)

    @property
    def variant(self) -> dict[str, Any]:
        """The layout itself, so that a backup can be decoded without the profile's file."""
        return {"tables": portable(self._profile.tables)}

    @property
    def given(self) -> tuple[AccessKey, ...]:
        """A file needs nothing to be opened."""
        return ()

    def _look(self) -> Dump:
        """Read the file again, and decode it where it is not as it was.

        Raises:
            ConnectError: it is gone.
            ImageError: it is no longer what it was.
        """
        data = self._fetch()
        if data != self._data:
            self._data, self._dump = data, read_image(self._layout, data)
        return self._dump

    async def identify(self) -> Unit:
        """Say what the dump holds; see `Lock.identify`."""
        dump = self._look()
        sections = dump.sections
        kinds = {kind for table in self._layout.spec.tables for kind in table.kinds}
        counts = {_KINDS[kind]: 0 for kind in _KINDS if kind in kinds}
        if "users" in counts:
            counts["users"] = len(sections.users)
        for item in sections.credentials:
            counts[_COUNTS[item.credential_type]] += 1
        warnings = []
        if dump.damaged:
            warnings.append(f"{_records(dump.damaged)} damaged: kept as bytes, not among the counts")
        if dump.marked:
            warnings.append(f"{_records(dump.marked)} marked: the profile does not explain everything in them")
        return Unit(
            id=self._name,
            serial=sections.lock.serial,
            family=FAMILY,
            model=self._profile.title,
            vendor=self._profile.vendor,
            firmware=sections.lock.firmware_rev,
            hardware=sections.lock.hardware_rev,
            profile=self._profile.name,
            target=self._target,
            simulated=self._simulated,
            capabilities=sections.capabilities,
            counts=counts,
            details={
                "medium": "file",
                "size_bytes": len(self._data),
                "records": dump.records,
                "damaged_records": dump.damaged,
                "marked_records": dump.marked,
            },
            warnings=tuple(warnings),
        )

    async def read(self, sections: frozenset[Section] = EVERYTHING, *, twice: bool = False) -> AsyncIterator[ReadItem]:
        """Give the whole file as one table, and what could not be made of it; see `Lock.read`.

        Raises:
            TornRead: it is to be read twice, and was not the same.
            ConnectError, ImageError: the file is gone, or no longer what it was.
        """
        if not sections - {Section.LOG}:
            return
        dump = self._look()
        if twice and self._look() is not dump:
            raise TornRead(
                f'the image "{self._name}" changed while it was read', hint="wait until the dump is complete"
            )
        size = len(self._data)
        yield Table(name=TABLE, data=self._data, rows=dump.records, read_at_utc=utc_now())
        for gap in dump.gaps:
            yield gap
        yield Progress(stage="image", done=1, total=1, size_bytes=size)

    def write(self, steps: Iterable[Step]) -> AsyncIterator[Done]:
        """Refuse; see `Lock.write`.

        Raises:
            Unsupported: always.
        """
        del steps
        _read_only()

    def erase(self, scope: Scope) -> AsyncIterator[Progress]:
        """Refuse; see `Lock.erase`.

        Raises:
            Unsupported: always.
        """
        del scope
        _read_only()

    async def rehearse_write(self, sample: bytes) -> bool | None:
        """There is no unit to send anything to; see `Lock.rehearse_write`."""
        del sample
        return None

    async def touch(self, timeout_s: float) -> Touch:
        """Refuse; see `Lock.touch`.

        Raises:
            Unsupported: always.
        """
        del timeout_s
        _read_only()

    async def close(self) -> None:
        """Nothing is open between two looks at the file."""


def _records(number: int) -> str:
    return "one record is" if number == 1 else f"{number} records are"


def _read_only() -> NoReturn:
    raise Unsupported("a dump is read only", hint="restore to a unit; what was read is in the backup")
