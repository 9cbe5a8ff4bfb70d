"""Reading the small tables of a ZKTeco terminal, one number at a time: zones, groups, combinations, verify styles."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Final

from lockmigrate.formats.zk import UNKNOWN_COMMAND, Cmd, Reply
from lockmigrate.formats.zk_access import (
    COMBINATION_TABLE,
    GROUP_TABLE,
    VERIFY_BYTES,
    VERIFY_TABLE,
    ZONE_TABLE,
)
from lockmigrate.model.document import Gap, Table
from lockmigrate.model.results import Progress
from lockmigrate.protocols import ReadItem
from lockmigrate.protocols.clock import utc_now
from lockmigrate.protocols.zk_changes import (
    COMBINATION_ACCESS,
    GROUP_ACCESS,
    ZONE_ACCESS,
    AccessTable,
    Changes,
)
from lockmigrate.protocols.zk_pause import Pause
from lockmigrate.protocols.zk_wire import Wire

CHECK: Final = "zk-sum16"
"""Every packet carries a sum of 16 bits over all of it (reference, section 2)."""
TABLES: Final = ((ZONE_TABLE, ZONE_ACCESS), (GROUP_TABLE, GROUP_ACCESS), (COMBINATION_TABLE, COMBINATION_ACCESS))
TOTAL: Final = sum(access.highest for _, access in TABLES)


def table(name: str, data: bytes, rows: int, *, started: str | None = None) -> Table:
    """Make a table as it came over the wire."""
    return Table(name=name, data=data, rows=rows, read_at_utc=started or utc_now(), check=CHECK)


class SettingsReader:
    """Reads the small tables; what the unit does not have is told in `unsupported`."""

    def __init__(self, wire: Wire, changes: Changes, pause: Pause, unsupported: set[str]) -> None:
        self._wire = wire
        self._changes = changes
        self._pause = pause
        self._unsupported = unsupported

    async def read(self, uids: Iterable[int]) -> AsyncGenerator[ReadItem, None]:
        """Read everything; holidays are a gap always: they have no public layout (reference, section 8)."""
        done = 0
        for name, access in TABLES:
            async with aclosing(self._numbers(name, access, done)) as items:
                async for item in items:
                    yield item
            done += access.highest
        async with aclosing(self._verify(list(dict.fromkeys(uids)))) as items:
            async for item in items:
                yield item
        yield Gap(
            section="lock_schedules",
            record=None,
            code="no-public-layout",
            detail="holidays and daylight saving time have no public layout; enter them again on the new terminal",
        )

    async def _numbers(self, name: str, access: AccessTable, before: int) -> AsyncGenerator[ReadItem, None]:
        started = utc_now()
        found: list[bytes] = []
        refused: list[int] = []
        last = 0
        self._unsupported.discard(name)
        for number in range(1, access.highest + 1):
            await self._pause.renew()
            answer = await self._changes.read_access(access, number)
            if isinstance(answer, bytes):
                if not _is_answer(access, number, answer):
                    yield Gap(
                        section="schedules",
                        record=None,
                        code="no-public-layout",
                        detail=f"the terminal gives its {access.what} in a form that has no public layout",
                    )
                    self._unsupported.add(name)
                    return
                found.append(answer)
                last = number
            elif number == 1:
                self._unsupported.add(name)
                return
            else:
                refused.append(number)
            yield Progress(stage="settings", done=before + number, total=TOTAL)
        holes = [number for number in refused if number < last]  # where a unit has fewer, the last ones are missing
        if holes:
            yield Gap(
                section="schedules",
                record=None,
                code="schedule-unreadable",
                detail=f"of its {access.what} the terminal does not give out {_listed(holes)}, but higher numbers",
            )
        yield table(name, b"".join(found), len(found), started=started)

    async def _verify(self, uids: list[int]) -> AsyncGenerator[ReadItem, None]:
        """Ask every user's verify style, one by one: there is no other way."""
        started = utc_now()
        found: list[bytes] = []
        refused: list[int] = []
        self._unsupported.discard(VERIFY_TABLE)
        for done, uid in enumerate(uids, start=1):
            await self._pause.renew()
            answer = await self._wire.ask_optional(Cmd.VERIFY_READ, uid.to_bytes(2, "little"))
            good = (
                answer.code == Reply.OK
                and len(answer.data) == VERIFY_BYTES
                and answer.data[:2] == uid.to_bytes(2, "little")
            )
            if good:
                found.append(answer.data)
            elif answer.code in UNKNOWN_COMMAND or not found:
                self._unsupported.add(VERIFY_TABLE)
                yield Gap(
                    section="verify_styles",
                    record=None,
                    code="no-public-layout",
                    detail="the terminal does not tell in which way a user has to verify; where users have a way of "
                    "their own, set it again",
                )
                return
            else:
                refused.append(uid)
            if done % 16 == 0 or done == len(uids):
                yield Progress(stage="verify styles", done=done, total=len(uids))
        if refused:
            yield Gap(
                section="verify_styles",
                record=None,
                code="schedule-unreadable",
                detail=f"the terminal does not tell in which way the users {_listed(refused)} have to verify",
            )
        if found:
            yield table(VERIFY_TABLE, b"".join(found), len(found), started=started)


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:10])) + (f" and {len(numbers) - 10} more" if len(numbers) > 10 else "")


def _is_answer(access: AccessTable, number: int, answer: bytes) -> bool:
    said = int.from_bytes(answer[: 2 if access is ZONE_ACCESS else 1], "little")
    return len(answer) == access.answer_bytes and said == number
