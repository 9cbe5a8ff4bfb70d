"""Our own version, looked up once it is needed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def own_version() -> str:
    """Return the installed version, `0` where the package metadata is missing."""
    try:
        return version("lockmigrate")
    except PackageNotFoundError:
        return "0"


SOURCE = f"lockmigrate@{own_version()}"
