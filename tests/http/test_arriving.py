"""Memory for a body while it arrives."""

from __future__ import annotations

import errno
from io import BytesIO
from mmap import mmap

import pytest

from tsfm.http import arriving
from tsfm.http.arriving import Arriving
from tsfm.http.reading import LARGE


def body(size: int) -> bytes:
    return bytes(range(251)) * (size // 251) + b"x" * (size % 251)


def content(stream: BytesIO | mmap) -> bytes | memoryview:
    """As the app takes it, without a copy."""
    return stream.getvalue() if isinstance(stream, BytesIO) else memoryview(stream)


def received(size: int, declared: int, piece: int = 70_000) -> Arriving:
    made = Arriving(declared)
    whole = body(size)
    for at in range(0, size, piece):
        made.append(whole[at : at + piece])
    return made


@pytest.mark.parametrize("size", [0, 1, LARGE - 1, LARGE])
@pytest.mark.parametrize("is_declared", [True, False])
def test_a_small_body_is_bytes(size, is_declared):
    made = received(size, size if is_declared else 0)
    assert len(made) == size
    assert isinstance(made.getfile(), BytesIO)
    assert content(made.getfile()) == body(size)


@pytest.mark.parametrize("size", [LARGE + 1, 3 * LARGE + 17])
def test_a_large_one_lies_in_memory_of_its_declared_size(size):
    made = received(size, size)
    stream = made.getfile()
    assert isinstance(stream, mmap)
    assert len(stream) == len(made) == size
    held = content(stream)
    assert isinstance(held, memoryview)
    assert bytes(held) == body(size)
    assert stream.read() == body(size)  # as any reader of wsgi.input does


def test_the_memory_is_taken_when_a_part_has_come():
    made = Arriving(32 << 20)
    made.append(body(LARGE))
    assert isinstance(made.getfile(), BytesIO)


def test_one_whose_size_is_not_declared_grows():
    made = received(2 * LARGE, 0)
    assert isinstance(made.getfile(), BytesIO)
    assert content(made.getfile()) == body(2 * LARGE)


def test_where_there_is_no_memory_to_map_it_grows(monkeypatch):
    tries = []

    def refuse(*asked: object) -> mmap:
        tries.append(asked)
        raise OSError(errno.ENOMEM, "no memory")

    monkeypatch.setattr(arriving, "mmap", refuse)
    made = received(2 * LARGE, 2 * LARGE)
    monkeypatch.undo()
    assert content(made.getfile()) == body(2 * LARGE)
    assert len(tries) == 1, "each further try copies all that has come"


def test_what_was_read_stays_when_the_body_is_dropped():
    made = received(LARGE + 1, LARGE + 1)
    held = content(made.getfile())
    made.close()
    assert len(made) == 0
    assert bytes(held) == body(LARGE + 1)
