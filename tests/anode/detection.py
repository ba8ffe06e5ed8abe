"""TDgpt's way from the database's request for ANOMALY_WINDOW to a detector and back, in each generation."""

from __future__ import annotations

import copy
from pathlib import Path


def folders(config: Path, library: Path) -> list[str]:
    """Where detectors are, as packages; only the newest generation has the second."""
    custom = library / "taosanalytics/algo/custom/ad"
    return ["ad", *(["custom.ad"] if is_newest(library) and custom.is_dir() else [])]


def is_newest(library: Path) -> bool:
    return (library / "taosanalytics/base.py").exists()


def described(detectors: dict, library: Path) -> dict:
    """What /list tells of them."""
    algorithms = []
    for name, one in detectors.items():
        entry = {"name": name, "desc": one.get_desc(), "params": one.get_params()}
        if is_newest(library):
            entry |= {"status": one.get_status(), "builtins": one.is_builtins}
        algorithms.append(entry)
    return {"type": "anomaly-detection", "algo": algorithms}


def detect(detectors: dict, config: Path, library: Path, asked: dict, said: dict[str, str]) -> dict:
    """The answer; an error has no windows and, in the newest generation alone, a negative number of them."""
    columns = dict(zip([name for name, *_ in asked["schema"]], asked["data"], strict=True))
    times = columns.pop("ts")
    algo = said.get("algo", "ksigma").lower()
    newest, old = is_newest(library), config.suffix == ".ini"
    try:
        # The first generations take another detector for one that they do not know.
        detector = copy.copy(detectors.get(algo) or (detectors["ksigma"] if old else None))
        if detector is None:
            raise ValueError(f"failed to load model: {algo}")
        detector.set_input_list(list(columns.values()) if newest else columns["val"], times)
        detector.set_params(said)
        marks = detector.execute()
        found = windows(marks, times, detector.valid_code)
    except Exception as error:  # noqa: BLE001 - as TDgpt does: whatever a detector raises is the user's error
        return {"res": {}, "rows": -1 if newest else 0, "msg": str(error)}
    answer = {"algo": algo, "option": asked["option"], "res": [window for window, _ in found], "rows": len(found)}
    return answer if old else answer | {"mask": [mark for _, mark in found]}


def windows(marks: list[int], times: list[int], valid: int) -> list[tuple[list[int], int]]:
    """Runs of one mark other than ``valid``, from their first to their last time. No windows for another length."""
    found: list[tuple[list[int], int]] = []
    if len(marks) != len(times):
        return found
    before = valid
    for mark, time in zip(marks, times, strict=True):
        if mark != valid and mark == before:
            found[-1][0][1] = time
        elif mark != valid:
            found.append(([time, time], mark))
        before = mark
    return found
