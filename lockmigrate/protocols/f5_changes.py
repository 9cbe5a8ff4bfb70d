"""Single questions to a 0xF5 module, and everything that can be changed on one; each change is proven.

The module may refuse a finger that is enrolled already (command 2D), which a source may legally hold under two ids: the
rule is lifted while fingers are written, and put back on every way out.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Final

from lockmigrate.errors import FrameError, LinkError, NoAnswer, RefusedError, UnexpectedReply
from lockmigrate.formats.f5 import (
    COUNT,
    DELETE_ALL,
    DELETE_USER,
    DUPLICATES,
    FAIL,
    FINGER_TAKEN,
    FULL,
    LIST,
    MAX_TEMPLATE_BYTES,
    MAX_USER,
    NO_USER,
    PERMISSION,
    PERMISSIONS,
    READ_TEMPLATE,
    SETTINGS,
    USER_TAKEN,
    VERSION,
    WRITE_TEMPLATE,
    Command,
    build_user_data,
    parse_list,
    parse_user_data,
)
from lockmigrate.formats.f5_tables import SETTING_KEYS
from lockmigrate.model.steps import Done, Step
from lockmigrate.protocols.f5_wire import QUERY, SET, F5Wire, Reply
from lockmigrate.protocols.slots import SLOT_TRIES, Fetched, Refusal, put, put_setting, remove, slot_of
from lockmigrate.protocols.slots_line import TROUBLE, Silent

COMMAND_OF: Final = {SETTING_KEYS[command.code]: command for command in SETTINGS}
EMPTY_LIST: Final = bytes(2)
"""What the list of an empty module holds: a count of zero."""
VERSION_TRIES: Final = 2
"""How often a module that may not know the question is asked; ours."""
REFUSED, ALLOWED = 1, 0
"""Values of the setting `duplicates`."""


class F5Slots:
    """What can be asked of and done to single ids. Implements `Slots`."""

    def __init__(self, wire: F5Wire) -> None:
        self.wire = wire
        self.listed: Mapping[int, int] | None = None
        """While the library is read: id to permission as the list has it, which every template must bear out."""
        self.unlisted = False
        """The library is read without a list: what 0A says has to bear a template out."""
        self.template_bytes: int | None = None
        """Size of the templates, once one was read."""
        self._speaks_of: dict[Command, bool] = {}
        """Whether the module answers at all to the query of a setting; silence is not waited for a second time."""

    async def count(self) -> int | None:
        """How many users there are, by the module's own word; None where it does not say.

        Raises:
            LinkError: the conversation failed.
        """
        reply = await self.wire.ask(COUNT)
        return reply.number if reply.ok else None

    async def version(self) -> bytes | None:
        """The text of its version; None where it does not know the command.

        Raises:
            Silent, LinkLost: the module is gone.
        """
        try:
            reply = await self.wire.ask(VERSION, tries=VERSION_TRIES)
        except Silent:
            raise
        except TROUBLE:
            return None
        return reply.data if reply.ok else None

    async def list_bytes(self) -> bytes | None:
        """The data of its list, whole entries; None where the module refuses it.

        Raises:
            FrameError: the list does not follow its layout.
            LinkError: the conversation failed.
        """
        for attempt in range(1, SLOT_TRIES + 1):
            reply = await self.wire.ask(LIST)
            if not reply.ok:
                return EMPTY_LIST if reply.result == NO_USER else None
            try:
                parse_list(reply.data)
            except FrameError:
                if attempt == SLOT_TRIES:
                    raise
            else:
                return reply.data
        raise AssertionError("there is at least one try")

    async def setting(self, command: Command) -> int | None:
        """Query a setting; None where the module gives no clear word.

        Raises:
            Silent, LinkLost: the module is gone.
        """
        if self._speaks_of.get(command) is False:
            return None
        try:
            reply = await self.wire.ask(command, 0, QUERY)
        except Silent:
            raise
        except NoAnswer:
            self._speaks_of.setdefault(command, False)
            return None
        except TROUBLE:
            return None
        self._speaks_of[command] = True
        return reply.number & 0xFF if reply.ok else None

    async def set(self, command: Command, value: int) -> Refusal | None:
        """Set a setting once; None where the module agreed, or where its answer was lost.

        Raises:
            Silent, LinkLost: the module is gone.
        """
        try:
            reply = await self.wire.ask(command, value, SET, tries=1)
        except Silent:
            raise
        except TROUBLE:
            return None
        return None if reply.ok else Refusal("write-refused", reply.text, final=reply.result != FAIL)

    async def fetch(self, slot: int) -> Fetched:
        """Read one user's permission byte and template; see `Slots.fetch`."""
        why, refused = Fetched().why, False

        def check(reply: Reply) -> None:
            if reply.ok and parse_user_data(reply.data).user != slot:
                raise UnexpectedReply(expected=f"the template of id {slot}", received="another's")

        for _ in range(SLOT_TRIES):
            try:
                reply = await self.wire.ask(READ_TEMPLATE, slot, tries=1, check=check)
            except Silent:
                raise
            except TROUBLE:
                continue
            if not reply.ok:
                why, refused = reply.text, reply.result == NO_USER
                if refused and self.listed is None:
                    break
                continue
            user = parse_user_data(reply.data)
            told = await self._told(slot, user.permission)
            if user.permission == told:
                self.template_bytes = self.template_bytes or len(user.template)
                return Fetched(data=bytes([user.permission]) + user.template)
            why, refused = f"its template has the permission {user.permission}, the module says {told}", False
        if self.listed is not None:
            return Fetched(free=refused and slot not in self.listed, why=why)
        # 31 may answer 01 for an id that nobody has (reference, Commands): 0A has a word of its own for that.
        return Fetched(free=refused or await self.is_free(slot) is True, why=why)

    async def _told(self, slot: int, permission: int) -> int:
        """Return the permission by another word of the module; where it has none, the one of the template."""
        if self.listed is not None:
            return self.listed.get(slot, permission)
        if not self.unlisted:
            return permission
        try:
            result = (await self.wire.ask(PERMISSION, slot)).result
        except Silent:
            raise
        except TROUBLE:
            return permission
        # 01 may be a permission, or the word of a module that does not know the question.
        return result if result in PERMISSIONS and result != FAIL else permission

    async def is_free(self, slot: int) -> bool | None:
        """Ask for the permission; see `Slots.is_free`."""
        try:
            reply = await self.wire.ask(PERMISSION, slot)
        except Silent:
            raise
        except TROUBLE:
            return None
        return reply.result == NO_USER

    async def delete(self, slot: int) -> Refusal | None:
        """Delete one user once; see `Slots.delete`."""
        try:
            reply = await self.wire.ask(DELETE_USER, slot)
        except Silent:
            raise
        except TROUBLE:
            return None
        return None if reply.ok or reply.result == NO_USER else Refusal("write-refused", reply.text)

    async def store(self, slot: int, data: bytes) -> tuple[Refusal | None, bool]:
        """Write permission and template once; see `Slots.store`."""
        packet = build_user_data(slot, data[0], data[1:])
        try:
            reply = await self.wire.ask(WRITE_TEMPLATE, data=packet)
        except Silent:
            raise
        except TROUBLE:
            return None, True  # it may have happened: read back, never repeated blindly
        if reply.ok:
            return None, True
        if reply.result == FULL:
            return Refusal("capacity", reply.text), False
        if reply.result in (USER_TAKEN, FINGER_TAKEN):
            return Refusal("write-refused", reply.text), False
        return Refusal("write-refused", reply.text, final=False), True

    async def erase_all(self) -> None:
        """Delete all users; an empty module is fine.

        Raises:
            RefusedError: the module refuses.
            LinkError: the conversation failed.
        """
        for attempt in range(1, SLOT_TRIES + 1):
            reply: Reply | None = None
            try:
                reply = await self.wire.ask(DELETE_ALL)
            except Silent:
                raise
            except TROUBLE:
                if attempt == SLOT_TRIES:
                    raise
            # It may have happened although the answer was lost, or there was nothing to delete: the count tells.
            if (reply is not None and reply.ok) or await self.count() == 0:
                return
            if reply is not None and (reply.result != FAIL or attempt == SLOT_TRIES):
                raise RefusedError(f"the module refuses to delete all users: {reply.text}", status=reply.result)


