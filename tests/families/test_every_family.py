"""Guards every present and future family, so that none can be half added. Needs neither torch nor weights."""

import ast
import re

import pytest
from conftest import HERE

from tsfm import card
from tsfm.engine import tasks
from tsfm.series import Capabilities

ROOT = HERE.parent
PACKAGED = card.names(packaged_only=True)
# The first four are the ports that TDgpt's documents give these models; below 6076 everything else is TDgpt's own.
FIXED_PORTS = {
    "tdtsfm": 6036,
    "timemoe": 6037,
    "chronos": 6038,
    "moirai": 6039,
    "fracast": 6076,
    "timesfm": 6077,
    "moment": 6078,
}


def tree(name):
    return ast.parse((card.FOLDER / f"{name}.py").read_text())


@pytest.mark.parametrize("name", card.names())
def test_a_family_has_a_docstring_a_card_and_a_loader(name):
    module = tree(name)
    assert ast.get_docstring(module)
    (load,) = [node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == "load"]
    assert [argument.arg for argument in load.args.args] == ["folder", "runtime"]


@pytest.mark.parametrize("name", card.names())
def test_a_family_has_the_whole_interface_of_its_task(name):
    method = {"forecast": ["self", "batch", "horizon", "levels"], "imputation": ["self", "batch"]}
    task = card.read(name).task
    wanted = {"forecast": "forecast", "imputation": "impute"}[task]
    found = [
        [argument.arg for argument in node.args.args]
        for source in [card.FOLDER / f"{name}.py", *(card.FOLDER.parent / "nets").glob("*.py")]
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name == wanted
    ]
    assert method[task] in found


@pytest.mark.parametrize("name", card.names())
def test_a_card_is_complete_and_sound(name):
    facts = card.read(name)
    assert facts.task in tasks.names()
    assert facts.keys
    assert all(path.startswith("/") for path in facts.paths)
    assert facts.summary
    assert facts.paper
    assert facts.licence
    assert facts.commercial in ("yes", "limited", "no")
    assert 2017 <= facts.year <= 2100
    assert facts.memory_mib > 0
    assert all("==" in pin for pin in facts.requirements)
    known = set(Capabilities.__dataclass_fields__)
    for checkpoint in facts.checkpoints:
        assert checkpoint.parameters > 1000
        # From one byte to a little over four for each parameter.
        assert 0.9 < checkpoint.bytes / checkpoint.parameters < 4.5
        assert checkpoint.files
        assert set(checkpoint.capabilities) <= known
    folders = [checkpoint.folder for checkpoint in facts.checkpoints]
    assert len(set(folders)) == len(folders)


def test_ports_and_keys_are_each_familys_own():
    cards = [card.read(name) for name in card.names()]
    ports = [c.port for c in cards]
    keys = [key.lower() for c in cards for key in c.keys]
    assert len(set(ports)) == len(ports)
    assert len(set(keys)) == len(keys)
    for c in cards:
        if c.name in FIXED_PORTS:
            assert c.port == FIXED_PORTS[c.name]
        else:
            assert c.port >= 6079, f"{c.name}: {c.port} is kept for TDgpt or another family"


@pytest.mark.parametrize("name", PACKAGED)
def test_a_familys_environment_is_locked_by_hash(name):
    lock = (ROOT / f"packaging/locks/{name}.txt").read_text()
    both = lock + (ROOT / "packaging/locks/runtime.txt").read_text()  # its environment is layered on the runtime
    for pin in card.read(name).requirements:
        assert re.search(rf"^{re.escape(pin)}\s", both, re.MULTILINE | re.IGNORECASE), f"{pin} is not in the lock"
    for dropped in card.read(name).dropped:
        assert not re.search(rf"^{re.escape(dropped)}==", lock, re.MULTILINE), f"{dropped} was to be dropped"
    pins = re.findall(r"^[a-z0-9][\w.-]*==.*", lock, re.MULTILINE | re.IGNORECASE)
    assert lock.count("--hash=sha256:") >= len(pins)


@pytest.mark.parametrize("name", PACKAGED)
def test_a_family_has_its_own_tests_and_a_maker_of_small_checkpoints(name):
    assert (HERE / f"families/test_{name}.py").exists()
    if card.read(name).checkpoints:
        maker = ast.parse((HERE / f"checkpoints/{name}.py").read_text())
        assert "make" in [node.name for node in maker.body if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize("name", PACKAGED)
def test_no_family_runs_code_that_comes_with_the_weights(name):
    source = (card.FOLDER / f"{name}.py").read_text()
    code = "\n".join(line.partition("#")[0] for line in source.splitlines())
    assert "trust_remote_code=True" not in code
    assert not re.search(r"\bpickle\b|weights_only=False|\beval\(|\bexec\(", code)
    for call in re.findall(r"torch\.load\([^)]*\)", code):
        assert "weights_only=True" in call
