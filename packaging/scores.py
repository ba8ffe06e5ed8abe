"""The table of public scores beside our measured speed, for docs/families.md."""

from __future__ import annotations

import json
from pathlib import Path

from tsfm import card

DOCS = Path(__file__).resolve().parent.parent / "docs"
HEADS = (
    "| checkpoint | family | parameters | score | series/s |",
    "| 检查点 | 模型系列 | 参数量 | 得分 | 序列/秒 |",
)


def table(language: int = 0) -> str:
    """One row per checkpoint with a public score, best first; 0 is English, 1 Chinese.

    Only the default checkpoint of a family has a measured speed.
    """
    scores = json.loads((DOCS / "scores.json").read_text(encoding="utf-8"))["scores"]
    measured = json.loads((DOCS / "measured.json").read_text(encoding="utf-8"))["families"]
    known = {w.name: (c, w) for c in map(card.read, card.names(packaged_only=True)) for w in c.checkpoints}
    rows = [HEADS[language], "|---|---|---|---|---|"]
    for name, score in sorted(scores.items(), key=lambda one: one[1]):
        c, w = known[name]
        speed = f"{measured[c.name]['series_per_s']:g}" if w.folder == measured[c.name]["weights"] else "-"
        rows.append(f"| {w.folder} | {c.name} | {w.parameters / 1e6:.0f} M | {score:.3f} | {speed} |")
    return "\n".join(rows)


def in_chinese() -> str:
    return table(1)
