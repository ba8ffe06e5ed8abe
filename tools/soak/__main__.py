"""Run the traffic and the faults for some minutes and print the results; exit 1 if an answer was lost or wrong."""

from __future__ import annotations

import argparse
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .service import Service
from .traffic import Traffic, exchange, parsed, questions

QUESTIONS, CLIENTS, ATTACKERS = 40, 6, 2
FAULT_EVERY_S = 20


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tsfm-soak-") as folder:
        service = Service(Path(folder))
        try:
            service.until_ready()
            bodies = questions(QUESTIONS)
            traffic = Traffic(service, bodies, [answer(service, question) for question in bodies])
            seconds = soak(service, traffic, args.minutes * 60)
        finally:
            ended = service.stop()
        log = service.log.read_text()
    return report(service, traffic, seconds, ended, log)


def answer(service: Service, question: bytes) -> np.ndarray:
    status, fields = parsed(exchange(service.port, question))
    if status != 200:
        raise SystemExit(f"a question without load got {status}: {fields}")
    return np.array(fields["output"])


def soak(service: Service, traffic: Traffic, seconds: float) -> float:
    """Run all clients at once and the faults one after the other; return the duration in seconds."""
    began = time.monotonic()
    jobs = [traffic.properly] * CLIENTS + [traffic.hostile] * ATTACKERS + [traffic.watch]
    jobs += [repeated(traffic, traffic.burst, 5), repeated(traffic, traffic.hang, 4)]
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    faults: list[Callable[[], None]] = [
        lambda: service.freeze(2),
        lambda: service.kill(signal.SIGKILL),
        lambda: service.kill(signal.SIGTERM),
    ]
    number = 0
    while time.monotonic() - began + FAULT_EVERY_S < seconds:
        time.sleep(FAULT_EVERY_S)
        faults[number % len(faults)]()
        number += 1
    time.sleep(max(0.0, seconds - (time.monotonic() - began)))
    traffic.over.set()
    for thread in threads:
        thread.join()
    answer(service, traffic.bodies[0])  # after the faults the service still answers
    return time.monotonic() - began


def repeated(traffic: Traffic, job: Callable[[], None], pause_s: float) -> Callable[[], None]:
    def loop() -> None:
        while not traffic.over.wait(pause_s):
            job()

    return loop


def report(service: Service, traffic: Traffic, seconds: float, ended: int, log: str) -> int:
    tally = traffic.tally
    rows: dict[str, object] = {"minutes": round(seconds / 60, 1), "requests": sum(tally.kinds.values())}
    rows |= {f"  {kind}": count for kind, count in sorted(tally.kinds.items())}
    must_be_0 = {
        "lost answers": tally.lost,
        "crosstalk": tally.crosstalk,
        "500s and answers in another form": tally.unfit,
        "GETs not answered": tally.unanswered_gets,
        "crashes": service.crashes,
        "tracebacks in the log": log.count("Traceback"),
        "exit code after SIGTERM": ended,
    }
    rows |= must_be_0
    rows |= {"restarts, all on purpose": service.restarts - service.crashes}
    rows |= {"memory growth of a process, MiB": ", ".join(f"{mib:.0f}" for mib in service.growth_mib)}
    for name, value in rows.items():
        print(f"{name:<36}{value}")
    tracebacks = re.findall(r"(?:.+\n){3}.*Traceback(?:.+\n){2,12}", log)[:2]
    print(*tally.examples, *tracebacks, sep="\n")
    return int(any(must_be_0.values()))


if __name__ == "__main__":
    sys.exit(main())
