"""Results of the commands that touch no unit: profiles, simulators, keys, trust; and what people see of them."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from lockmigrate.cli.parts import section
from lockmigrate.cli.tables import Block, Facts, Line, Table
from lockmigrate.model.comparison import CompatResult, DiffResult
from lockmigrate.model.job_results import JobResult
from lockmigrate.model.report import EraseCertificate, GuideResult, HealthResult, ReportResult
from lockmigrate.model.results import Result
from lockmigrate.model.vault_results import (
    VaultListResult,
    VaultPurgeResult,
    VaultReindexResult,
    VaultRekeyResult,
    VaultVerifyResult,
)


class ProfileSeen(Struct, frozen=True, kw_only=True):
    """One row of `profiles list`."""

    name: str
    title: str
    family: str
    evidence: str


class BrokenProfile(Struct, frozen=True, kw_only=True):
    """A profile file that cannot be used."""

    name: str
    error: str


class ProfilesResult(Result, frozen=True, kw_only=True):
    schema: str = "lockmigrate.profiles/1"
    profiles: tuple[ProfileSeen, ...] = ()
    broken: tuple[BrokenProfile, ...] = ()


class ProfileResult(Result, frozen=True, kw_only=True):
    """`profiles show`, and `profiles check` with the file."""

    schema: str = "lockmigrate.profile/1"
    profile: dict[str, Any]
    file: str | None = None


class PresetSeen(Struct, frozen=True, kw_only=True):
    """A preset of simulated units."""

    name: str
    title: str


class SimListResult(Result, frozen=True, kw_only=True):
    schema: str = "lockmigrate.sim-list/1"
    targets: tuple[str, ...] = ()
    profiles: tuple[ProfileSeen, ...] = ()
    presets: tuple[PresetSeen, ...] = ()


class LockKeysResult(Result, frozen=True, kw_only=True):
    """The keys of one lock were taken over or written; none of them is here."""

    schema: str = "lockmigrate.lock-keys/1"
    unit: str | None = None
    file: str


class KeysResult(Result, frozen=True, kw_only=True):
    """Public parts only; a passphrase is never in a result."""

    schema: str = "lockmigrate.keys/1"
    recipient: str
    signer: str
    public_key: str
    folder: str
    file: str | None = None
    created: bool = False
    generated: bool = False


class SignerSeen(Struct, frozen=True, kw_only=True):
    """One trusted key."""

    name: str
    fingerprint: str
    valid_after: str | None = None
    valid_before: str | None = None
    revoked: bool = False


class SignersResult(Result, frozen=True, kw_only=True):
    schema: str = "lockmigrate.signers/1"
    folder: str
    signers: tuple[SignerSeen, ...] = ()
    added: str | None = None
    """The fingerprint that was added just now."""
    revoked: str | None = None
    """The fingerprint that was revoked just now."""


VAULT_RESULTS = (VaultListResult, VaultVerifyResult, VaultRekeyResult, VaultPurgeResult, VaultReindexResult)
"""Those of a folder of backups: their screens are a module of their own."""
PAPERS = (ReportResult, HealthResult, GuideResult, EraseCertificate)
"""What goes on paper; a certificate is only a file, and its schema is published with the others."""


def screen(result: Result) -> list[Block]:
    """Return the blocks of one of these results.

    Raises:
        TypeError: there is no screen for it.
    """
    if isinstance(result, ProfilesResult):
        return _profiles(result)
    if isinstance(result, ProfileResult):
        return _profile(result)
    if isinstance(result, SimListResult):
        return _sim_list(result)
    if isinstance(result, KeysResult):
        return _keys(result)
    if isinstance(result, SignersResult):
        return _signers(result)
    if isinstance(result, LockKeysResult):
        return [Facts([("lock", result.unit or "unknown"), ("keys", f"{result.file} (readable by you alone)")])]
    if isinstance(result, CompatResult):
        from lockmigrate.cli import compat_cmd

        return compat_cmd.screen(result)
    if isinstance(result, JobResult):
        from lockmigrate.cli import job_cmd

        return job_cmd.screen(result)
    if isinstance(result, DiffResult):
        from lockmigrate.cli import diff_cmd

        return diff_cmd.screen(result)
    if isinstance(result, VAULT_RESULTS):
        from lockmigrate.cli import vault_screens

        return vault_screens.screen(result)
    if isinstance(result, PAPERS):
        from lockmigrate.cli import paper_screens

        return paper_screens.screen(result)
    raise TypeError(f"there is no screen for {type(result).__name__}")


def _profiles(result: ProfilesResult) -> list[Block]:
    blocks: list[Block] = [_profile_table(result.profiles)]
    blocks += section("cannot be used:", [(item.name, item.error) for item in result.broken], style="bold yellow")
    return blocks


def _profile_table(profiles: tuple[ProfileSeen, ...]) -> Table:
    rows = [(item.name, item.family, item.evidence, item.title) for item in profiles]
    return Table(("profile", "family", "evidence", "title"), rows)


def _profile(result: ProfileResult) -> list[Block]:
    profile = result.profile
    head = [
        (name, str(profile[name])) for name in ("name", "title", "family", "vendor", "evidence") if profile.get(name)
    ]
    if result.file:
        head.append(("file", f"{result.file}  follows the rules"))
    blocks: list[Block] = [Facts(head)]
    for table in ("match", "serial", "capabilities", "variant", "gaps"):
        blocks += section(f"{table}:", _flat(profile.get(table) or {}))
    blocks += section("notes:", [("-", str(note)) for note in profile.get("notes") or ()])
    blocks += section("sources:", [(str(name), str(title)) for name, title in (profile.get("sources") or {}).items()])
    return blocks


def _flat(table: dict[str, Any], before: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in table.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{before}{key}.")
        elif value not in (None, [], ()):
            text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            rows.append((f"{before}{key}", text))
    return rows


def _sim_list(result: SimListResult) -> list[Block]:
    example = result.targets[0] if result.targets else "sim://PROFILE/PRESET"
    return [
        _profile_table(result.profiles),
        Line(),
        Table(("preset", "what is in it"), [(item.name, item.title) for item in result.presets]),
        Line(),
        Line(f"a target is sim://PROFILE/PRESET, for example {example}"),
    ]


def _keys(result: KeysResult) -> list[Block]:
    rows = [("recipient", result.recipient), ("signer", result.signer), ("keys in", result.folder)]
    if result.file:
        rows.append(("copied to", result.file))
    blocks: list[Block] = [Facts(rows)]
    if result.created:
        paper = "the passphrase, the recipient and the signer's fingerprint"
        blocks += [
            Line(),
            Line(f"For paper, kept away from this computer: {paper}."),
            Line("Without the passphrase no backup of these keys can ever be opened; nobody can reset it."),
        ]
    return blocks


def _signers(result: SignersResult) -> list[Block]:
    if result.revoked is not None and result.revoked not in {item.fingerprint for item in result.signers}:
        return [Line(f"revoked: {result.revoked}, which was never trusted here")]
    if not result.signers:
        return [Line(f"nobody is trusted in {result.folder}"), Line('"lockmigrate trust add FILE" adds a signer')]
    rows = [(item.name, _state(item, result.added), item.fingerprint) for item in result.signers]
    return [Table(("name", "state", "fingerprint"), rows)]


def _state(item: SignerSeen, added: str | None) -> str:
    if item.revoked:
        return "revoked"
    if item.fingerprint == added:
        return "added"
    limits = [
        f"from {item.valid_after}" if item.valid_after else "",
        f"to {item.valid_before}" if item.valid_before else "",
    ]
    return " ".join(part for part in limits if part) or "trusted"
