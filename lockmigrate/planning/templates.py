"""Which fingerprint templates fit where (neutral-format 6.4 and decision 31).

A format id is `owner/encoder/version/bytes`, for EF01 `ef01/classic-0000/BYD160/1536`; `?` stands for an unknown size,
`*` for an algorithm that a profile cannot tell.
Formats of one maker that look alike do not always interchange (two modules of the same name refused each other's
templates: hanifizzudinrahman/Module-Fingerprint-DY50-FPM10A#1), so likeness is a question, never an answer.
"""

from __future__ import annotations

from typing import Literal

from lockmigrate.model.capabilities import CredentialCapability

Fit = Literal["fits", "size-unverified", "template-format", "template-dialect", "template-size", "template-look-alike"]


def fit(template_format: str, target: CredentialCapability | None) -> Fit:
    """Judge one template's format against what the target takes."""
    if target is None or target.writable != "data":
        return "template-format"
    if not target.template_formats:
        return "template-format"
    return min((_judge(template_format, wanted) for wanted in target.template_formats), key=_ORDER.index)


_ORDER: tuple[Fit, ...] = (
    "fits",
    "size-unverified",
    "template-look-alike",
    "template-size",
    "template-dialect",
    "template-format",
)


def _judge(have: str, want: str) -> Fit:
    if have == want:
        return "fits"
    mine, theirs = have.split("/"), want.split("/")
    if len(mine) != 4 or len(theirs) != 4 or mine[0] != theirs[0]:
        return "template-format"
    if _dialect(mine[1]) != _dialect(theirs[1]):
        return "template-dialect"
    if "?" not in (mine[3], theirs[3]) and mine[3] != theirs[3]:
        return "template-size"
    if mine[1] != theirs[1] or (mine[2] != theirs[2] and "*" not in (mine[2], theirs[2])):
        return "template-look-alike"
    return "fits" if mine[3] == theirs[3] else "size-unverified"


def size_unknown(target: CredentialCapability | None) -> bool:
    """Tell whether the target does not say how large its templates are, so that one has to be tried in memory."""
    return target is not None and all(item.rpartition("/")[2] == "?" for item in target.template_formats)


def _dialect(owner: str) -> str:
    return owner.partition("-")[0]
