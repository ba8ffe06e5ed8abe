"""The sources of our adapters, by TDgpt's folder of algorithms of the kind.

They run inside TDgpt, under Python 3.7 and newer, and import nothing beyond TDgpt and the standard library.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Template:
    """An adapter for any family.

    Attributes:
        base: the class of TDgpt's that it derives from.
        source: with places for mark, title, base, module (that defines the base), key, summary and url.
    """

    base: str
    source: str


# The base class sends the request and reads the answer; the address in TDgpt's configuration has priority.
_FORECAST = '''\
{mark}
"""{title} as an algorithm of TDgpt, served by taos-tsfm."""

from {module} import {base}


class _{title}Service({base}):
    name = {key!r}
    desc = {summary!a}
    _builtins = False
    is_builtins = False

    def __init__(self):
        super().__init__()
        if not self.service_host:
            self.service_host = {url!r}
'''

# The base class of this kind knows no service, so the adapter asks it. Its status is whether the port accepts a
# connection: the database waits 100 ms for the states of all algorithms together.
_ANOMALY = '''\
{mark}
"""{title} as a detector of anomalies in TDgpt, served by taos-tsfm."""

import http.client
import json
import socket
from urllib.parse import urlsplit

from {module} import {base}

URL = {url!r}
LONGEST_S = 1200  # the longest time that SQL may give a query
MOST_ROWS = 40000  # of one query of TDgpt's


class _{title}AnomalyService({base}):
    name = {key!r}
    desc = "Anomaly detection: " + {summary!a}
    _builtins = False
    is_builtins = False

    def __init__(self):
        super().__init__()
        self.parameters = {{}}

    def set_input_list(self, input_list, input_ts_list=None):
        """One column, or a list of columns, as newer generations hand over."""
        self.list, self.ts_list = input_list, input_ts_list

    def set_params(self, params):
        super().set_params(params)
        # What is no number is sent as it is: the service says what it expects.
        self.parameters = {{name: _value(params[name]) for name in ("level", "window") if name in params}}

    def get_params(self):
        return {{"level": 0.99, "window": "all points"}}

    def get_status(self):
        parts = urlsplit(URL)
        try:
            socket.create_connection((parts.hostname, parts.port), 1).close()
        except OSError:
            return self._toStatusName[self.UNAVAILABLE]
        return super().get_status()

    def execute(self):
        """-1 for each anomaly, and 1 for ordinary, missing and not judged points."""
        if self.input_is_empty():
            return []
        columns = self.list if isinstance(self.list[0], list) else [self.list]
        positions = _positions(self.ts_list or range(len(columns[0])))
        target = [_spread(column, positions) for column in columns]
        body = {{"inputs": [{{"target": target}}], "parameters": self.parameters}}
        flags = _post(body)["anomaly"]
        return [-1 if any(column[position] for column in flags) else 1 for position in positions]


def _value(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


def _positions(times):
    """Where each row is on a grid of the shortest step, so that a missing row is a missing point; one after another
    where the times are on no such grid, or most of it would be empty."""
    steps = [after - before for before, after in zip(times, times[1:])]
    step = min(steps) if steps else 0
    if step > 0 and not any(one % step for one in steps):
        positions = [(time - times[0]) // step for time in times]
        if positions[-1] < min(2 * len(times), MOST_ROWS):
            return positions
    return list(range(len(times)))


def _spread(column, positions):
    points = [None] * (positions[-1] + 1)
    for position, value in zip(positions, column):
        points[position] = value
    return points


def _post(body):
    parts = urlsplit(URL)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=LONGEST_S)
    try:
        connection.request("POST", parts.path, json.dumps(body), {{"Content-Type": "application/json"}})
        response = connection.getresponse()
        text = response.read().decode()
    except (OSError, http.client.HTTPException) as error:
        raise ValueError("failed to connect the service: %s, %s" % (URL, error)) from None
    finally:
        connection.close()
    if response.status == 404:
        raise ValueError("invalid host url")
    if response.status != 200:
        raise ValueError("failed to request the service, " + text)
    (answer,) = json.loads(text)["predictions"]
    if "error" in answer:
        raise ValueError("failed to request the service, " + answer["error"])
    return answer
'''

BY_FOLDER = {"fc": Template("TsfmBaseService", _FORECAST), "ad": Template("AbstractAnomalyDetectionService", _ANOMALY)}
