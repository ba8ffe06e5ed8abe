"""How series that wait are best cut into batches."""

from __future__ import annotations

from collections.abc import Sequence

# What a call of a model costs beyond its points, counted in points: padding that costs more than a call of
# its own is not worth it. For small models on two cores; for large ones a call is dearer still.
CALL_POINTS = 1024


def split(lengths: Sequence[int], batch_points: int) -> list[tuple[int, int]]:
    """The cheapest way to cut ascending lengths into batches, each padded to its longest.

    A batch costs its longest context times its size, and a call; what costs more than ``batch_points``
    is cut, unless it is a single series.

    Returns:
        half-open spans of indexes, in order; among equally cheap ways the first ones are the fullest.
    """
    count = len(lengths)
    cheapest: list[tuple[float, int]] = [(0.0, count)] * (count + 1)  # from each index on: cost, end of its batch
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
