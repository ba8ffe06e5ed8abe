"""A small anode: python anode.py CONFIGURATION LIBRARY PORT

LIBRARY is TDgpt's folder ``lib``; every file in its ``taosanalytics/algo/fc`` and ``ad`` is imported, with no mercy,
as older generations do. With ``certfile`` in its configuration it speaks TLS. The database asks /status and /list;
SQL's FORECAST, IMPUTATION and ANOMALY_WINDOW become POSTs.
"""

from __future__ import annotations

import importlib
import inspect
import json
import ssl
import sys
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import client
import configuration
import detection


def load(library: Path, *packages: str) -> dict:
    """The algorithms in folders of ``algo`` by name, found as TDgpt finds them."""
    found = {}
    for package in packages:
        for path in sorted((library / "taosanalytics/algo" / package.replace(".", "/")).glob("*.py")):
            module = importlib.import_module(f"taosanalytics.algo.{package}.{path.stem}")
            for name, kind in inspect.getmembers(module, inspect.isclass):
                if name.startswith("_"):
                    found[kind.name] = kind()
    return found


def status(url: str) -> str:
    """Any HTTP answer is a service; the database waits 100 ms for the whole list."""
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError as error:
        error.close()
    except OSError:
        return "unavailable"
    return "ready"


def options(said: str) -> dict[str, str]:
    """'algo=chronos,rows=3' of SQL's second argument."""
    return dict(part.strip().split("=", 1) for part in said.split(","))


class Handler(BaseHTTPRequestHandler):
    algorithms: dict
    detectors: dict
    config: Path
    library: Path

    def do_GET(self):
        if self.path == "/status":
            self.answer({"protocol": 1.0, "status": "ready"})
        elif self.path == "/list":
            forecasts = [
                {"name": name, "desc": one.desc, "builtins": one.is_builtins, "status": status(one.service_host)}
                for name, one in self.algorithms.items()
            ]
            imputations = [{"name": "moment"}] if configuration.service(self.config, "moment") else []
            kinds = {"forecast": forecasts, "imputation": imputations}
            details = [{"type": kind, "algo": found} for kind, found in kinds.items()]
            self.answer({"details": [*details, detection.described(self.detectors, self.library)]})
        else:
            self.send_error(404)

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/anomaly-detect":
            said = options(asked["option"])
            self.answer(detection.detect(self.detectors, self.config, self.library, asked, said))
            return
        run = {"/forecast": self.forecast, "/imputation": self.imputation}[self.path]
        try:
            result = run(asked, options(asked["option"]))
            self.answer({"option": asked["option"], "rows": len(result[0]), "res": result})
        except (client.SqlError, LookupError, ValueError) as error:
            self.answer({"msg": str(error), "rows": -1})

    def forecast(self, asked: dict, said: dict[str, str]) -> list:
        columns = dict(zip([name for name, *_ in asked["schema"]], asked["data"], strict=True))
        values, ts = columns["val"], columns["ts"]
        rows = int(said.get("rows", 10))
        # Generations before the second sent no timestamps to the services.
        given = {"ts": ts} if self.config.suffix == ".py" else {}
        confidence = float(said.get("conf", 0.95))
        for name, field in (("past_dynamic_real", "past"), ("dynamic_real", "known")):
            given |= {field: found} if (found := [columns[one] for one in columns if one.startswith(name)]) else {}
        bands = self.algorithms[said["algo"]].execute(values=values, rows=rows, confidence=confidence, **given)
        step = ts[1] - ts[0]
        return [[ts[-1] + step * (i + 1) for i in range(rows)], *bands]

    def imputation(self, asked: dict, said: dict[str, str]) -> list:
        values, ts = asked["data"]
        url = configuration.service(self.config, said["algo"])
        return list(client.imputation(url, values, ts, asked["prec"], said.get("freq", "1L")))

    def answer(self, body: dict) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


def main() -> None:
    config, library, port = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    sys.path.insert(0, str(library))
    importlib.import_module("taosanalytics.conf").PATH = config
    Handler.config, Handler.library = config, library
    Handler.algorithms, Handler.detectors = load(library, "fc"), load(library, *detection.folders(config, library))
    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        if files := configuration.certificate(config):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*files)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
