"""Start real services on a GPU, keep them busy over HTTP, and print series/s by number of clients as JSON.

Beside torch with CUDA it needs the packages of a service: flask, waitress, orjson, prometheus_client, backports.zstd
and safetensors. ``--checkpoints`` is a folder that ``tools/gpu_check.py --prepare`` has filled.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src"), str(ROOT / "tools")]

import gpu_check  # noqa: E402  (the line above adds the path)
from bench import common, load  # noqa: E402
from bench.server import requests  # noqa: E402

CLIENTS = (1, 32, 128)
READY_S = 300


def served(name: str, folder: Path, device: str, seconds: float) -> dict[str, object]:
    """Start a service of one family; its rate and latency with each number of clients, and how it ended."""
    family, _, size = gpu_check.CASES[name]
    port, place = common.free_port(), gpu_check.checkpoint(folder, family, size)
    command = [sys.executable, "-m", "tsfm", "serve", family, "--device", device, "--port", str(port)]
    command += ["--model-folder", str(place)] if place else []
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as made, ExitStack() as stack:
        ini = Path(made) / "tsfm.ini"
        ini.write_text(f"[DEFAULT]\nqueue = {2 * max(CLIENTS)}\n", encoding="utf-8")
        process = stack.enter_context(
            subprocess.Popen(command, env=common.environment(TSFM_INI=str(ini), PYTHONPATH=os.pathsep.join(sys.path)))
        )
        try:
            common.until_ready(process, port, READY_S)
            found: dict[str, object] = {"ready_s": round(time.monotonic() - began, 1)}
            generator = load.Generator()
            for clients in CLIENTS:
                generator.run(port, clients, seconds / 4, requests([common.CONTEXT] * 128))
                made = generator.run(port, clients, seconds, requests([common.CONTEXT] * 128), 0.05)
                found[f"series_per_s_c{clients}"] = round(made["rate_to_the_last"], 1)
                found[f"ms_p50_c{clients}"] = round(median(made["latencies_s"]) * 1000, 1)
                found[f"get_ms_max_c{clients}"] = round(max(made["probes_s"]) * 1000, 1)
            generator.close()
        finally:
            process.terminate()
            process.wait(30)
    return found | {"exit_status": process.returncode}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--families", nargs="+", choices=gpu_check.CASES, default=["chronos_bolt", "timemoe"])
    parser.add_argument("--checkpoints", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each number of clients")
    args = parser.parse_args()
    print(json.dumps({name: served(name, args.checkpoints, args.device, args.seconds) for name in args.families}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
