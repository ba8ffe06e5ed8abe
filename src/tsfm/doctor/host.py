"""Checks the host: versions, instruction sets of the CPU and those that torch uses, memory."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tsfm import __version__, card, paths
from tsfm.doctor import finding
from tsfm.doctor.families import unit_name
from tsfm.doctor.finding import Finding
from tsfm.doctor.units import Unit
from tsfm.tdgpt.endpoints import Endpoint

PROC = Path("/proc")
# Names in /proc/cpuinfo, the most important first: on x86-64 in the line "flags", on ARM64 in "Features".
_X86 = {"avx2": "AVX2", "avx512f": "AVX512", "avx512_bf16": "bf16", "amx_bf16": "AMX"}
_ARM = {"asimd": "NEON", "sve": "SVE", "bf16": "bf16"}
_NEWER = "run the service on a CPU of 2013 or newer; in a virtual machine choose the host's CPU type"
_PROBE = "import torch; print(torch.__version__, torch.backends.cpu.get_cpu_capability())"


class Torch:
    """Asks the packaged torch for its version and kernels; started early, because the import takes seconds."""

    def __init__(self) -> None:
        python = paths.RUNTIME / "bin/python"
        self._process = None
        if python.exists():
            self._process = subprocess.Popen(
                [python, "-I", "-B", "-c", _PROBE],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )

    def answer(self) -> tuple[str, str] | str | None:
        """(version, kernels); why it does not run; None if there is no packaged torch or no answer in time."""
        if self._process is None:
            return None
        try:
            output, errors = self._process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            return None
        words = output.split()
        if self._process.returncode == 0 and len(words) > 1:
            return words[0], " ".join(words[1:])
        return (errors.strip().splitlines() or [f"exit status {self._process.returncode}"])[-1]


def check(endpoints: Sequence[Endpoint], units: dict[str, Unit] | None, torch: Torch) -> Iterator[Finding]:
    version = f"taos-tsfm {__version__}, Python {platform.python_version()}"
    answer = torch.answer()
    if isinstance(answer, str):
        yield finding.broken("torch", f"does not run: {answer}", "install the package taos-tsfm-runtime again")
        answer = None
    yield finding.ok("versions", f"{version}, torch {answer[0]}" if answer else version)
    yield _cpu(answer[1] if answer else None)
    yield _memory(endpoints, units)


def _cpu(kernels: str | None) -> Finding:
    known, flags = _instructions()
    has = [name for flag, name in known.items() if flag in flags]
    lacking = ", ".join(name for name in known.values() if name not in has)
    text = f"supports {', '.join(has)}" + (f", but not {lacking}" if lacking else "")
    if known is _X86 and "AVX2" not in has:
        if "avx" not in flags:
            old = "has no AVX: NumPy's library for products stops with an illegal instruction"
            remedy = f"{_NEWER}; or systemctl edit tsfm@FAMILY: [Service] Environment=OPENBLAS_CORETYPE=Nehalem"
            return finding.broken("CPU", old, remedy)
        return finding.warning("CPU", "has no AVX2: a forecast takes about twice as long", _NEWER)
    if kernels is None:
        return finding.ok("CPU", text)
    best = next((name for name in ("AVX512", "AVX2") if name in has), "")
    if best not in kernels.upper():
        remedy = "check ATEN_CPU_CAPABILITY in the environment"
        return finding.warning("CPU", f"{text}, but torch uses {kernels} kernels", remedy)
    return finding.ok("CPU", f"{text}; torch uses {kernels} kernels")


def _instructions() -> tuple[dict[str, str], list[str]]:
    """The instruction sets to name, and the words for them in /proc/cpuinfo of the first CPU."""
    for line in (PROC / "cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, words = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return _X86 if name.strip() == "flags" else _ARM, words.split()
    return _ARM, []


def _memory(endpoints: Sequence[Endpoint], units: dict[str, Unit] | None) -> Finding:
    lines = (PROC / "meminfo").read_text(encoding="ascii").splitlines()
    facts = {line.partition(":")[0]: int(line.split()[1]) for line in lines if len(line.split()) > 1}
    available = facts.get("MemAvailable", facts.get("MemFree", 0)) // 1024
    known = units or {}
    states = [(e, known.get(unit_name(e.family))) for e in endpoints]
    # A running service already has its memory.
    starting = [e for e, unit in states if unit is None or (unit.enabled and unit.active != "active")]
    needed = sum(card.read(endpoint.family).memory_mib for endpoint in starting)
    subject = "the installed families need" if units is None else "the enabled families that have not started need"
    text = f"{available} MiB available, {subject} about {needed}"
    if needed > available:
        return finding.warning("memory", text, "disable some families, or choose smaller checkpoints in tsfm.ini")
    return finding.ok("memory", text)
