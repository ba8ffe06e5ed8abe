"""What a server does in pure Python, each for some 20 ms; prints the least CPU time of each as JSON."""

import json
import pickle
import re
import sys
import time
import zlib

NUMBERS = [i * 0.37 for i in range(2000)]
TEXT = json.dumps({"input": NUMBERS, "next_len": 48})
HEADER = "POST /ds_predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 12345\r\n"
BODY = TEXT.encode()


class Point:
    def __init__(self, x, y):
        self.x, self.y = x, y

    def moved(self, by):
        return Point(self.x + by, self.y - by)


def calls():
    point = Point(1, 2)
    for step in range(3000):
        point = point.moved(step)


def fibonacci(n=15):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


def generators():
    return sum(x for x in (y * y for y in range(8000)) if x % 3)


def dicts():
    counts = {}
    for i in range(6000):
        counts[f"key{i % 97}"] = counts.get(f"key{i % 97}", 0) + i
    return sorted(counts.items(), key=lambda item: -item[1])


def headers():
    found = []
    for _ in range(200):
        _, *lines = HEADER.split("\r\n")
        found.append({name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)})
    return found


def exceptions():
    caught = 0
    for i in range(4000):
        try:
            if i % 3:
                raise ValueError(i)
        except ValueError:
            caught += 1
    return caught


TASKS = {
    "calls": calls,
    "recursion": fibonacci,
    "generators": generators,
    "dicts": dicts,
    "headers": headers,
    "exceptions": exceptions,
    "json_loads": lambda: json.loads(TEXT),
    "json_dumps": lambda: json.dumps(NUMBERS),
    "regex": lambda: re.findall(r"(\d+)\.(\d+)", TEXT),
    "sorting": lambda: sorted(NUMBERS * 4, key=lambda value: -value),
    "formatting": lambda: [f"{value:.3f} of {value!r}" for value in NUMBERS],
    "pickle": lambda: pickle.loads(pickle.dumps(NUMBERS * 5)),
    "zlib": lambda: zlib.decompress(zlib.compress(BODY, 3)),
    "bytes": lambda: [BODY.find(b"next"), BODY.count(b","), BODY.replace(b", ", b",").split(b",")],
}


def best(task, seconds=0.02, turns=5):
    """CPU seconds for one run of the task: the least of some turns."""
    began = time.process_time()
    task()
    count = max(1, int(seconds / (time.process_time() - began)))
    times = []
    for _ in range(turns):
        began = time.process_time()
        for _ in range(count):
            task()
        times.append((time.process_time() - began) / count)
    return min(times)


if __name__ == "__main__":
    json.dump({name: best(task) for name, task in TASKS.items()}, sys.stdout)
