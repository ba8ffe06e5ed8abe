"""Run the families on a fleet of hosts that Ray holds together: [fleet] in tsfm.ini."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict

from tsfm.cli.output import columns
from tsfm.errors import ConfigError, UsageError
from tsfm.fleet import applications, cluster, drain, head, membership, ray_node
from tsfm.fleet.cluster import Fleet
from tsfm.settings import FLEET, path

_EPILOG = """\
init ADDRESS makes this host the head, and the token that all hosts share. join HEAD makes it a node. apply, on the
head, deploys the families of which a node has the weights, with the settings of the head's tsfm.ini; run it again after
a change, after an update of the packages, and after a host has joined or left. status, on the head, shows hosts and
families. drain HOST, on the head, moves the replicas away from a host; leave stops this host's part. run is what the
units start. Exit status: 0 done; 1 failed, or with status: something is not ready; 75 the head does not answer; 78
tsfm.ini is wrong.
"""
UNITS = {"head": cluster.HEAD_UNIT, "node": cluster.NODE_UNIT}
ACTIONS = ("init", "join", "apply", "status", "drain", "leave", "run")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    parser.add_argument("action", metavar="ACTION", choices=ACTIONS, help=", ".join(ACTIONS))
    parser.add_argument(
        "host", metavar="HOST", nargs="?", help="of init, join and drain: an IP address; of run: a role"
    )
    parser.add_argument("--network", metavar="N", help="of init and join: the fleet's network, such as 10.0.0.0/24")
    parser.add_argument(
        "--dry-run", action="store_true", help="of apply: print what Ray Serve would get, change nothing"
    )
    parser.add_argument("--json", action="store_true", help="of status: print the facts as JSON")


def run(args: argparse.Namespace) -> int:
    if args.host and args.action not in ("init", "join", "drain", "run"):
        raise UsageError(f"fleet {args.action}: expected no HOST, got {args.host!r}")
    if args.action in ("init", "join"):
        return _begin(args)
    fleet = cluster.read()
    if fleet is None:
        raise ConfigError(f"{path()}: [{FLEET}] head: expected the address of the fleet's head, found none")
    if args.action in ("apply", "status", "drain") and not fleet.is_head:
        raise UsageError(
            f"fleet {args.action}: expected to run on the head, {fleet.head}; this host is {fleet.address}"
        )
    does: dict[str, Callable[[Fleet, argparse.Namespace], int]] = {
        "apply": _apply, "status": _status, "drain": _drain, "leave": _leave, "run": _run
    }  # fmt: skip
    return does[args.action](fleet, args)


def _begin(args: argparse.Namespace) -> int:
    if args.host:
        membership.configure(args.host, args.network)
    fleet = cluster.read()
    if fleet is None:
        what = "this host's address in the fleet's network" if args.action == "init" else "the address of the head"
        raise UsageError(f"fleet {args.action}: expected {what}, or head in [{FLEET}] of {path()}")
    if fleet.is_head != (args.action == "init"):
        other = "head is this host's own address: run tsfm fleet init"
        if not fleet.is_head:
            other = f"the head is {fleet.head}, and this host is {fleet.address}: run tsfm fleet join {fleet.head}"
        raise ConfigError(f"{path()}: [{FLEET}] {other}")
    if fleet.is_head and membership.make_token(fleet):
        print(f"{fleet.token_file}: made; copy it to every node, before the node joins")
    else:
        fleet.token()
        membership.protect(fleet)
    _say_lacking(ray_node.able(fleet))
    print(membership.begin(fleet))
    if fleet.is_head:
        print(f"next: on each node, tsfm fleet join {fleet.head}; then here, tsfm fleet apply")
    return 0


def _apply(fleet: Fleet, args: argparse.Namespace) -> int:
    nodes = head.nodes(fleet)
    made = applications.configuration(fleet, nodes)
    if args.dry_run:
        print(json.dumps(made, indent=2))
        return 0
    head.deploy(fleet, made)
    names = [str(one["name"]) for one in made["applications"]]  # type: ignore[attr-defined]
    for family in fleet.families:
        if family not in names:
            print(f"{family}: no node has its weights, so it is not served; the journal of a node says why")
    served = [node.address for node in nodes if node.state == "ALIVE" and node.families]
    print(
        f"{', '.join(names) or 'nothing'} on {', '.join(served) or 'no host'}: tsfm fleet status shows when it is ready"
    )
    return 0


def _status(fleet: Fleet, args: argparse.Namespace) -> int:
    nodes, found = head.nodes(fleet), head.applications(fleet)
    if args.json:
        print(
            json.dumps({"nodes": [asdict(one) for one in nodes], "families": [asdict(one) for one in found]}, indent=2)
        )
    else:
        rows = [(n.address, n.state.lower(), f"{n.cpus:g}", ", ".join(n.families) or "-") for n in nodes]
        print(columns.text([("HOST", "STATE", "CPUS", "HAS THE WEIGHTS OF"), *rows]))
        print(columns.text([("FAMILY", "STATE", "READY", "ON", "DETAIL"), *map(_row, found)]))
    return 0 if found and all(one.is_complete for one in found) else 1


def _row(one: head.Application) -> tuple[str, ...]:
    ready = one.running
    return (one.family, one.status.lower(), f"{len(ready)}/{one.wanted}", ", ".join(ready) or "-", one.message)


def _drain(fleet: Fleet, args: argparse.Namespace) -> int:
    if not args.host:
        raise UsageError("fleet drain: expected the address of a host, which tsfm fleet status shows")
    print(drain.drain(fleet, args.host))
    return 0


def _leave(fleet: Fleet, args: argparse.Namespace) -> int:
    print(membership.end(fleet))
    return 0


def _run(fleet: Fleet, args: argparse.Namespace) -> int:
    role = "head" if fleet.is_head else "node"
    if args.host not in (None, role):
        raise ConfigError(
            f"{path()}: [{FLEET}] head = {fleet.head}: {fleet.address} is a {role}; its unit is {UNITS[role]}"
        )
    families = ray_node.able(fleet)
    _say_lacking(families)
    ray_node.start(fleet, families)
    return 0


def _say_lacking(families: dict[str, str]) -> None:
    for family, lacking in families.items():
        if lacking:
            print(f"{family}: not served on this host: {lacking}", flush=True)
