"""Bodies packed with gzip or zstd (Content-Encoding), unpacked within a bound.

Nothing is unpacked beyond the bound, so that a small body cannot take much memory or time.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Protocol

from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

from tsfm.errors import BadRequest, TooLarge, Unsupported

GZIP = zlib.MAX_WBITS + 16  # zlib's number for gzip's header and checksum
# RFC 9659: who packs for HTTP uses windows of at most 8 MiB, and who unpacks may refuse larger ones.
ZSTD_WINDOW = 23
# Both formats may hold several parts, one after the other, and each costs a copy of what follows it in its slice.
AT_ONCE, MOST_PARTS = 64 << 10, 10_000
SHOWN = 40


class Unpacker(Protocol):
    """What zlib's and zstd's objects for one packed part have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ...) -> bytes: ...


def encoding(header: str) -> str:
    """The one encoding that a Content-Encoding header names: "gzip", "zstd" or "" for none.

    Raises:
        Unsupported: another encoding, or several.
    """
    name = header.strip().lower()
    if name in ("", "identity"):
        return ""
    if name == "x-gzip":  # RFC 9110: the same as gzip
        return "gzip"
    if name not in ENCODINGS:
        raise Unsupported(f"Content-Encoding: expected gzip, zstd or none, got {header[:SHOWN]}")
    return name


def unpack(body: bytes, name: str, most: int) -> bytes:
    """The content of a packed body, of at most ``most`` bytes.

    Args:
        name: as ``encoding`` gives it.

    Raises:
        BadRequest: the body is not what its encoding says, or not complete.
        TooLarge: it holds more than ``most`` bytes.
    """
    if not name:
        return body
    pieces: list[bytes] = []
    count, unpacker, left = 0, None, most
    for start in range(0, len(body), AT_ONCE):
        data = body[start : start + AT_ONCE]
        while data:
            if unpacker is None or unpacker.eof:
                count, unpacker = count + 1, ENCODINGS[name]()
            pieces.append(_step(unpacker, data, left, name))
            left -= len(pieces[-1])
            if left < 0:
                raise TooLarge(f"body: expected at most {_shown(most)} once unpacked, got more")
            if count > MOST_PARTS:
                raise TooLarge(f"body: expected at most {MOST_PARTS} parts of {name} one after the other, got more")
            data = unpacker.unused_data
    if unpacker is None or not unpacker.eof:
        raise BadRequest(f"body: expected complete {name}, as Content-Encoding says, but its end is missing")
    return b"".join(pieces)


def _step(unpacker: Unpacker, data: bytes, left: int, name: str) -> bytes:
    try:
        return unpacker.decompress(data, left + 1)
    except (zlib.error, ZstdError) as error:
        raise BadRequest(f"body: expected {name}, as Content-Encoding says, but: {error}") from None


def _shown(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"


def _gzip() -> Unpacker:
    return zlib.decompressobj(GZIP)


def _zstd() -> Unpacker:
    return ZstdDecompressor(options={DecompressionParameter.window_log_max: ZSTD_WINDOW})


ENCODINGS: dict[str, Callable[[], Unpacker]] = {"gzip": _gzip, "zstd": _zstd}
