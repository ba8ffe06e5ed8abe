"""``python -m bench [PART...]``: run the parts, write build/bench.json, print every key with its goal."""

from __future__ import annotations

import argparse
import json
import sys
import time

from bench import (
    anomaly,
    api,
    batch,
    common,
    covariates,
    fleet,
    goals,
    int8,
    interpreter,
    intervals,
    joint,
    length,
    listing,
    models,
    scale,
    scaling,
    server,
    skill,
    start,
)

PARTS = {
    part.__name__.rpartition(".")[2]: part.run
    for part in (
        server,
        listing,
        models,
        int8,
        start,
        intervals,
        skill,
        interpreter,
        api,
        covariates,
        joint,
        anomaly,
        fleet,
        scaling,
        batch,
        scale,
        length,
    )
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; none: all")
    args = parser.parse_args()
    chosen = args.parts or list(PARTS)
    if unknown := sorted(set(chosen) - set(PARTS)):
        parser.error(f"{unknown[0]}: expected one of {', '.join(PARTS)}")
    file = common.BUILD / "bench.json"
    file.parent.mkdir(exist_ok=True)
    known = json.loads(file.read_text()) if file.exists() else {}
    for part in chosen:
        began = time.monotonic()
        print(f"{part} ...", file=sys.stderr, flush=True)
        known |= {key: common.rounded(value) for key, value in PARTS[part]().items()}
        known[f"seconds_{part}"] = round(time.monotonic() - began)
        file.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")
    print(goals.table(known))
    return 0


if __name__ == "__main__":
    sys.exit(main())
