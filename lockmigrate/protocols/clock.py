"""The host's clock as text."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> str:
    """Return now as RFC 3339 in UTC with seconds, for example `2026-11-23T09:12:31Z`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def local_now() -> str:
    """Return now in this computer's own time without a zone, to the minute, for example `2026-11-23T09:12`."""
    return datetime.now().strftime("%Y-%m-%dT%H:%M")  # noqa: DTZ005 - compared with what locks keep, which names no zone
