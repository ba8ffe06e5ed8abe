"""Build the environments that the packages bring: the runtime's, and the layers on it, of each family, of each maker's
package (``<family>-official``), of the command line, of tables, of a fleet, and of PyTorch with CUDA, if it is named.

A tree is built once per content of its lock, into the cache folder, and is the same bytes wherever and
whenever it is built: no dates, no build paths, no installer's records. ``build/venvs/<name>`` links to it.

ARCH in the environment chooses the architecture (architecture.py); for a foreign one everything is below build/ARCH.
WITHOUT_TORCH=1 leaves torch out: for tests where its wheel cannot be had. Such a runtime serves no model.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))

import architecture  # noqa: E402  (found in this file's folder)
import integrity  # noqa: E402
import interpreter  # noqa: E402

from tsfm import card, official  # noqa: E402  (found by the line above)

LOCKS = HERE / "locks"
KERNEL = HERE / "int8.sh"
KERNEL_SOURCES = sorted((HERE.parent / "src/tsfm/nets").glob("int8*.[ch]"))
BUILD = HERE.parent / "build" / (architecture.deb() if architecture.foreign() else "")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taos-tsfm" / "venvs"
PAYLOAD = "/usr/lib/taos-tsfm"
PACKAGES = Path("lib/python3.11/site-packages")
OMITTED = ("torch",) if os.environ.get("WITHOUT_TORCH") == "1" else ()
SHARED = ("runtime", "cli")  # in the package taos-tsfm-runtime
OPTIONAL = "arrow"  # in the package taos-tsfm-arrow; where it is installed, all others find it. The rest is families'
FLEET = "fleet"  # in the package taos-tsfm-fleet
CUDA = "cuda"  # in the package taos-tsfm-cuda; where it is installed, all find its torch before the runtime's
OFFICIAL = "-official"  # ends the name of a family's other environment, with its maker's package
AHEAD = "-ahead"  # ends the name of a lock of pins whose metadata asks for a newer Python than ours
# Every file is dated so; only a new release needs a new one.
EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH", "1763856000"))

# What serving never reads. torch/testing stays: importing torch needs it.
NOT_SERVED = (
    "torch/test",
    "torch/include",
    "torch/share",
    "torch/bin",
    "torch/lib/libaoti_custom_ops.so",
    "torch/lib/libbackend_with_compiler.so",
    "torch/lib/libjitbackend_test.so",
    "torch/lib/libtorchbind_test.so",
    "setuptools/_vendor/.lock",
    *(f"ray/{name}" for name in ("jars", "rllib", "llm")),  # other languages, and other uses
    # Remote file systems, other formats, and what C++ is compiled with.
    *(f"pyarrow/{name}" for name in ("include", "includes", "src", "interchange", "conftest.py")),
    *(f"pyarrow/libarrow_{name}.so.2600" for name in ("flight", "s3", "python_flight")),
    *(f"pyarrow/libarrow_python_flight.so{version}" for version in ("", ".2600.1.0")),
    *(
        f"pyarrow/_{name}.cpython-311-{machine}-linux-gnu.so"
        for machine in architecture.MACHINES.values()
        for name in (
            "azurefs",
            "flight",
            "gcsfs",
            "hdfs",
            "orc",
            "dataset_orc",
            "pyarrow_cpp_tests",
            "s3fs",
            "substrait",
        )
    ),
)
USED = ("torch/bin/torch_shm_manager",)
STRIPPED = ("torch/lib/libtorch_cpu.so", "torch/lib/libtorch_python.so")
RECORDS = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"}
NO_USE = {".pyi", ".exe", ".c", ".cpp", ".h", ".hpp", ".pyx", ".pxd", ".pxi", ".a", ".lib"}


def main(arguments: list[str]) -> int:
    makers = [f"{name}{OFFICIAL}" for name in official.names()]
    for name in arguments or [*SHARED, OPTIONAL, FLEET, *card.names(packaged_only=True), *makers]:
        print(f"{name}: {tree(name)}")
    return 0


@cache
def tree(name: str) -> Path:
    """The finished environment of "runtime", "cuda", "cli", "arrow", "fleet", of a family, or of "<family>-official".

    It is built when its lock is new, and again when a file of it was changed since.
    """
    finished = CACHE / f"{name}-{_key(name)}"
    if not integrity.intact(finished):
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE, prefix=f"{name}-") as folder:
            draft = Path(folder, "venv")
            _build(name, draft)
            shutil.rmtree(finished, ignore_errors=True)
            os.replace(draft, finished)
            integrity.seal(finished)
    link = BUILD / "venvs" / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(finished)
    return finished


def python() -> str:
    """The interpreter that builds the environments: the one of the packages."""
    return str(interpreter.tree() / interpreter.PROGRAM)


def installed_path(name: str) -> str:
    """Where the tree lies once installed; ``tsfm.paths`` has the same places."""
    if name in (*SHARED, CUDA, OPTIONAL, FLEET):
        return f"{PAYLOAD}/{name}"
    folder = "official" if name.endswith(OFFICIAL) else "venvs"
    return f"{PAYLOAD}/{folder}/{name.removesuffix(OFFICIAL)}"


def size(folder: Path) -> int:
    """Bytes of all files below, as they lie on disk."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def _key(name: str) -> str:
    parts = [Path(__file__).read_text(), *(text for text, _ in _locks(name)), architecture.deb(), str(EPOCH)]
    parts += [path.read_text() for path in (KERNEL, *KERNEL_SOURCES) if name == "runtime"]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _locks(name: str) -> list[tuple[str, list[str]]]:
    """The pins of an environment, in parts, each with the installer's options for it."""
    found: list[tuple[str, list[str]]] = [(_lock(name), [])]
    if (LOCKS / f"{name}{AHEAD}.txt").exists():
        found.append((_lock(f"{name}{AHEAD}"), ["--python-version", official.NEWER]))
    return found


