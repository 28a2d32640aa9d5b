"""Damaged versions of a valid file: flipped bytes, truncations, insertions, splices, edited headers."""

from __future__ import annotations

from hypothesis import strategies as st

# Offsets, lengths and counts live here in every format.
_HEADER = 64
# Values that break a parser more often than random ones do.
_TELLING = (
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"9" * 12,
    b"-1",
    b"(",
)


@st.composite
def mutated(draw: st.DrawFn, original: bytes) -> bytes:
    """One to four edits of ``original``."""
    content = original
    for _ in range(draw(st.integers(1, 4))):
        content = draw(_edited(content))
    return content


@st.composite
def _edited(draw: st.DrawFn, content: bytes) -> bytes:
    last = max(len(content) - 1, 0)
    anywhere = st.integers(0, last)
    at = draw(st.integers(0, min(_HEADER, last)) | anywhere)
    kind = draw(st.sampled_from(("flip", "overwrite", "truncate", "insert", "remove", "splice")))
    if kind == "flip" and content:
        return content[:at] + bytes([content[at] ^ 1 << draw(st.integers(0, 7))]) + content[at + 1 :]
    if kind == "truncate":
        return content[: draw(anywhere)]
    if kind == "remove":
        return content[:at] + content[at + draw(st.integers(1, 16)) :]
    if kind == "splice":
        start = draw(anywhere)
        piece = content[start : start + draw(st.integers(1, 64))]
        return content[:at] + piece + content[at + draw(st.sampled_from((0, len(piece)))) :]
    piece = draw(st.sampled_from(_TELLING) | st.binary(min_size=1, max_size=16))
    return content[:at] + piece + content[at + (len(piece) if kind == "overwrite" else 0) :]
