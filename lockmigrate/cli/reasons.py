"""The sentences of `model.reasons`, where the report finds them too; screens import them from here."""

from __future__ import annotations

from lockmigrate.model.reasons import NEXT_STEPS, REASONS, explain, explain_all

__all__ = ["NEXT_STEPS", "REASONS", "explain", "explain_all"]
