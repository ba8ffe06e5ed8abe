"""Run inside the service's sandbox by the test beside it: tries what must not be possible, prints what came of it.

Standard library only: the container's own Python runs it.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

OUTSIDE = ("192.0.2.1", 9009)  # the container's own, but not loopback
SETUID = "/srv/whoami"  # a copy of id(1) that belongs to root and has the setuid bit
libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> None:
    """A function of libc; fails as it says."""
    if getattr(libc, name)(*arguments) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def write(folder: str) -> Callable[[], object]:
    return lambda: Path(folder, "probe").write_text("x")


def connect(family: int, address: object) -> None:
    with socket.socket(family) as client:
        client.settimeout(3)
        client.connect(address)


def become_root() -> None:
    answer = subprocess.run([SETUID, "-u"], capture_output=True, text=True, check=True).stdout.strip()
    if answer != "0":
        raise PermissionError(f"still user {answer}")


def see_others() -> None:
    own = os.getuid()
    others = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit() and entry.stat().st_uid != own]
    if not others:
        raise PermissionError("only its own processes are there")


CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWPID = 0x20000, 0x10000000, 0x40000000, 0x20000000
PTRACE_ATTACH, INIT_MODULE, BPF, KEXEC_LOAD = 16, 175, 321, 246
FOLDERS = ["/", "/usr", "/usr/lib/taos-tsfm", "/etc", "/etc/taos", "/var", "/var/lib/taos/taosanode/model", "/var/log"]
FOLDERS += ["/home", "/root", "/srv", "/run", "/boot", "/sys/fs/cgroup", "/dev"]

ATTEMPTS: dict[str, Callable[[], object]] = {
    **{f"write to {folder}": write(folder) for folder in FOLDERS},
    "change the kernel's settings": lambda: Path("/proc/sys/kernel/panic").open("r+").close(),
    "change the settings": lambda: Path("/etc/taos/tsfm.ini").open("a").close(),
    "read root's home": lambda: os.listdir("/root"),
    "read the passwords": lambda: Path("/etc/shadow").read_bytes(),
    "read the environment of the first process": lambda: Path("/proc/1/environ").read_bytes(),
    "reach the first process's files": lambda: os.listdir("/proc/1/root/"),
    "see the processes of others": see_others,
    "signal the first process": lambda: os.kill(1, 0),
    "connect to another host": lambda: connect(socket.AF_INET, OUTSIDE),
    "open a raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close(),
    "open a packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close(),
    "open a netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close(),
    "become root by a setuid program": become_root,
    "become root by asking": lambda: os.setuid(0),
    "make a file setuid": lambda: (Path("/tmp/s").touch(), os.chmod("/tmp/s", 0o4755)),
    "make a user namespace": lambda: call("unshare", CLONE_NEWUSER),
    "make a mount namespace": lambda: call("unshare", CLONE_NEWNS),
    "make a network namespace": lambda: call("unshare", CLONE_NEWNET),
    "make a process namespace": lambda: call("unshare", CLONE_NEWPID),
    "mount": lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None),
    "leave by chroot": lambda: os.chroot("/tmp"),
    "trace a process": lambda: call("ptrace", PTRACE_ATTACH, os.getppid(), None, None),
    "load a module": lambda: call("syscall", INIT_MODULE, b"", 0, b""),
    "load a kernel": lambda: call("syscall", KEXEC_LOAD, 0, 0, None, 0),
    "load a BPF program": lambda: call("syscall", BPF, 0, None, 0),
    "make a device": lambda: os.mknod("/tmp/sda", 0o60600, os.makedev(8, 0)),
    "open a device": lambda: Path("/dev/kmsg").open("rb").close(),
    "set the clock": lambda: call("settimeofday", (ctypes.c_long * 2)(0, 0), None),
    "set the host's name": lambda: call("sethostname", b"x", 1),
    "take precedence": lambda: os.setpriority(os.PRIO_PROCESS, 0, -5),
    "run in real time": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
    "execute another architecture": lambda: call("personality", 8),
}
# What the sandbox does not show at all: there it is right that nothing is found.
HIDDEN = {"read the environment of the first process", "reach the first process's files", "open a device"}
ALLOWED: dict[str, Callable[[], object]] = {
    "write to its own /tmp": write("/tmp"),
    "listen": lambda: socket.create_server(("127.0.0.1", 0)).close(),
    "connect to this host": lambda: connect(socket.AF_INET, ("127.0.0.1", 9009)),
}


def outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return f"refused: {error.strerror or error}"
    return "done"


if __name__ == "__main__":
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    privileges = {key: status[key].strip() for key in ("CapEff", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp")}
    found = {name: outcome(attempt) for name, attempt in (ALLOWED | ATTEMPTS).items()}
    print("probe:", json.dumps(found | {"privileges": privileges}))
    sys.exit(0)
