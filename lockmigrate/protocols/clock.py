"""The host's clock as text."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> str:
    """Return now as RFC 3339 in UTC with seconds, for example `2026-11-23T09:12:31Z`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
