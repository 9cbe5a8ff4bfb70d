"""Opening a raw dump: read the file, find the profile that fits it, refuse what is not whole."""

from __future__ import annotations

import errno
import stat
from pathlib import Path
from typing import Final

from lockmigrate.errors import ConnectError, ConnectReason, ImageError, ProfileError
from lockmigrate.formats.tables import MAX_IMAGE_BYTES, ImageLayout, compile_tables, recognises
from lockmigrate.profiles import Profile, load_profile, profile_names
from lockmigrate.protocols.door import Door
from lockmigrate.protocols.dump import FAMILY, DumpLock

_REASONS: Final = {
    errno.ENOENT: ConnectReason.NOT_FOUND,
    errno.ENOTDIR: ConnectReason.NOT_FOUND,
    errno.EACCES: ConnectReason.NO_PERMISSION,
    errno.EPERM: ConnectReason.NO_PERMISSION,
}


def check_variant(profile: Profile) -> None:
    """Check the layout of a profile; see `FamilyDoor.check_variant`.

    Raises:
        ProfileError: `[tables]` is wrong or missing, or there is a `[variant]`.
    """
    if profile.variant:
        key = next(iter(profile.variant))
        raise ProfileError(
            f'the profile "{profile.name}": variant.{key}: unknown key',
            hint="a raw dump has no variants; its layout stands in [tables]",
        )
    if profile.tables or profile.name != FAMILY:
        layout_of(profile)


def layout_of(profile: Profile) -> ImageLayout:
    """Compile a profile's layout.

    Raises:
        ProfileError: it has none, or it is wrong.
    """
    if not profile.tables:
        raise ProfileError(
            f'the profile "{profile.name}": tables: is needed and not there',
            hint="docs/adding-a-lock.md shows how a layout is written",
        )
    try:
        return compile_tables(profile.tables)
    except ProfileError as error:
        hint = error.hint or "docs/adding-a-lock.md, part B7, lists every key"
        raise ProfileError(f'the profile "{profile.name}": {error.message}', hint=hint) from None


async def open_unit(link: Path, door: Door) -> DumpLock:
    """Open a dump; `link` is the file.

    Raises:
        ConnectError: it is not there, is no file, or cannot be read.
        ProfileError: the named profile is wrong or of another family; none was named and not exactly one recognises it.
        ImageError: the dump is cut, damaged, or of another model.
    """
    named = door.profile
    if named is not None and named.family != FAMILY:
        raise ProfileError(
            f'the profile "{named.name}" is of the family {named.family}, not {FAMILY}', code="wrong-profile"
        )
    data = read_file(link)
    profile = named or _recognised(data)
    return DumpLock(
        lambda: read_file(link),
        name=link.name,
        profile=profile,
        layout=layout_of(profile),
        target=door.target,
        simulated=door.simulated,
    )


def read_file(path: Path) -> bytes:
    """Read a whole dump.

    Raises:
        ConnectError: it is not there, is no file, or cannot be read.
        ImageError: it is empty, or larger than any dump.
    """
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise ConnectError(f'"{path.name}" is no file', reason=ConnectReason.FAILED, hint="a raw dump is one file")
        with path.open("rb") as file:
            data = file.read(MAX_IMAGE_BYTES + 1)
    except (OSError, ValueError) as error:
        number = error.errno if isinstance(error, OSError) else None
        why = (error.strerror if isinstance(error, OSError) else None) or "no file can have this name"
        raise ConnectError(
            f'cannot read the image "{path.name}": {why.lower()}',
            reason=_REASONS.get(number or 0, ConnectReason.FAILED),
            hint="targets of this kind are written image://FILE",
        ) from None
    if not data:
        raise ImageError(f'the image "{path.name}" is empty', hint="read the chip again")
    if len(data) > MAX_IMAGE_BYTES:
        raise ImageError(f'the image "{path.name}" has more than {MAX_IMAGE_BYTES} bytes', code="too-large")
    return data


def _recognised(data: bytes) -> Profile:
    """Return the one profile whose marks the dump carries; of several, the one whose size it has too."""
    fitting = []
    for name in profile_names():
        try:
            profile = load_profile(name)
            if profile.family != FAMILY or not profile.tables:
                continue
            layout = layout_of(profile)
        except ProfileError:
            continue  # a broken profile in somebody's folder does not forbid reading by another one
        if recognises(layout, data):
            fitting.append((profile, len(data) in layout.spec.sizes))
    found = fitting if len(fitting) == 1 else [item for item in fitting if item[1]]
    if len(found) == 1:
        return found[0][0]
    names = ", ".join(profile.name for profile, _ in fitting)
    said = f"several profiles recognise this dump: {names}" if fitting else "no profile recognises this dump"
    raise ProfileError(
        said,
        hint="name its layout with --profile NAME; docs/adding-a-lock.md shows how one is written",
        code="wrong-profile" if fitting else "unknown-profile",
    )
