"""Reads /etc/taos/taosanode.ini or taosanode.config.py, whichever the anode was started with."""

from pathlib import Path

import configuration

PATH = Path()


def get_tsfm_service(name):
    return configuration.service(PATH, name)
