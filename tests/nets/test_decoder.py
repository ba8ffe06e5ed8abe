"""Packed series: which share a cache, where their tokens are, and that attention sees the same in both ways."""

from __future__ import annotations

import pytest
import torch

from tsfm.nets.decoder import Cache, alike, attend, last, positions, spans

HEADS, WIDTH = 2, 4


def test_on_a_cpu_each_series_is_alone_and_on_a_gpu_with_those_of_its_length():
    assert alike([5, 3, 5, 5], "cpu", 100) == [[0], [1], [2], [3]]
    assert alike([5, 3, 5, 5], "cuda", 100) == [[0, 2, 3], [1]]
    assert alike([5, 3, 5, 5], "cuda:1", 10) == [[0, 2], [3], [1]]
    assert alike([5, 5], "cuda", 1) == [[0], [1]]


def caches(*series: int) -> list[Cache]:
    return [Cache(1, count, HEADS, 16, WIDTH, torch.empty(0)) for count in series]


def test_tokens_of_a_cache_follow_one_another():
    packed = spans([3, 2], caches(2, 1))
    assert [(one.start, one.stop, one.new) for one in packed] == [(0, 6, 3), (6, 8, 2)]
    assert last(packed) == [2, 5, 7]
    packed[0].cache.length = 4
    assert positions(packed).tolist() == [4, 5, 6, 4, 5, 6, 0, 1]
    assert packed[0].by_series(torch.arange(8)).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("only_last", [True, False])
def test_series_in_one_cache_see_what_they_see_alone(only_last):
    together, alone = caches(2, 1), caches(1, 1, 1)
    for new, more in ((5, 3), (2, 4)):  # the second time after what the caches hold
        query, key, value = torch.randn(3, 2 * new + more, HEADS, WIDTH, generator=torch.Generator().manual_seed(new))
        one, each = spans([new, more], together), spans([new, new, more], alone)
        asked = query[last(one)] if only_last else query
        torch.testing.assert_close(attend(asked, key, value, 0, one), attend(asked, key, value, 0, each))
        for span in (*one, *each):
            span.cache.length += span.new