class Changes:
    """What can be changed on one module."""

    def __init__(self, slots: F5Slots) -> None:
        self._slots = slots
        self._lifted: int | None = None
        """What the rule about duplicates has to be put back to."""
        self.trouble: str | None = None
        """What could not be put back, as a sentence."""

    async def write(self, steps: Iterable[Step]) -> AsyncIterator[Done]:
        """Carry out steps in their order; see `Lock.write`."""
        try:
            for step in steps:
                if step.kind == "fingerprint":
                    yield await self._finger(step)
                elif step.key in COMMAND_OF and step.action == "put":
                    yield await self._setting(step, COMMAND_OF[step.key])
                else:
                    yield Done(key=step.key, status="refused", code="setting-unsupported")
        except BaseException:
            with contextlib.suppress(LinkError):  # what ended it is the news
                await self.put_back()
            raise
        await self.put_back()

    async def _finger(self, step: Step) -> Done:
        slot = slot_of(step, 1, MAX_USER)
        wanted = step.value if isinstance(step.value, bytes) else b""
        if slot is None:
            return Done(key=step.key, status="refused", code="capacity", detail="no user id has this number")
        if step.action == "remove":
            return await remove(self._slots, step.key, slot)
        if not 2 <= len(wanted) <= MAX_TEMPLATE_BYTES:
            detail = "not a permission byte with a template behind it"
            return Done(key=step.key, status="refused", code="template-size", detail=detail)
        self._slots.listed = None  # a read that was walked away from may have left it
        await self._lift()
        return await put(self._slots, step.key, slot, wanted)

    async def _lift(self) -> None:
        """Allow duplicates until `put_back`; a module that does not speak of them is left alone."""
        if self._lifted is None and await self._slots.setting(DUPLICATES) == REFUSED:
            self._lifted = REFUSED  # before it is sent: it may happen although its answer is lost
            await self._slots.set(DUPLICATES, ALLOWED)

    async def put_back(self) -> None:
        """Put the rule about duplicates back to what it was, if it was lifted.

        Raises:
            LinkError: the conversation failed; another call tries again.
        """
        if self._lifted is None:
            return
        for _ in range(SLOT_TRIES):
            await self._slots.set(DUPLICATES, self._lifted)
            if await self._slots.setting(DUPLICATES) == self._lifted:
                self._lifted = self.trouble = None
                return
        self.trouble = (
            "the module was told to allow duplicate fingers while it was written, and does not go back to refusing "
            "them; set it by hand"
        )

    async def _setting(self, step: Step, command: Command) -> Done:
        wanted = step.value if isinstance(step.value, int) else -1
        if not 0 <= wanted <= SETTINGS[command]:
            detail = f"the module knows 0 to {SETTINGS[command]}"
            return Done(key=step.key, status="refused", code="setting-unsupported", detail=detail)
        if await self._slots.setting(command) is None:
            detail = "this module has no such setting that could be read back"
            return Done(key=step.key, status="refused", code="setting-unsupported", detail=detail)
        done = await put_setting(
            step.key, wanted, lambda value: self._slots.set(command, value), lambda: self._slots.setting(command)
        )
        if command is DUPLICATES and done.status == "written":
            self._lifted = None  # this is what it shall be from now on; until then the old rule has to come back
        return done
