"""The keys of our units, and since which systemd each is known."""

from __future__ import annotations

import re

from host.repository import ROOT

UNITS = ROOT / "packaging" / "systemd"
# RHEL 8's; older ones know too few of the keys.
OLDEST_SYSTEMD = 239
# Later keys, by the version that brought them (systemd's NEWS). A systemd that does not know a key says so and goes on.
SINCE = {
    "WatchdogSignal": 240,
    "ProtectHostname": 242,
    "RestrictSUIDSGID": 242,
    "OOMPolicy": 243,
    "ProtectKernelLogs": 244,
    "ProtectClock": 245,
    "ProcSubset": 247,
    "ProtectProc": 247,
}
# What the oldest one knows.
WORDS = """
After AmbientCapabilities Before CapabilityBoundingSet ConditionPathExists Description Documentation Environment
ExecReload ExecStart ExecStartPost ExecStartPre ExecStopPost FileDescriptorStoreMax Group IPAddressAllow
IPAddressDeny KillMode KillSignal LimitCORE LimitNOFILE LockPersonality MemoryDenyWriteExecute Nice NoNewPrivileges
NotifyAccess OOMScoreAdjust PartOf PathChanged PrivateDevices PrivateMounts PrivateTmp PrivateUsers
ProtectControlGroups ProtectHome ProtectKernelModules ProtectKernelTunables ProtectSystem ReadWritePaths
RemoveIPC Restart RestartPreventExitStatus RestartSec RestrictAddressFamilies RestrictNamespaces
RestrictRealtime RuntimeDirectory RuntimeDirectoryMode StartLimitBurst StartLimitIntervalSec SuccessExitStatus
SyslogIdentifier SystemCallArchitectures SystemCallErrorNumber SystemCallFilter TasksMax TimeoutStartSec
TimeoutStopSec Type UMask User WantedBy Wants WatchdogSec WorkingDirectory
"""
KNOWN = frozenset(WORDS.split())


def keys(unit: str) -> set[str]:
    """The keys of one of our units."""
    return set(re.findall(r"^([A-Z]\w+)=", (UNITS / unit).read_text(), re.MULTILINE))


def newer_keys(unit: str) -> set[str]:
    """Those that the oldest systemd does not know."""
    return keys(unit) - KNOWN
