"""The page's files, with the headers that keep it to itself: no inline code, no request to another host, no frame."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tsfm import paths

log = logging.getLogger(__name__)
STATIC = Path(__file__).parent / "static"
SAMPLES = ("nino12.csv", "co2.csv", "meters.csv")
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".csv": "text/csv; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data: blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-cache",  # the browser asks each time whether its copy is the present one
}


@dataclass(frozen=True)
class File:
    """One file, as it is sent."""

    body: bytes
    content_type: str
    etag: str


@cache
def load() -> dict[str, File]:
    """The page's files by path; a few hundred kB, read when the service starts."""
    found = {f"/page/{path.name}": path for path in sorted(STATIC.iterdir()) if path.suffix in TYPES}
    found["/"] = found.pop("/page/index.html")
    for name in SAMPLES:
        if (source := paths.share() / name).is_file():
            found[f"/page/{name}"] = source
        else:
            log.warning("%s: not found, so the page has no such sample; install taos-tsfm-core again", source)
    return {path: _file(source) for path, source in found.items()}


def _file(source: Path) -> File:
    body = source.read_bytes()
    return File(body, TYPES[source.suffix], hashlib.sha256(body).hexdigest()[:32])
