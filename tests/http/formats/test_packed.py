"""Packed bodies: what they hold, and how little is unpacked of what holds too much."""

import gzip
import os
import tracemalloc

import pytest
from backports import zstd
from backports.zstd import CompressionParameter

from tsfm.errors import BadRequest, TooLarge, Unsupported
from tsfm.http.formats import packed

PACK = {"gzip": gzip.compress, "zstd": zstd.compress}
CONTENT = os.urandom(200_000) * 2
MOST = 1 << 20


@pytest.mark.parametrize("name", PACK)
@pytest.mark.parametrize("content", [b"", b"{}", CONTENT])
def test_a_body_is_unpacked_whatever_its_parts(name, content):
    assert packed.unpack(PACK[name](content), name, MOST) == content
    assert packed.unpack(PACK[name](content) + PACK[name](b"more"), name, MOST) == content + b"more"
    assert packed.unpack(PACK[name](content), name, len(content)) == content


@pytest.mark.parametrize("name", PACK)
@pytest.mark.parametrize("size", [MOST + 1, 100 << 20])
def test_what_holds_too_much_is_unpacked_no_further_than_the_limit(name, size):
    body = PACK[name](bytes(size))
    tracemalloc.start()
    with pytest.raises(TooLarge, match=r"^body: expected at most 1 MiB once unpacked, got more$"):
        packed.unpack(body, name, MOST)
    assert tracemalloc.get_traced_memory()[1] < 4 * MOST
    tracemalloc.stop()


@pytest.mark.parametrize("name", PACK)
def test_what_is_cut_broken_or_followed_by_something_else_is_refused(name):
    body = PACK[name](CONTENT)
    for cut in (b"", body[:3], body[:-1]):
        with pytest.raises(BadRequest, match=f"expected complete {name}, as Content-Encoding says"):
            packed.unpack(cut, name, MOST)
    for broken in (b"[1, 2, 3]", body + b"rest", b"\xff" + body[1:]):
        with pytest.raises(BadRequest, match=f"expected {name}, as Content-Encoding says, but: "):
            packed.unpack(broken, name, MOST)


@pytest.mark.parametrize("name", PACK)
def test_parts_without_content_end(name):
    with pytest.raises(TooLarge, match="at most 10000 parts"):
        packed.unpack(PACK[name](b"") * 10_100, name, MOST)


def test_a_window_larger_than_http_allows_is_refused():
    body = zstd.compress(os.urandom(1 << 20) * 9, options={CompressionParameter.window_log: 27})
    with pytest.raises(BadRequest, match="too much memory"):
        packed.unpack(body, "zstd", 16 << 20)


@pytest.mark.parametrize(
    ("header", "name"), [("", ""), ("identity", ""), (" GZIP ", "gzip"), ("x-gzip", "gzip"), ("zstd", "zstd")]
)
def test_the_encodings_that_are_read(header, name):
    assert packed.encoding(header) == name


@pytest.mark.parametrize("header", ["br", "deflate", "gzip, gzip", "zstd;q=1"])
def test_another_encoding_is_refused_by_its_name(header):
    with pytest.raises(Unsupported, match=f"^Content-Encoding: expected gzip, zstd or none, got {header}$"):
        packed.encoding(header)
