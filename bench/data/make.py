"""Write series.npz, the wide set of real series, from packages that contain data. Run: python bench/data/make.py

The packages are large and nothing else needs them, so they are installed into a temporary folder and only the series
are kept. README.md in this folder lists their licences.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
PACKAGES = (
    "arch==8.0.0",
    "bokeh-sampledata==2026.1",
    "pmdarima==2.1.1",
    "vega-datasets==0.9.0",
)  # and those of the lock
LONGEST = 17_000

Found = Iterator[tuple[str, int, np.ndarray]]  # name, points in a season, values


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        uv = ["sh", str(HERE.parent.parent / "packaging" / "uv.sh"), "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*uv, "--target", folder, *PACKAGES], check=True)
        sys.path.append(folder)
        read = (_statsmodels, _sktime, _pmdarima, _arch, _bokeh, _vega)
        series = {f"{name}/{season}": _plain(values) for part in read for name, season, values in part(Path(folder))}
    np.savez_compressed(HERE / "series.npz", **dict(sorted(series.items())))
    print(f"{len(series)} series, {sum(map(len, series.values()))} points")


def _plain(values: np.ndarray) -> np.ndarray:
    """The newest LONGEST points, in the smallest type that holds them."""
    values = np.asarray(values, np.float64)[-LONGEST:]
    whole = values.astype(np.int32)
    return whole if (whole == values).all() else values.astype(np.float32)


def _statsmodels(_: Path) -> Found:
    from statsmodels import datasets as ours

    macro = ours.macrodata.load_pandas().data
    for name in (
        "realgdp",
        "realcons",
        "realinv",
        "realgovt",
        "realdpi",
        "cpi",
        "m1",
        "tbilrate",
        "unemp",
        "infl",
        "realint",
    ):
        yield name, 4, macro[name]
    yield "co2", 52, ours.co2.load_pandas().data["co2"].resample("W").mean().ffill()
    yield "sunspots", 11, ours.sunspots.load_pandas().data["SUNACTIVITY"]
    yield "elnino", 12, ours.elnino.load_pandas().data.drop(columns="YEAR").to_numpy().ravel()
    yield "nile", 1, ours.nile.load_pandas().data["volume"]
    yield (
        "electrical_equipment",
        12,
        pd.read_csv(Path(ours.__file__).parent / "elec_equip" / "elec_equip.csv").iloc[:, 1],
    )
    interest = ours.interest_inflation.load_pandas().data
    yield "german_inflation", 4, interest["Dp"]
    yield "german_interest", 4, interest["R"]


def _sktime(_: Path) -> Found:
    import sktime

    folder = Path(sktime.__file__).parent / "datasets" / "data"
    yield "lynx", 10, pd.read_csv(folder / "Lynx/Lynx.csv").iloc[:, 1]
    yield "airline", 12, pd.read_csv(folder / "Airline/Airline.csv").iloc[:, 1]
    yield "prescriptions", 12, pd.read_csv(folder / "PBS_dataset/PBS_dataset.csv")["Scripts"]
    yield "shampoo", 12, pd.read_csv(folder / "ShampooSales/ShampooSales.csv")["Sales"]
    yield "seatbelts", 12, pd.read_csv(folder / "seatbelts/seatbelts.csv")["KSI"]
    yield "solar", 48, pd.read_csv(folder / "solar/solar.csv")["solar_gen"].dropna()
    yield "heartbeats", 1, pd.read_csv(folder / "mitdb/mitdb.csv")["data"].iloc[:3000]
    changes = pd.read_csv(folder / "Uschange/Uschange.csv")
    for name in ("Consumption", "Income", "Production", "Savings", "Unemployment"):
        yield f"change_{name.lower()}", 4, changes[name]


def _pmdarima(_: Path) -> Found:
    from pmdarima import datasets as ours

    yield "beer", 4, ours.load_ausbeer()[:-1]
    yield "residents", 4, ours.load_austres()
    yield "heartrate", 1, ours.load_heartrate()
    yield "electricity_demand", 336, ours.load_taylor()
    yield "wine", 12, ours.load_wineind()
    yield "wool", 4, ours.load_woolyrnq()
    yield "sunspots_monthly", 132, ours.load_sunspots()


def _arch(folder: Path) -> Found:
    def read(file: str) -> pd.DataFrame:
        return pd.read_csv(folder / "arch" / "data" / file, na_values=".")

    yield "core_cpi", 12, read("core_cpi/core-cpi.csv.gz")["CPILFESL"]
    yield "brent", 12, read("crude/crude.csv.gz")["Brent"]
    bonds = read("default/default.csv.gz")
    yield "bonds_baa", 12, bonds["BAA"]
    yield "bonds_aaa", 12, bonds["AAA"]
    yield "bonds_spread", 12, bonds["BAA"] - bonds["AAA"]
    factors = read("frenchdata/frenchdata.csv.gz")
    yield "market_returns", 1, factors["Mkt-RF"]
    yield "small_minus_big", 1, factors["SMB"]
    yield "risk_free", 1, factors["RF"]
    yield "nasdaq", 1, read("nasdaq/nasdaq.csv.gz")["Close"]
    yield "stock_volume", 5, read("sp500/sp500.csv.gz")["Volume"] // 1_000_000
    yield "volatility", 1, read("vix/vix.csv.gz")["vix"].dropna()
    yield "oil_returns", 1, read("wti/wti.csv.gz")["DCOILWTICO"].dropna().diff().iloc[-2500:]


def _bokeh(folder: Path) -> Found:
    def read(file: str) -> pd.DataFrame:
        return pd.read_csv(folder / "bokeh_sampledata" / "_data" / file)

    jobless = read("unemployment1948.csv").iloc[:, 1:13].to_numpy(np.float64).ravel()
    yield "unemployment_monthly", 12, jobless[~np.isnan(jobless)]
    family = read("us_marriages_divorces.csv")
    yield "marriages", 1, family["Marriages_per_1000"].interpolate()
    yield "divorces", 1, family["Divorces_per_1000"].interpolate()
    yield "sea_temperature", 48, read("sea_surface_temperature.csv.gz").iloc[:, 1].round(2)
    glucose = read("CGM.csv.gz")["glucose"].dropna()
    yield "glucose", 288, glucose.iloc[:6000]
    yield "lincoln_high", 365, read("lincoln_weather.csv")["TMAX"].dropna()
    emissions = read("emissions.csv.gz")
    for country in ("China", "Germany", "Brazil", "India", "Japan", "France"):
        yield f"emissions_{country.lower()}", 1, emissions[emissions["country"] == country]["emissions"]
    commits = folder / "bokeh_sampledata" / "_data" / "commits.txt.gz"
    times = pd.to_datetime(pd.read_csv(commits, header=None, sep="\t")[0], utc=True, format="%a, %d %b %Y %H:%M:%S %z")
    yield "commits_daily", 7, times.value_counts().resample("D").sum().iloc[-1500:]


def _vega(folder: Path) -> Found:
    def read(file: str) -> pd.DataFrame:
        return pd.read_csv(folder / "vega_datasets" / "_data" / file)

    yield "seattle_hourly", 24, read("seattle-temps.csv")["temp"]
    weather = read("seattle-weather.csv")
    for name in ("precipitation", "temp_max", "temp_min", "wind"):
        yield f"seattle_{name}", 365, weather[name]
    work = read("us-employment.csv")
    sectors = ("construction", "manufacturing", "information", "government", "leisure_and_hospitality", "utilities")
    for name in ("nonfarm", "nonfarm_change", "retail_trade", "education_and_health_services", *sectors):
        yield f"employed_{name}", 12, work[name]
    wheat = pd.read_json(folder / "vega_datasets" / "_data" / "wheat.json")
    yield "wheat", 1, wheat["wheat"]
    yield "wages", 1, wheat["wages"].dropna()
    stocks = read("stocks.csv")
    for name in ("MSFT", "AMZN", "IBM", "AAPL"):
        yield f"stock_{name.lower()}", 1, stocks[stocks["symbol"] == name]["price"]


if __name__ == "__main__":
    main()
