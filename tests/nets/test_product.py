"""Products by a fixed weight: the same numbers with torch's private operators and without them."""

import json
import subprocess

import forked
import pytest
import torch
import torch.nn.functional as F
from checkpoints import tdtsfm, timemoe

from tsfm.nets import product

pytestmark = pytest.mark.slow

# How a later torch may treat the private operators; run before anything of ours is imported.
WITHOUT = {
    "gone": "def lookup(self, name): raise AttributeError(name)",
    "refuse": "def refuse(*given): raise RuntimeError('unsupported')\ndef lookup(self, name): return refuse",
    "changed": "def lookup(self, name): return lambda: None",
    "wrong": "kept = type(torch.ops.mkldnn).__getattr__\n"
    "def lookup(self, name):\n"
    "    act = kept(self, name)\n"
    "    return act if 'reorder' in name else lambda *given: act(*given) * 1.5",
}
# The operators are looked up on their namespace; torch keeps on it what was looked up before.
TAKE_AWAY = """
import torch
{}
spaces = type(torch.ops.mkldnn)
def only_mkldnn(self, name, lookup=lookup, other=spaces.__getattr__):
    return (lookup if self.name == 'mkldnn' and not name.startswith('__') else other)(self, name)
for name in ('_reorder_linear_weight', '_linear_pointwise'):
    torch.ops.mkldnn.__dict__.pop(name, None)
spaces.__getattr__ = only_mkldnn
"""
MULTIPLY = """
import json, sys
from tsfm.nets.product import product
generator = torch.Generator().manual_seed(1)
weight, bias, x = (torch.randn(*shape, generator=generator) / 8 for shape in ((96, 64), (96,), (50, 64)))
print(json.dumps(product(weight, bias)(x).tolist()))
"""


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("biased", [False, True])
def test_a_product_is_that_of_linear(dtype, biased):
    generator = torch.Generator().manual_seed(0)
    weight, bias, x = (torch.randn(*shape, generator=generator) / 8 for shape in ((96, 64), (96,), (50, 64)))
    weight, bias, x = weight.to(dtype), bias.to(dtype) if biased else None, x.to(dtype)
    found, expected = product.product(weight, bias)(x), F.linear(x, weight, bias)
    assert found.dtype == dtype
    tolerance = 1e-6 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_here_the_private_operators_are_used(dtype):
    assert product._private_works(dtype)


@pytest.fixture(scope="module")
def usual() -> subprocess.CompletedProcess[str]:
    return forked.run("import torch" + MULTIPLY)


@pytest.mark.parametrize("how", WITHOUT)
def test_without_the_private_operators_the_numbers_are_the_same_and_a_warning_says_so(how, usual):
    other = forked.run(TAKE_AWAY.format(WITHOUT[how]) + MULTIPLY)
    assert other.returncode == 0, other.stderr
    assert "F.linear" in other.stderr
    assert not usual.stderr
    expected, found = torch.tensor(json.loads(usual.stdout)), torch.tensor(json.loads(other.stdout))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.long
@pytest.mark.parametrize(("family", "maker"), [("timemoe", timemoe), ("tdtsfm", tdtsfm)])
def test_a_family_starts_and_answers_without_them(family, maker, tmp_path):
    maker.make(tmp_path)
    code = """
import sys
from pathlib import Path
import numpy as np
from tsfm import families
from tsfm.series import Runtime, Series
model = families.load(sys.argv[1], Path(sys.argv[2]), Runtime("cpu", "float32", 1))
(made,) = model.forecast([Series(np.sin(np.arange(600) / 4))], 24, (0.1, 0.9))
print(json.dumps(made.median.tolist()))
"""
    begin = "import json\n"
    usual = forked.run(begin + "import torch" + code, family, str(tmp_path))
    other = forked.run(begin + TAKE_AWAY.format(WITHOUT["gone"]) + code, family, str(tmp_path))
    assert usual.returncode == other.returncode == 0, usual.stderr + other.stderr
    assert "F.linear" in other.stderr
    expected, found = torch.tensor(json.loads(usual.stdout)), torch.tensor(json.loads(other.stdout))
    assert len(found) == 24
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