def _lock(name: str) -> str:
    """The pins in a lock, without what is left out."""
    text = (LOCKS / f"{name}.txt").read_text()
    for package in OMITTED:
        text = re.sub(rf"^{package}==(?:.*\\\n)*.*\n", "", text, flags=re.MULTILINE)
    # 2.13.0+cpu, a build without CUDA, would satisfy ==2.13.0.
    return re.sub("^torch==", "torch===", text, flags=re.MULTILINE) if name == CUDA else text


def _build(name: str, venv: Path) -> None:
    print(f"building the environment {name}", file=sys.stderr)
    subprocess.run([python(), "-m", "venv", "--without-pip", "--symlinks", str(venv)], check=True)
    _install(name, venv)
    if integrity.altered(venv / PACKAGES):
        _install(name, venv, "--reinstall", "--no-cache")  # a program of this machine has changed uv's cache
    if altered := integrity.altered(venv / PACKAGES):
        raise SystemExit("\n".join(altered))
    _slim(venv)
    if name == "runtime" and architecture.machine() == "x86_64":
        subprocess.run(["sh", str(KERNEL), str(venv / PACKAGES / "tsfm_int8.so")], check=True)
    if name != "runtime":
        # site.py takes a relative line as relative to this folder, so the tree can be moved as a whole.
        up = "../" * len(Path(installed_path(name), PACKAGES).relative_to(PAYLOAD).parts)
        # It passes over a line whose folder does not exist.
        below = ("runtime",) if name in (CUDA, OPTIONAL) else (CUDA, "runtime", OPTIONAL)
        (venv / PACKAGES / "_runtime.pth").write_text("".join(f"{up}{layer}/{PACKAGES}\n" for layer in below))
    _remove_build_paths(venv)
    _link_interpreter(venv, installed_path(name))
    _compile(venv, installed_path(name))
    _date(venv)


def _install(name: str, venv: Path, *more: str) -> None:
    for lock, options in _locks(name):
        if "==" in lock:
            _install_lock(name, lock, venv, *options, *more)


