"""`Secret`: a value that never prints, and the list of what is secret.

PINs, card numbers, templates, passwords and keys travel in a `Secret`. Its only loud method is `reveal()`:
searching the tree for that word is the security review.
"""

from __future__ import annotations

import hmac
from typing import Any, Final, NoReturn, get_args, get_type_hints

MASK: Final = "••••••"


class Secret:
    """Bytes or text that print as dots, also inside f-strings, tracebacks and containers.

    Equality is constant-time and by content; hashing and pickling are refused because both leak (a hash of a four-digit
    PIN is the PIN).
    """

    __slots__ = ("_value",)

    def __init__(self, value: bytes | str) -> None:
        self._value = value

    def reveal(self) -> bytes | str:
        """Return the value itself."""
        return self._value

    def reveal_bytes(self) -> bytes:
        """Return the value as bytes (text as UTF-8)."""
        return self._value if isinstance(self._value, bytes) else self._value.encode("utf-8")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return type(self._value) is type(other._value) and hmac.compare_digest(
            self.reveal_bytes(), other.reveal_bytes()
        )

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self._value)

    def __repr__(self) -> str:
        return MASK

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


def secret_fields(*structs: type) -> dict[str, tuple[str, ...]]:
    """Derive which fields of the given structs are typed `Secret`; there is no second list to keep."""
    found: dict[str, tuple[str, ...]] = {}
    for struct in structs:
        hints: dict[str, Any] = get_type_hints(struct)
        names = tuple(name for name, hint in hints.items() if _mentions_secret(hint))
        if names:
            found[struct.__name__] = names
    return found


def _mentions_secret(hint: Any) -> bool:
    return hint is Secret or any(_mentions_secret(part) for part in get_args(hint))
