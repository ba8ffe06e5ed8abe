#!/usr/bin/env python3
"""Serve one model family, as TDgpt's documentation starts it: python FAMILY-server.py [ARGUMENT...]

The family is in this file's name. Any Python 3 may start it: it hands over to the family's own
environment. The service that starts at boot is the unit tsfm@FAMILY; this is for a quick look.
"""

import os
import sys

PAYLOAD = os.path.join(os.environ.get("TSFM_ROOT", "/"), "usr/lib/taos-tsfm")


def main() -> None:
    family = os.path.basename(__file__).rpartition("-server.py")[0]
    python = os.path.join(PAYLOAD, "venvs", family, "bin", "python")
    if not os.path.exists(python):
        sys.exit("%s: no environment at %s; install the package taos-tsfm-%s" % (sys.argv[0], python, family))
    os.environ["PYTHONPATH"] = os.path.join(PAYLOAD, "lib")
    os.environ["PYTHONSAFEPATH"] = "1"  # not whatever is called tsfm where the command was typed
    os.environ["TSFM_ENTERED"] = python  # tsfm.system.handover: it is not handed over to this environment again
    os.execv(python, [python, "-B", "-m", "tsfm.cli.legacy_scripts", family] + sys.argv[1:])


if __name__ == "__main__":
    main()
