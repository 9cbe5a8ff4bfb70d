"""One helper for every framer: feed the same bytes in all the ways a line can deliver them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

F = TypeVar("F")
F_co = TypeVar("F_co", covariant=True)

LINE_NOISE = (b"\x00", b"\xff", b"\x00\xff\x55\xaa", bytes(range(0x10, 0x40)))
"""Noise that starts no frame of a protocol we know; give another one where these bytes do."""


class Framer(Protocol[F_co]):
    """What cuts a stream into frames."""

    def feed(self, data: bytes) -> None: ...

    def next(self) -> F_co | None: ...


def drain(framer: Framer[F]) -> list[F]:
    """Return every frame that is complete."""
    frames: list[F] = []
    while (frame := framer.next()) is not None:
        frames.append(frame)
    return frames


def frames_from(framer: Framer[F], pieces: Iterable[bytes]) -> list[F]:
    """Feed the pieces one after the other and return the frames in order."""
    frames: list[F] = []
    for piece in pieces:
        framer.feed(piece)
        frames.extend(drain(framer))
    return frames


def every_split(data: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Yield (name, pieces): whole, byte by byte, and cut in two at every place."""
    yield "whole", [data]
    yield "byte by byte", [data[at : at + 1] for at in range(len(data))]
    for at in range(1, len(data)):
        yield f"split at {at}", [data[:at], data[at:]]


def assert_every_split(make: Callable[[], Framer[F]], data: bytes, expected: Sequence[F]) -> None:
    """Assert that a new framer finds the same frames however the bytes arrive."""
    for name, pieces in every_split(data):
        assert frames_from(make(), pieces) == list(expected), name


def assert_noise_is_skipped(
    make: Callable[[], Framer[F]], data: bytes, expected: Sequence[F], *, noise: Sequence[bytes] = LINE_NOISE
) -> None:
    """Assert that noise before and after the frames changes nothing, however it all arrives."""
    for junk in noise:
        for pieces in ([junk, data, junk], [junk + data + junk], [bytes((byte,)) for byte in junk + data + junk]):
            assert frames_from(make(), pieces) == list(expected), f"noise {junk.hex()}"


def assert_cut_is_incomplete(make: Callable[[], Framer[F]], data: bytes) -> None:
    """Assert that one frame, cut anywhere, is no frame yet, and is one as soon as the rest comes."""
    for at in range(len(data)):
        framer = make()
        framer.feed(data[:at])
        assert framer.next() is None, f"a frame out of {at} of {len(data)} bytes"
        framer.feed(data[at:])
        assert framer.next() is not None, f"no frame after a pause at {at}"
        assert framer.next() is None
