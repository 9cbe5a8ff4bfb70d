"""PIN grammars (neutral-format 6.2): whether a unit takes these digits. Digits are never padded, cut or rewritten."""

from __future__ import annotations

from lockmigrate.model.capabilities import CredentialCapability


def unfit(digits: str, capability: CredentialCapability | None) -> tuple[str, ...]:
    """Return the loss codes of why a unit does not take a PIN; empty where it does, as far as is known."""
    if capability is None:
        return ("setting-unsupported",)
    found = []
    if (capability.min_len is not None and len(digits) < capability.min_len) or (
        capability.max_len is not None and len(digits) > capability.max_len
    ):
        found.append("pin-length")
    if capability.alphabet is not None and not set(digits) <= set(capability.alphabet):
        found.append("pin-alphabet")
    if any(digits.startswith(prefix) for prefix in capability.forbidden_prefixes):
        found.append("pin-prefix")
    return tuple(found)
