"""The two ways to compute a mixture of experts: each token's own experts, and all of them with weights."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tsfm.nets import mixture
from tsfm.nets.mixture import Dense, gathered, spread

EXPERTS, INNER, WIDTH, CHOSEN = 5, 12, 8, 2


@pytest.fixture
def weights():
    made = torch.Generator().manual_seed(1)
    into = torch.randn(EXPERTS, 2 * INNER, WIDTH, generator=made)
    return into, torch.randn(EXPERTS, WIDTH, INNER, generator=made)


def tokens(count):
    made = torch.Generator().manual_seed(2)
    x = torch.randn(count, WIDTH, generator=made)
    chances, chosen = torch.rand(count, EXPERTS, generator=made).topk(CHOSEN)
    return x, chosen, chances


def one_by_one(x, chosen, chances, into, down):
    """As the mixture is defined."""
    rows = []
    for token, experts, shares in zip(x, chosen, chances, strict=True):
        mixed = torch.zeros(WIDTH)
        for expert, share in zip(experts.tolist(), shares, strict=True):
            gate, up = (into[expert] @ token).chunk(2)
            mixed += share * (down[expert] @ (F.silu(gate) * up))
        rows.append(mixed)
    return torch.stack(rows)


@pytest.mark.parametrize("count", [1, 7])
def test_both_ways_compute_the_mixture(weights, count):
    x, chosen, chances = tokens(count)
    into, down = weights
    expected = one_by_one(x, chosen, chances, into, down)
    torch.testing.assert_close(gathered(x, chosen, chances, into, down), expected)
    dense = Dense(list(zip(into, down, strict=True)))
    torch.testing.assert_close(dense(x, spread(chosen, chances, EXPERTS)), expected)


def test_many_tokens_are_computed_in_portions(weights, monkeypatch):
    x, chosen, chances = tokens(7)
    dense = Dense(list(zip(*weights, strict=True)))
    at_once = dense(x, spread(chosen, chances, EXPERTS))
    monkeypatch.setattr(mixture, "ROWS", 3)
    torch.testing.assert_close(dense(x, spread(chosen, chances, EXPERTS)), at_once)


def test_only_the_chosen_experts_have_a_weight():
    made = spread(torch.tensor([[2, 0], [1, 3]]), torch.tensor([[0.7, 0.3], [0.6, 0.4]]), 4)
    assert made.tolist() == torch.tensor([[0.3, 0, 0.7, 0], [0, 0.6, 0, 0.4]]).tolist()
