"""A plain server as in the examples of model repositories: Flask's own server, one forward pass for each request.

``python -m bench.plain FOLDER PORT`` serves a Chronos-Bolt checkpoint. It is the baseline for our server.
"""

from __future__ import annotations

import logging
import sys

import torch
from chronos import BaseChronosPipeline
from flask import Flask, jsonify, request

from bench import common


def main(folder: str, port: str) -> None:
    torch.set_num_threads(common.THREADS)
    pipeline = BaseChronosPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    app = Flask("plain")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)

    @app.post("/ds_predict")
    def predict():
        body = request.get_json()
        series = torch.tensor(body["input"])
        low, middle, high = pipeline.predict_quantiles(
            series, prediction_length=body["next_len"], quantile_levels=[0.1, 0.5, 0.9]
        )[0][0].T.tolist()
        return jsonify(status="success", output=middle, lower=low, upper=high, conf_interval=0.8)

    @app.get("/readyz")
    def ready():
        return "ready"

    app.run("127.0.0.1", int(port))


if __name__ == "__main__":
    main(*sys.argv[1:])
