"""Generate the tables of the documents from the code: `python packaging/docs.py` updates them in place."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "packaging")]

import growth  # noqa: E402  (the line above adds its path)
import scores  # noqa: E402

from tsfm import card, kinds, settings  # noqa: E402  (the line above adds its path)
from tsfm.engine import abilities  # noqa: E402
from tsfm.fleet import balancer, cluster  # noqa: E402
from tsfm.tdgpt import database  # noqa: E402


def families() -> str:
    """One row per family."""
    rows = [
        "| family | key in SQL | port | checkpoints (parameters, file) | memory | can | year | licence "
        "| commercial use |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in card.names(packaged_only=True):
        c = card.read(name)
        weights = ", ".join(f"{w.name} ({_parameters(w.parameters)}, {_size(w.bytes)})" for w in c.checkpoints)
        can = sorted({ability.replace("_", " ") for w in c.checkpoints for ability in w.capabilities})
        rows.append(
            f"| {name} | `{c.keys[0]}` | {c.port} | {weights or 'in the package'} | {c.memory_mib} MiB "
            f"| {', '.join(can) or c.task} | {c.year} | {c.licence} | {COMMERCIAL[c.commercial][0]} |"
        )
    return "\n".join(rows)


# Whether a licence permits commercial use: (English, Chinese), by the card's word.
COMMERCIAL = {"yes": ("yes", "可以"), "limited": ("limited", "有限制"), "no": ("**no**", "**不可以**")}
SHORT = {"comes with TDgpt under TDengine's licence, AGPL-3.0": "AGPL-3.0"}
HEADS = (
    ("model", "key in SQL", "parameters", "year", "licence", "commercial use", "memory, MiB", "series/s"),
    ("模型", "SQL 中的名称", "参数量", "年份", "许可证", "商业使用", "内存（MiB）", "每秒序列数"),
)
# What stands for ``abilities.COLUMNS`` and for the words below them; in English most stand for themselves.
ENGLISH = {"forecasts": "by forecasts", "reconstruction": "by reconstruction"}
CHINESE = {
    **{"univariate": "单变量", "covariates": "协变量", "several variates": "多变量", "anomaly detection": "异常检测"},
    **{
        "forecast": "预测",
        "imputation": "填补",
        "native": "原生",
        "regression": "回归",
        "joint": "联合",
        "each": "逐个",
    },
    **{"forecasts": "基于预测", "reconstruction": "基于重构", "-": "-"},
    **{"past native, future regression": "历史原生，未来回归", "past regression, future native": "历史回归，未来原生"},
}


def words(c: card.Card, language: int) -> list[str]:
    """A cell for each of ``abilities.COLUMNS``: the word of the default checkpoint, and those that differ by name."""
    kinds = [(w.folder, abilities.cells(c.task, w.capabilities)) for w in c.checkpoints]
    cells = []
    for column, default in enumerate(kinds[0][1] if kinds else abilities.cells(c.task, ())):
        others: dict[str, list[str]] = {}
        for name, found in kinds:
            if found[column] != default:
                others.setdefault(_translated(found[column], language), []).append(name)
        named = "; ".join(f"{', '.join(names)}: {word}" for word, names in others.items())
        cells.append(_translated(default, language) + (f" ({named})" if named else ""))
    return cells


def columns(language: int = 0) -> str:
    """One row per family: what it does in each of ``abilities.COLUMNS``."""
    heads = [("family", "模型系列")[language], *(_translated(name, language) for name in abilities.COLUMNS)]
    rows = [[name, *words(card.read(name), language)] for name in card.names(packaged_only=True)]
    return "\n".join([_row(heads), f"|{'---|' * len(heads)}", *map(_row, rows)])


def columns_in_chinese() -> str:
    return columns(1)


def _translated(word: str, language: int) -> str:
    return CHINESE[word] if language else ENGLISH.get(word, word)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def choose(language: int = 0) -> str:
    """One short row per family, for choosing a model: facts of its card and measurements; 0 is English, 1 Chinese."""
    measured = json.loads((ROOT / "docs/measured.json").read_text(encoding="utf-8"))["families"]
    heads = [*HEADS[language][:6], *(_translated(name, language) for name in abilities.COLUMNS), *HEADS[language][6:]]
    rows = [_row(heads), f"|{'---|' * len(heads)}"]
    for name in card.names(packaged_only=True):
        c = card.read(name)
        counts = [w.parameters for w in c.checkpoints] or [measured[name]["parameters"]]
        sizes = " – ".join(dict.fromkeys(_parameters(count) for count in (min(counts), max(counts))))
        cells = [name, f"`{c.keys[0]}`", sizes, str(c.year), SHORT.get(c.licence, c.licence)]
        cells += [COMMERCIAL[c.commercial][language], *words(c, language)]
        cells += [f"{measured[name]['memory_mib']:,}", f"{measured[name]['series_per_s']:g}"]
        rows.append(_row(cells))
    return "\n".join(rows)


def measured() -> str:
    """The measurements of each family, for docs/measurements.md."""
    facts = json.loads((ROOT / "docs/measured.json").read_text(encoding="utf-8"))
    rows = [
        "| family | weights | deb, kB | weights, MiB | READY, s | resident, MiB | memory under load, MiB | series/s |"
    ]
    rows.append("|---|---|---|---|---|---|---|---|")
    for name in card.names(packaged_only=True):
        one = facts["families"][name]
        values = (
            one[key] for key in ("deb_kb", "weights_mib", "ready_s", "resident_mib", "memory_mib", "series_per_s")
        )
        rows.append(f"| {name} | {one['weights']} | {' | '.join(f'{value:,}' for value in values)} |")
    return "\n".join([*rows, "", f"`{facts['command']}`; the last two columns: {facts['load']}."])


FAULTS = {
    "service killed (kill -9)": "服务被杀死（kill -9）",
    "service stopped (SIGTERM)": "服务停止（SIGTERM）",
    "service frozen for 6 s (SIGSTOP)": "服务冻结 6 秒（SIGSTOP）",
    "cable cut for 8 s": "网线断开 8 秒",
    "host without power for 6 s": "主机断电 6 秒",
    "all hosts updated, one after the other": "所有主机依次升级",
    "balancer reloaded 3 times": "均衡器重新加载 3 次",
}
FAULT_HEADS = (
    "| fault | requests | lost | crossed | median, ms | slowest, ms | GET | not 405 | above 100 ms |",
    "| 故障 | 请求 | 丢失 | 串答 | 中位数，毫秒 | 最慢，毫秒 | GET | 非 405 | 超过 100 毫秒 |",
)
FAULT_KEYS = ("requests", "lost", "crossed", "p50_ms", "slowest_ms", "gets", "gets_not_405", "gets_over_100ms")
POISON = {"it hangs the model": "使模型挂起", "it crashes the process": "使进程崩溃"}
POISON_HEADS = (
    "| a request that breaks a host | its answer | hosts broken | other requests | lost | crossed | slowest, ms |",
    "| 会弄坏主机的请求 | 它的应答 | 受损主机 | 其他请求 | 丢失 | 串答 | 最慢，毫秒 |",
)
POISON_KEYS = ("answer", "hosts", "requests", "lost", "crossed", "slowest_ms")


def faults(language: int = 0) -> str:
    """One row per fault, from tests/host/test_fleet.py; 0 is English, 1 Chinese."""
    return _faults("balancer", FAULT_HEADS[language], FAULT_KEYS, FAULTS if language else {})


def faults_in_chinese() -> str:
    return faults(1)


def poison(language: int = 0) -> str:
    """One row per request that breaks hosts, from the same file."""
    return _faults("poison", POISON_HEADS[language], POISON_KEYS, POISON if language else {})


def poison_in_chinese() -> str:
    return poison(1)


def _faults(table: str, head: str, keys: Sequence[str], names: Mapping[str, str]) -> str:
    measured = json.loads((ROOT / "docs/faults.json").read_text(encoding="utf-8"))[table]
    rows = [head, "|---" * (len(keys) + 1) + "|"]
    for name, one in measured.items():
        rows.append(f"| {names[name] if names else name} | {' | '.join(f'{one[key]:,}' for key in keys)} |")
    return "\n".join(rows)


FLEET_FAULTS = {
    "replica killed (kill -9)": "副本被杀死（kill -9）",
    "replica frozen (SIGSTOP), replaced by Ray": "副本被冻结（SIGSTOP），由 Ray 替换",
    "cable of a node cut for 8 s": "一个节点断网 8 秒",
    "node without power for 6 s": "一个节点断电 6 秒",
    "Ray's haproxy killed": "Ray 的 haproxy 被杀死",
    "Serve's controller killed": "Serve 的控制器被杀死",
    "node killed, and started again": "节点被杀死并重新启动",
    "gcs_server killed": "gcs_server 被杀死",
    "head away for 75 s, a replica killed meanwhile": "头节点离开 75 秒，其间一个副本被杀死",
    "3 replicas to 1 and back to 3": "3 个副本减为 1 个，再增为 3 个",
    "all replicas updated": "所有副本更新",
    "node drained, stopped and started again": "节点清空、停止并重新启动",
}


def fleet_faults(language: int = 0) -> str:
    """One row per fault of a fleet, from tests/host/test_ray_fleet.py; 0 is English, 1 Chinese."""
    return _faults("fleet", FAULT_HEADS[language], FAULT_KEYS, FLEET_FAULTS if language else {})


def fleet_faults_in_chinese() -> str:
    return fleet_faults(1)


def fleet_poison(language: int = 0) -> str:
    return _faults("fleetpoison", POISON_HEADS[language], POISON_KEYS, POISON if language else {})


def fleet_poison_in_chinese() -> str:
    return fleet_poison(1)


def choose_in_chinese() -> str:
    return choose(1)


def keys(table: dict[str, kinds.Key] = settings.KEYS) -> str:
    """One row per setting."""
    rows = ["| key | default | meaning |", "|---|---|---|"]
    rows += [f"| `{name}` | {key.default or '-'} | {key.meaning} |" for name, key in table.items()]
    return "\n".join(rows)


def access() -> str:
    """The section [tdengine]."""
    return keys(database.KEYS)


def balanced() -> str:
    """The section [balancer]."""
    return keys(balancer.KEYS)


def joined() -> str:
    """The section [fleet]."""
    return keys(cluster.KEYS)


def manual(table: dict[str, kinds.Key] = settings.KEYS) -> str:
    """One paragraph per setting, for tsfm.ini(5)."""
    return "\n".join(
        f".TP\n.B {name}\n{_sentence(key.meaning)} Default: {key.default or 'empty'}." for name, key in table.items()
    )


def manual_access() -> str:
    """The section [tdengine], for tsfm.ini(5)."""
    return manual(database.KEYS)


def manual_balanced() -> str:
    """The section [balancer], for tsfm.ini(5)."""
    return manual(balancer.KEYS)


def manual_joined() -> str:
    """The section [fleet], for tsfm.ini(5)."""
    return manual(cluster.KEYS)


# (file, first mark, last mark, function that generates the text between them)
GENERATED = [
    ("README.md", "<!-- choose -->", "<!-- /choose -->", choose),
    ("README.zh-CN.md", "<!-- choose -->", "<!-- /choose -->", choose_in_chinese),
    ("docs/families.md", "<!-- families -->", "<!-- /families -->", families),
    ("docs/families.md", "<!-- columns -->", "<!-- /columns -->", columns),
    ("docs/families.md", "<!-- scores -->", "<!-- /scores -->", scores.table),
    ("docs/zh/families.md", "<!-- scores -->", "<!-- /scores -->", scores.in_chinese),
    ("docs/zh/families.md", "<!-- columns -->", "<!-- /columns -->", columns_in_chinese),
    ("docs/settings.md", "<!-- settings -->", "<!-- /settings -->", keys),
    ("docs/measurements.md", "<!-- measured -->", "<!-- /measured -->", measured),
    ("docs/measurements.md", "<!-- length -->", "<!-- /length -->", growth.length),
    ("docs/operations.md", "<!-- site -->", "<!-- /site -->", growth.site),
    ("docs/zh/operations.md", "<!-- site -->", "<!-- /site -->", growth.site_in_chinese),
    ("docs/registration.md", "<!-- tdengine -->", "<!-- /tdengine -->", access),
    ("man/tsfm.ini.5", '.\\" settings', '.\\" /settings', manual),
    ("docs/many-hosts.md", "<!-- balancer -->", "<!-- /balancer -->", balanced),
    ("docs/many-hosts.md", "<!-- fleetfaults -->", "<!-- /fleetfaults -->", fleet_faults),
    ("docs/zh/many-hosts.md", "<!-- fleetfaults -->", "<!-- /fleetfaults -->", fleet_faults_in_chinese),
    ("docs/many-hosts.md", "<!-- fleetpoison -->", "<!-- /fleetpoison -->", fleet_poison),
    ("docs/zh/many-hosts.md", "<!-- fleetpoison -->", "<!-- /fleetpoison -->", fleet_poison_in_chinese),
    ("docs/many-hosts.md", "<!-- fleet -->", "<!-- /fleet -->", joined),
    ("docs/many-hosts.md", "<!-- faults -->", "<!-- /faults -->", faults),
    ("docs/zh/many-hosts.md", "<!-- faults -->", "<!-- /faults -->", faults_in_chinese),
    ("docs/many-hosts.md", "<!-- poison -->", "<!-- /poison -->", poison),
    ("docs/zh/many-hosts.md", "<!-- poison -->", "<!-- /poison -->", poison_in_chinese),
    ("man/tsfm.ini.5", '.\\" balancer', '.\\" /balancer', manual_balanced),
    ("man/tsfm.ini.5", '.\\" fleet', '.\\" /fleet', manual_joined),
    ("man/tsfm.ini.5", '.\\" tdengine', '.\\" /tdengine', manual_access),
]


def renewed(name: str) -> str:
    """The text of a document with its tables generated again between their marks."""
    text = (ROOT / name).read_text(encoding="utf-8")
    for file, first, last, table in GENERATED:
        if file == name:
            before, found, rest = text.partition(first + "\n")
            _, closed, after = rest.partition(last)
            if not (found and closed):
                raise SystemExit(f"{name}: expected the marks {first} and {last}")
            text = before + found + table() + "\n" + closed + after
    return text


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _parameters(count: int) -> str:
    return (
        f"{count / 1e6:.0f} M" if count >= 1e7 else f"{count / 1e6:.1f} M" if count >= 1e6 else f"{count / 1e6:.2f} M"
    )


if __name__ == "__main__":
    for document in sorted({file for file, *_ in GENERATED}):
        new = renewed(document)
        (ROOT / document).write_text(new, encoding="utf-8")
