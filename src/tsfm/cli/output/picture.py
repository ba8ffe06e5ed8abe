"""Draws plots into a PNG, one below the other, with Pillow."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tsfm.cli.output import figure
from tsfm.cli.output.figure import HEIGHT, WIDTH, Area, Dot, Label, Line
from tsfm.cli.output.plot import Plot
from tsfm.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

MOST = 20
RADIUS = 3.5  # of a point that stands out
COLOURS = 256  # with fewer, those of small shapes get lost
SCALE = 3  # drawn larger and reduced: Pillow draws lines without smooth edges
# The font inside Pillow is Latin; these are common ones with Chinese, found by name in the system's folders.
CHINESE = ("NotoSansCJK-Regular.ttc", "wqy-zenhei.ttc", "wqy-microhei.ttc", "DroidSansFallbackFull.ttf")
_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}


def library() -> None:
    """Raises:
    ConfigError: Pillow is not installed.
    """
    if not importlib.util.find_spec("PIL"):
        raise ConfigError("--output: Pillow, which draws PNG, is missing: install taos-tsfm-runtime")


def png(found: Sequence[Plot]) -> bytes:
    """The picture, 900 pixels wide.

    Raises:
        UsageError: there are none, or too many for a picture.
        ConfigError: Pillow is not installed.
    """
    library()
    from PIL import Image, ImageDraw

    if not 1 <= len(found) <= MOST:
        raise UsageError(f"--output: a PNG holds 1 to {MOST} series, got {len(found)}; an HTML file holds all")
    whole = Image.new("RGB", (WIDTH, HEIGHT * len(found)), "white")
    for number, one in enumerate(found):
        panel = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), "white")
        draw = ImageDraw.Draw(panel)
        for shape in figure.shapes(one):
            _draw(draw, shape)
        whole.paste(panel.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS), (0, HEIGHT * number))
    written = io.BytesIO()
    whole.quantize(COLOURS).save(written, "PNG", optimize=True)
    return written.getvalue()


def _draw(draw: ImageDraw, shape: figure.Shape) -> None:
    if isinstance(shape, Label):
        text, font = _font(shape.text, shape.size * SCALE)
        position = (shape.x * SCALE, shape.y * SCALE)
        draw.text(position, text, shape.colour, font, _ANCHORS[shape.anchor])
        return
    if isinstance(shape, Dot):
        draw.circle((shape.x * SCALE, shape.y * SCALE), RADIUS * SCALE, shape.colour)
        return
    points = [(x * SCALE, y * SCALE) for x, y in shape.points]
    if isinstance(shape, Area) and len(points) > 2:
        draw.polygon(points, shape.colour)
    elif isinstance(shape, Line):
        draw.line(points, shape.colour, round(shape.width * SCALE), "curve")


def _font(text: str, size: int) -> tuple[str, FreeTypeFont]:
    """A font that has the letters; where there is none, the text in ASCII."""
    from PIL import ImageFont

    latin = ImageFont.load_default(size)
    if text.isascii():
        return text, latin  # type: ignore[return-value]
    for name in CHINESE:
        try:
            return text, ImageFont.truetype(name, size)
        except OSError:
            continue  # not installed
    return text.encode("ascii", "backslashreplace").decode(), latin  # type: ignore[return-value]