def _install_lock(name: str, lock: str, venv: Path, *more: str) -> None:
    options = ["--quiet", "--no-deps", "--require-hashes", "--link-mode", "copy", "--no-compile-bytecode", *more]
    # Otherwise uv takes wheels for the C library of this machine, which may be newer than a host's.
    options += ["--python-platform", f"{architecture.machine()}-manylinux_2_28"]
    command = ["sh", str(HERE / "uv.sh"), "pip", "install", "--python", str(venv / "bin/python"), *options]
    environment = os.environ | ({"UV_TORCH_BACKEND": ""} if name == CUDA else {})  # no index of CPU builds
    # What comes as source only is built with the runtime's own setuptools.
    constraints = ["--build-constraints", str(LOCKS / "runtime.txt")]
    if subprocess.run([*command, *constraints, "-r", "-"], input=lock, text=True, env=environment).returncode:
        raise SystemExit(f"the environment {name} was not built: see the message above{_torch_remedy(lock)}")


def _torch_remedy(lock: str) -> str:
    if not (architecture.foreign() and "\ntorch==" in lock):
        return ""
    return (
        f". If torch is missing: download its CPU wheel for {architecture.machine()} from PyTorch's index "
        "into a folder, add its hash with make locks TORCH_WHEEL_DIR=FOLDER, and build with TORCH_WHEEL_DIR=FOLDER. "
        "WITHOUT_TORCH=1 is for tests: without torch no model is served"
    )


def _slim(venv: Path) -> None:
    packages = venv / PACKAGES
    for path in sorted(packages.rglob("*"), reverse=True):
        inside = path.relative_to(packages).as_posix()
        unused = any(inside == folder or inside.startswith(f"{folder}/") for folder in NOT_SERVED)
        tests = path.is_dir() and path.name == "tests"
        if tests or (path.is_file() and path.suffix in NO_USE) or (unused and inside not in USED):
            if path.is_dir() and (tests or not any(path.iterdir())):
                shutil.rmtree(path)
            elif path.is_file():
                path.unlink()
    for library in STRIPPED:
        if (packages / library).exists():
            # Debian's binutils have this name on every machine, binutils-aarch64-linux-gnu on a foreign one too.
            strip = f"{architecture.machine()}-linux-gnu-strip"
            subprocess.run([strip, "--strip-unneeded", str(packages / library)], check=True)


def _remove_build_paths(venv: Path) -> None:
    # Nobody types at these environments: neither activate nor console scripts, whose first lines
    # hold the build's path.
    for path in (venv / "bin").iterdir():
        if not path.is_symlink():
            path.unlink()
    for folder in ("include", "share", "etc"):
        shutil.rmtree(venv / folder, ignore_errors=True)
    (venv / ".lock").unlink(missing_ok=True)
    for path in (venv / PACKAGES).rglob("*"):
        if path.name in RECORDS and path.parent.suffix == ".dist-info":
            path.unlink()
    (venv / PACKAGES / "distutils-precedence.pth").unlink(missing_ok=True)
    for path in venv.rglob("*"):
        if not path.is_symlink():
            runs = path.is_dir() or (os.access(path, os.X_OK) and _is_program(path))
            path.chmod(0o755 if runs else 0o644)


def _link_interpreter(venv: Path, final: str) -> None:
    """Point the environment, which is installed at ``final``, to the interpreter of taos-tsfm-python."""
    program = Path(interpreter.PREFIX, interpreter.PROGRAM)
    text = f"home = {program.parent}\ninclude-system-site-packages = false\nversion = 3.11\n"
    (venv / "pyvenv.cfg").write_text(text)
    relative = os.path.relpath(program, Path(final, "bin"))
    for name, target in {"python3.11": relative, "python3": "python3.11", "python": "python3.11"}.items():
        (venv / "bin" / name).unlink(missing_ok=True)
        (venv / "bin" / name).symlink_to(target)


def _is_program(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(4)
    return start == b"\x7fELF" and not re.search(r"\.so(\.|$)", path.name)


def _compile(venv: Path, final: str) -> None:
    """Compiled modules that are valid whatever date unpacking gives, and that name the final path."""
    command = [python(), "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash"]
    # A module in another language level, data of some tool, cannot be compiled; nothing imports it.
    subprocess.run([*command, "-s", str(venv), "-p", final, str(venv / "lib")], stdout=subprocess.DEVNULL)
    if subprocess.run(["grep", "-rlF", str(venv), str(venv)]).returncode == 0:
        raise SystemExit(f"{venv}: the files above hold the build's path")


def _date(venv: Path) -> None:
    for path in [venv, *venv.rglob("*")]:
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
