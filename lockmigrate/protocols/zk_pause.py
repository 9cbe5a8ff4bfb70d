"""Keeping a ZKTeco terminal from changing under our hands, and giving it back in any case.

A disabled terminal opens for nobody. It is therefore disabled for a limited time where it accepts one, which is renewed
while the work goes on: a killed program leaves no dead terminal behind (neutral-format 6.1).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from lockmigrate.errors import LinkError, RefusedError
from lockmigrate.formats.zk import Cmd, reply_text
from lockmigrate.protocols.zk_wire import LEAVE_S, Wire

DISABLED_S: Final = 60
"""For how long the unit is disabled at a time; ours. DISABLE takes seconds as an option (reference, section 4)."""
RENEW_S: Final = 20.0


class Pause:
    """The unit's disabled state, as far as we made it so."""

    def __init__(self, wire: Wire) -> None:
        self.held = False
        """The unit is disabled, or may be."""
        self._wire = wire
        self._inside = False
        self._limited: bool | None = None
        """Whether the unit accepts a limit; None before it was tried. What it accepted once is never done without."""
        self._obeyed = False
        """It has said OK to being disabled."""
        self._since_s = 0.0

    @contextlib.asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Disable the unit until the block is left, however it is left. Blocks may lie in one another.

        Raises:
            LinkError: the conversation failed.
            RefusedError: the unit does not enable itself again.
        """
        if self._inside:
            yield
            return
        self._inside = True
        try:
            await self._disable()
            yield
        except BaseException:
            with contextlib.suppress(LinkError):
                await self.end(timeout_s=LEAVE_S)
            raise
        finally:
            self._inside = False
        answer = await self.end()
        if answer is not None and self._obeyed and not self._limited:
            raise RefusedError(
                f"the terminal stays disabled: {answer}", hint="switch it off and on again, then nothing is lost"
            )

    async def renew(self) -> None:
        """Extend the time if much of it is over; cheap enough to be called at every turn."""
        if self._inside and asyncio.get_running_loop().time() - self._since_s > RENEW_S:
            await self._disable()

    async def end(self, *, timeout_s: float | None = None) -> str | None:
        """Enable the unit if we disabled it; returns what it says if it refuses.

        Raises:
            LinkError: the conversation failed; it may still be disabled then.
        """
        if not self.held:
            return None
        answer = await self._wire.ask(Cmd.ENABLE, repeatable=True, timeout_s=timeout_s)
        self.held = not answer.ok
        return None if answer.ok else reply_text(answer.code)

    async def _disable(self) -> None:
        self.held = True
        self._since_s = asyncio.get_running_loop().time()
        if self._limited is not False:
            answer = await self._wire.ask_optional(Cmd.DISABLE, DISABLED_S.to_bytes(4, "little"))
            self._limited = self._limited or answer.ok
            if self._limited:
                self._obeyed = True
                return
        # A unit that knows no such command reads and writes all the same; what changes meanwhile shows in its counters.
        answer = await self._wire.ask_optional(Cmd.DISABLE)
        self._obeyed = self._obeyed or answer.ok
