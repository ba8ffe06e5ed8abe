"""Write anomalies.npz, labelled series from packages that contain them. Run: python bench/data/make_anomalies.py

README.md in this folder lists where they and their labels come from, and the licences.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
PACKAGES = ("aeon==1.6.0", "streamad==0.3.1")  # and sktime of the lock

Found = Iterator[tuple[str, np.ndarray, np.ndarray]]  # name, values, labels


def main() -> None:
    arrays = {}
    with tempfile.TemporaryDirectory() as folder:
        uv = ["sh", str(HERE.parent.parent / "packaging" / "uv.sh"), "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*uv, "--target", folder, *PACKAGES], check=True)
        for read in (_aeon, _streamad, _sktime):
            for name, values, labels in read(Path(folder)):
                arrays[f"{name}/values"] = np.asarray(values, np.float32)
                arrays[f"{name}/labels"] = np.asarray(labels) != 0
    np.savez_compressed(HERE / "anomalies.npz", **arrays)
    print(f"{len(arrays) // 2} series, {sum(map(len, arrays.values())) // 2} points")


def _aeon(folder: Path) -> Found:
    data = folder / "aeon" / "datasets" / "data"
    bleeding = pd.read_csv(data / "KDD-TSAD_135" / "135_UCR_Anomaly_InternalBleeding16_TEST.csv").iloc[2000:6000]
    yield "bleeding", bleeding["value"], bleeding["is_anomaly"]
    for name, part, first in (("ecg_a", "TEST", 4500), ("ecg_b", "TRAIN_A", 2500)):
        beats = pd.read_csv(data / "UnitTest" / f"ecg-diff-count-3_{part}.csv").iloc[first : first + 4000]
        yield name, beats["value-0"], beats["is_anomaly"]


def _streamad(folder: Path) -> Found:
    motion = pd.read_csv(folder / "streamad" / "util" / "data" / "multiDS.csv").dropna()
    for axis in ("v1", "v2", "v3"):
        yield f"motion_{axis}", motion[axis], motion["label"]


def _sktime(_: Path) -> Found:
    import sktime

    data = Path(sktime.__file__).parent / "datasets" / "data"
    beats = pd.read_csv(data / "mitdb" / "mitdb.csv").iloc[3500:]
    yield "mitdb", beats["data"], beats["label"]
    killed = pd.read_csv(data / "seatbelts" / "seatbelts.csv")["KSI"]
    law = 169  # in force from February 1983 on; the first year of the new level is labelled
    yield "seatbelts_law", killed, _between(len(killed), law, law + 12)
    from statsmodels.datasets import nile

    flow = nile.load_pandas().data["volume"]
    yield "nile_dam", flow, _between(len(flow), 28, 34)  # from 1899 on


def _between(points: int, start: int, stop: int) -> np.ndarray:
    at = np.arange(points)
    return (start <= at) & (at < stop)


if __name__ == "__main__":
    main()
