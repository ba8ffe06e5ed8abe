"""How cost grows, for the documents: figures in docs/growth.json, and the texts that packaging/docs.py makes of them.

`make bench ONLY="scale length"` measures; then

    python packaging/growth.py          # takes what it found into docs/growth.json and docs/images/length.svg
    python packaging/growth.py --busy   # the same; the machine had other work, and the documents say so
    python packaging/docs.py
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.length import table  # noqa: E402  (the line above adds its path)

SITE = 1_000_000  # series per hour
USED = 0.6  # the share of the CPUs' time that a plan uses: above it, requests that come at the same moment wait
BUSY = (
    "The machine had other work; these figures wait for a quiet one.",
    "测量时机器上有其他负载，尚待在空闲的机器上重新测量。",
)
ENGLISH = """\
{site:,} series per hour are {rate:.0f} each second. With chronos (bolt-tiny), 512 points in and 48 steps out, a series
takes {many:.1f} ms of CPU time in requests of 1,000 series, and {single:.1f} ms in requests of one from 64 clients.
So that little waits, plan CPUs that are busy {used:.0%} of the time: {many_cpus:.1f} and {single_cpus:.1f} CPUs
(`make bench ONLY=scale`). From 10 to 10,000 series a series costs at most {growth:.2f} times as much at any step.
The service takes {mib:.0f} MiB, and each of eight services on one host {service_mib:.0f} MiB. The bodies are
{mb_per_s:.1f} MB/s of JSON; Arrow takes less, and is read ten times as fast. {busy}

CPUs for the same site with single requests from 8 clients, by the table above: {cpus}.
They may be those of many hosts: services share nothing, and each uses all CPUs of its host."""
CHINESE = (
    "每小时 {site:,} 条序列，即每秒 {rate:.0f} 条。使用 chronos（bolt-tiny），输入 512 个点、预测 48 步："
    "每个请求 1,000 条序列时，每条占用 {many:.1f} 毫秒 CPU 时间；"
    "64 个客户端每次请求一条时，每条 {single:.1f} 毫秒。"
    "为了缩短等待，请按 CPU 利用率 {used:.0%} 规划：分别需要 {many_cpus:.1f} 个和 {single_cpus:.1f} 个 CPU"
    "（`make bench ONLY=scale`）。从 10 条到 10,000 条，每一步单条成本最多为前一步的 {growth:.2f} 倍。"
    "服务占用 {mib:.0f} MiB；一台主机上运行八个服务时，每个占用 {service_mib:.0f} MiB。"
    "请求体为每秒 {mb_per_s:.1f} MB 的 JSON；Arrow 更小，读取速度约为十倍。{busy}\n\n"
    "8 个客户端逐条请求时，按上表计算，同样规模所需的 CPU 数：{cpus}。"
    "这些 CPU 可以分布在多台主机上：服务之间不共享任何东西，每个服务都会用到本机的全部 CPU。"
)


def site(plan: str = ENGLISH, busy: str = BUSY[0]) -> str:
    """The plan of a site of 1,000,000 series per hour."""
    found = _read("growth.json")
    scale, rate = found["scale"], SITE / 3600
    many, single = scale["scale_series_10000_cpu_ms"], scale["scale_clients_64_cpu_ms"]
    rates = {name: one["series_per_s"] for name, one in _read("measured.json")["families"].items()}
    text = plan.format(
        site=SITE,
        rate=rate,
        used=USED,
        many=many,
        single=single,
        many_cpus=rate * many / 1000 / USED,
        single_cpus=rate * single / 1000 / USED,
        growth=scale["scale_growth_series"],
        mib=scale["scale_series_10000_mib"],
        service_mib=scale["scale_services_8_mib_each"],
        mb_per_s=rate * scale["scale_request_kb_each"] / 1000,
        busy=busy if found["busy"] else "",
        cpus=", ".join(f"{name} {math.ceil(2 * rate / each / USED)}" for name, each in rates.items()),  # on 2 CPUs
    )
    return "\n".join(line.rstrip() for line in text.split("\n"))


def site_in_chinese() -> str:
    return site(CHINESE, BUSY[1])


def length() -> str:
    """What one series costs by its length and by the horizon."""
    found = _read("growth.json")
    note = "CPU seconds of one series, as served; in brackets those of the maker's package, in float32."
    return "\n".join([table(found["length"]), f"{note} {BUSY[0] if found['busy'] else ''}".rstrip()])


def take(busy: bool) -> None:
    """Take over what both parts of the benchmark have written.

    Raises:
        FileNotFoundError: a part has not run.
    """
    found = json.loads((ROOT / "build/bench.json").read_text(encoding="utf-8"))
    scale = {key: value for key, value in found.items() if key.startswith("scale_")}
    lengths = json.loads((ROOT / "build/length.json").read_text(encoding="utf-8"), parse_float=_rounded)
    content = json.dumps({"busy": busy, "scale": scale, "length": lengths}, indent=1)
    (ROOT / "docs/growth.json").write_text(content + "\n", encoding="utf-8")
    shutil.copyfile(ROOT / "build/length.svg", ROOT / "docs/images/length.svg")


def _rounded(number: str) -> float:
    return float(f"{float(number):.3g}")


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "docs" / name).read_text(encoding="utf-8"))
    return found


if __name__ == "__main__":
    take("--busy" in sys.argv[1:])
