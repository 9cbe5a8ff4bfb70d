"""The certificate that a wipe leaves: how a unit was erased, as a file beside the backup that was made before."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from lockmigrate.errors import FileTrouble
from lockmigrate.formats.files import exists, write_whole
from lockmigrate.model.report import EraseCertificate
from lockmigrate.model.results import WipeResult
from lockmigrate.protocols import Scope
from lockmigrate.version import own_version

SUFFIX: Final = ".certificate.json"


def certificate_path(out: Path) -> Path:
    """Return where the certificate of a wipe lies whose backup is `out`."""
    return out.with_name(f"{out.name}{SUFFIX}")


def check_certificate(out: Path) -> None:
    """Fail before anything is erased if the certificate could not be written afterwards.

    Raises:
        FileTrouble: one is there already, or its folder is not.
    """
    path = certificate_path(out)
    if not path.parent.is_dir():
        raise FileTrouble(f"there is no folder {path.parent}", hint="make it first", code="no-folder")
    if exists(path):
        raise FileTrouble(f"{path} exists already", hint="choose another name with -o", code="file-exists")


def certificate_of(result: WipeResult, scope: Scope, *, now: datetime | None = None) -> EraseCertificate:
    """Say on paper how a unit was erased; what was proven is what reading it again showed, not that flash is clean."""
    return EraseCertificate(
        made_at=(now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        tool=f"lockmigrate {own_version()}",
        unit=result.unit,
        scope="factory" if scope is Scope.FACTORY else "people",
        backup=result.backup,
        erased=result.erased,
        left=result.left,
        kept=result.kept,
        proof=result.proof,
        warnings=result.warnings,
    )


def with_certificate(result: WipeResult, scope: Scope, out: Path) -> WipeResult:
    """Write the certificate; if that fails, say so in the result: the unit is erased all the same."""
    path = certificate_path(out)
    document = msgspec.to_builtins(certificate_of(result, scope))
    del document["exit_code"]
    try:
        write_whole(path, json.dumps(document, ensure_ascii=False, indent=1).encode("utf-8", "replace") + b"\n")
    except FileTrouble as trouble:
        remark = f"the unit is erased, but its certificate is not written: {trouble.message}"
        return msgspec.structs.replace(result, warnings=(*result.warnings, remark))
    return msgspec.structs.replace(result, certificate=str(path))
