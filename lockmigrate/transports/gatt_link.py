"""What the links of all Bluetooth LE connections have in common: an inbox of notifications, and their ending."""

from __future__ import annotations

from lockmigrate.errors import LinkLost
from lockmigrate.transports.ble_errors import LOST_HINT
from lockmigrate.transports.gatt import Channel
from lockmigrate.transports.inbox import Inbox


class RadioInbox(Inbox):
    """An inbox that blames no cable for a loss."""

    def check(self) -> None:
        """Return if the link is usable. See `Inbox.check`."""
        try:
            super().check()
        except LinkLost as error:
            raise LinkLost(error.message, hint=LOST_HINT) from None


class GattLink:
    """One channel of a connection; what is left to do is `write` and `_left`.

    Args:
        channel: which one.
        max_write: what a write command carries, in bytes.
    """

    def __init__(self, channel: Channel, max_write: int) -> None:
        self.channel = channel
        self.max_write = max_write
        self.unread = 0
        """Notifications that nobody has read yet."""
        self.inbox = RadioInbox()
        self._closed = False

    async def read(self) -> bytes:
        """Return the next notification or indication. See `Link.read`."""
        data = await self.inbox.get()
        self.unread -= 1
        return data

    def discard(self) -> int:
        """Forget what arrived and was not read; returns how many bytes that was."""
        self.unread = 0
        return self.inbox.discard()

    def arrived(self, data: bytes) -> None:
        """Take in a notification; an empty one says nothing."""
        if data and not self.inbox.ended:
            self.unread += 1
            self.inbox.put(data)

    async def close(self) -> None:
        """Unsubscribe; the connection stays. See `Link.close`."""
        if not self._closed:
            self._closed = True
            self.inbox.close()
            await self._left()

    async def _left(self) -> None:
        """Tell the connection that this link is closed."""
        raise NotImplementedError
