"""Every command of docs/http.md works as typed, and answers what the page shows."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator

import pytest
from conftest import HERE, Live

from tsfm import card

PAGE = (HERE.parent / "docs/http.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(?P<kind>sh|json)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
# A family's small checkpoint; its weights are random, so the page shows no answer that depends on them.
CHECKPOINTS = {"fracast": "", "moment": "tiny", "chronos": "tiny2"}
DIFFERS = ("version", "path")  # from release to release, from CPU to CPU


def commands() -> list[tuple[str, str | None]]:
    """Each command with the answer that the page shows for it: below it, or behind it as a comment."""
    fences = [*FENCE.finditer(PAGE)]
    found: list[tuple[str, str | None]] = []
    for fence, after in zip(fences, [*fences[1:], None], strict=True):
        lines = re.findall(r"^(curl .*?)(?: +# (.*))?$", fence["text"].replace("\n ", " "), re.MULTILINE)
        shown = after["text"] if after and after["kind"] == "json" and fence["kind"] == "sh" else None
        found += [(command, shown or re.sub(r"\}, or .*", "}", comment) or None) for command, comment in lines]
    return found


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Live]]:
    """A service for each family that the page asks, by the family's own port."""
    started: dict[int, Live] = {}
    try:
        for family, size in CHECKPOINTS.items():
            folder = tmp_path_factory.mktemp(family)
            options = ["--threads", "1", "--dtype", "float32"]
            if size:
                importlib.import_module(f"checkpoints.{family}").make(folder / "weights", size)
                options += ["--model-folder", str(folder / "weights")]
            started[card.read(family).port] = Live(family, *options, log=folder / "log")
        for live in started.values():
            live.until_ready()
        yield started
    finally:
        assert [live.stop() for live in started.values()] == [0] * len(started)


def test_the_page_shows_commands_and_their_answers() -> None:
    assert len(commands()) >= 10
    assert sum(kind == "json" for kind, _ in FENCE.findall(PAGE)) <= sum(shown is not None for _, shown in commands())


@pytest.mark.parametrize(("command", "shown"), commands())
def test_a_command_answers_what_the_page_shows(command: str, shown: str | None, services: dict[int, Live]) -> None:
    (port,) = re.findall(r"localhost:(\d+)/", command)
    typed = command.replace(f"localhost:{port}/", f"{services[int(port)].url.removeprefix('http://')}/")
    environment = os.environ | {"no_proxy": "*"}
    body = subprocess.run(["bash", "-c", typed], env=environment, check=True, capture_output=True, timeout=60).stdout
    answer = json.loads(body)
    if shown is None:
        assert answer["status"] == "success"
    else:
        assert told(answer) == told(json.loads(shown), lambda number: pytest.approx(number, rel=1e-4))


def told(value: object, number: Callable[[float], object] = float) -> object:
    """The value without what differs from host to host."""
    if isinstance(value, dict):
        return {key: told(held, number) for key, held in value.items() if key not in DIFFERS}
    if isinstance(value, list):
        return [told(held, number) for held in value]
    return number(value) if isinstance(value, float) else value
