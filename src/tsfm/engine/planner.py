"""The planner: splits the queue into the cheapest batches."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from tsfm.engine.work import WorkItem

# The cost of one call of a model beyond its points, counted in points: padding that costs more than another call is
# not worth it. Measured with small models on two cores; a call of a large model costs more.
CALL_POINTS = 1024


def split(lengths: Sequence[int], batch_points: int) -> list[tuple[int, int]]:
    """The cheapest way to split ascending lengths into batches, each padded to its longest series.

    A batch costs its longest context times its number of series, plus one call. A batch of more than
    ``batch_points`` is split, unless it is a single series.

    Returns:
        half-open spans of indexes, in order; among equally cheap splits the one whose first batches are largest.
    """
    count = len(lengths)
    cheapest: list[tuple[float, int]] = [(0.0, count)] * (count + 1)  # from each index on: cost, end of its first batch
    for low in reversed(range(count)):
        ways = []
        for high in range(low + 1, count + 1):
            points = lengths[high - 1] * (high - low)
            if points > batch_points and high > low + 1:
                break
            ways.append((CALL_POINTS + points + cheapest[high][0], -high))
        cost, end = min(ways)
        cheapest[low] = cost, -end
    spans, low = [], 0
    while low < count:
        spans.append((low, cheapest[low][1]))
        low = cheapest[low][1]
    return spans


def chunks(items: Sequence[WorkItem], most_points: int) -> list[list[WorkItem]]:
    """Cut the items of one request into batches, in each of which all may share a call and are of similar length.

    The padding of a batch costs at most as much as another call.

    Args:
        most_points: of a batch, as in ``split``.
    """
    groups: dict[Hashable, list[WorkItem]] = {}
    for item in items:
        groups.setdefault(item.group, []).append(item)
    cut: list[list[WorkItem]] = []
    for group in groups.values():
        group.sort(key=lambda item: -len(item.series))
        chunk, padding = list[WorkItem](), 0
        for item in group:
            longest = len((chunk or [item])[0].series)
            padding += longest - len(item.series)
            full = len(chunk) >= most_points // max(1, longest)
            if chunk and (full or padding > CALL_POINTS):
                cut.append(chunk)
                chunk, padding = [], 0
            chunk.append(item)
        cut.append(chunk)
    return cut
