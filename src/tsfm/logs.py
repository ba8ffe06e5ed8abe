"""Formats log lines for the journal: syslog levels, one line per event, escaped control characters."""

from __future__ import annotations

import logging
import os
import sys

SYSLOG_LEVEL = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
# C0 and C1 control characters, and the line separators that terminals interpret.
ESCAPES = {code: f"\\x{code:02x}" for code in [*range(32), *range(127, 160)]} | {
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}


class OneLine(logging.Formatter):
    """``<6>message`` under systemd, which removes the level from the text; ``INFO message`` elsewhere."""

    def __init__(self, for_journal: bool) -> None:
        super().__init__()
        self._for_journal = for_journal

    def format(self, record: logging.LogRecord) -> str:
        lines = super().format(record).splitlines() or [""]
        prefix = f"<{SYSLOG_LEVEL.get(record.levelno, 6)}>" if self._for_journal else f"{record.levelname} "
        return "\n".join(prefix + line.translate(ESCAPES) for line in lines)


def set_up(level: str) -> None:
    """Send the lines of every logger to stderr, from ``level`` upwards."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine("JOURNAL_STREAM" in os.environ))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    # These libraries log details at INFO that only their authors need.
    for name in ("waitress", "transformers", "py.warnings", "urllib3", "chronos"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
