"""What a unit can hold: neutral-format section 2.2."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class CredentialCapability(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a unit offers for one type of credential."""

    slots: int | None = None
    """How many fit; None where the unit does not say and nobody has published it."""
    used: int | None = None
    first_slot: int = 0
    last_slot: int | None = None
    """The highest number that a record can have, where numbers and room are two things (F5: ids up to 4095, whatever
    the number of users); else the slots end with their count."""
    min_len: int | None = None
    max_len: int | None = None
    alphabet: str | None = None
    forbidden_prefixes: tuple[str, ...] = ()
    """What a PIN may not begin with."""
    readback: Literal["full", "masked", "hash", "presence", "none"] = "none"
    writable: Literal["data", "enrol_only", "provision_only", "none"] = "none"
    unique: Literal["none", "type", "all"] = "none"
    template_formats: tuple[str, ...] = ()
    """Format ids (neutral-format 6.4) that this unit takes; for EF01 derived on the unit, decision 31."""
    template_size_bytes: int | None = None
    """As the unit or its document states it; what was measured stands in the table of the templates."""

    @property
    def last(self) -> int | None:
        """The highest number, as far as it is known."""
        if self.last_slot is not None:
            return self.last_slot
        return None if self.slots is None else self.first_slot + self.slots - 1


class CredentialCapabilities(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry per type of credential; absent types cannot be held at all."""

    pin: CredentialCapability | None = None
    card: CredentialCapability | None = None
    fingerprint: CredentialCapability | None = None
    face: CredentialCapability | None = None


class NameCapability(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a unit keeps of a person's name."""

    max_bytes: int
    encodings: tuple[str, ...]


class Capabilities(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a unit can hold, from the unit itself where it says so, else from its profile."""

    basis: Literal["unit", "profile"] = "profile"
    user_records: bool = False
    """Whether the unit knows people at all, or only numbered slots."""
    number_of_total_users_supported: int | None = None
    name: NameCapability | None = None
    credentials: CredentialCapabilities = CredentialCapabilities()
