"""The configuration of haproxy for a balancer; every directive in it is known to haproxy 2.4 and newer."""

from __future__ import annotations

import json
from pathlib import Path
from string import Template

from tsfm import card
from tsfm.card import Card
from tsfm.fleet.balancer import Balancer
from tsfm.settings import authority
from tsfm.tdgpt.endpoints import OURS

MARK = "X-Tsfm-Balancer"  # the header by which a balancer knows a request that another one, or itself, has passed on
BEYOND_DEADLINE_S = 5  # a host answers 504 by itself at its deadline; one that does not even do that is given up
QUEUE_S = 30  # a request waits so long for a place at a host

# What haproxy says by itself, in the service's own form. What is no HTTP gets haproxy's own 400.
WORDS = {
    408: "the request did not arrive in time",
    500: "the balancer failed",
    502: "the host ended before it had answered, and so did the one that was asked next",
    503: "no host is ready",
    504: "no host has answered in time",
    508: "a balancer asks a balancer: in [balancer], expected hosts that serve",
}
RETRY_AFTER_S = 5
RELEASE = Path(__file__).with_name("release.lua")

HEAD = Template("""\
# Written by `tsfm balancer apply` from [balancer] in tsfm.ini: a change here is lost with the next one.
global
    maxconn 1000
    # What does not fit into a buffer is passed on while it comes in, and cannot be asked again.
    tune.bufsize $bufsize
    # After a reload, the old process ends its connections within this time.
    hard-stop-after ${stop_s}s
    # What a frozen host holds is asked on another one.
    lua-load $release
    # No level above error: an emergency is shown on every terminal.
    log /dev/log daemon info err
    log-tag tsfm-balancer
defaults
    mode http
    # Hosts that come and go, and requests that failed or were asked twice; never a request's data.
    log global
    option httplog
    option dontlog-normal
    # This is also the pause before a request goes to another host.
    timeout connect 300ms
    timeout check 1s
    timeout http-request 30s
    timeout client ${stop_s}s
    timeout http-keep-alive 120s
    timeout queue ${queue_s}s
    # A forecast changes nothing, so it may be asked twice, but not more often: it may be the reason why a host dies.
    # 500 and 504 are never asked again, for the same reason. Clients send header and body apart: without the buffer a
    # request that has begun to go to a host could not be sent to another one.
    option http-buffer-request
    option redispatch 1
    retries 1
    retry-on conn-failure empty-response junk-response 503
    # A host without power or cable says nothing: after 3 + 3 x 1 s of silence its requests go to another one.
    option srvtcpka
    srvtcpka-idle 3s
    srvtcpka-intvl 1s
    srvtcpka-cnt 3
    # A client that has left gives its place back.
    option abortonclose
    # After a reload, the old process closes a connection with its next answer, not under a client that is about to ask.
    option idle-close-on-response
    option http-keep-alive
    http-reuse safe
$errors
""")

FAMILY = Template("""
frontend $name
    bind $listen
$rules
    http-request set-header $mark 1
    default_backend $name
backend $name
    balance leastconn
    timeout server ${server_s}s
    option httpchk
    http-check send meth GET uri $prefix/readyz ver HTTP/1.1 hdr Host $name hdr $mark 1
$fleet\
    default-server check inter ${check_s}s fastinter 250ms downinter 500ms fall 2 rise 1 maxconn $queue
    # A host that refuses a connection has the fewest requests, so it would get each next one until it is checked again:
    # if two have died, a request would go from one to the other and be lost. It is back with the next check it passes.
    default-server observe layer4 error-limit 1 on-error mark-down
$servers
""")


# Nodes of a fleet take all families at one port, by the beginning of the path. What Ray says there by itself, such as
# that no replica is up, is in a form that is not ours. It says 404 where it does not know the family yet, for a moment
# after it was deployed: nothing has seen the request then, and another node is asked.
FLEET = Template("""\
    http-request set-path $prefix%[path]
    retry-on conn-failure empty-response junk-response 404 503
    acl ours res.hdr(Content-Type) -m beg application/json
    http-response return status 503 $answer if { status 404 500 502 503 504 } !ours
    http-response del-header X-Request-ID
    http-response set-header Server $server
""")


def configuration(balancer: Balancer) -> str:
    """The text of haproxy's configuration file."""
    deadline_s = max(int(chosen.deadline_s) for chosen in balancer.families.values())
    head = HEAD.substitute(
        bufsize=balancer.buffer_kib << 10,
        stop_s=deadline_s + 3 * BEYOND_DEADLINE_S,
        queue_s=QUEUE_S,
        release=RELEASE,
        errors="\n".join(f"    {_error(status)}" for status in WORDS if status != 508),
    )
    return head + "".join(_family(balancer, card.read(name)) for name in balancer.families)


def _family(balancer: Balancer, family: Card) -> str:
    chosen, port = balancer.families[family.name], balancer.host_port(family)
    return FAMILY.substitute(
        name=family.name,
        listen=authority(balancer.listen, balancer.port(family)),
        rules="\n".join(f"    {line}" for line in [*_guards(balancer), *map(_probe, family.paths)]),
        mark=MARK,
        prefix=balancer.prefix(family),
        fleet=_fleet(balancer.prefix(family)) if balancer.fleet_port else "",
        server_s=int(chosen.deadline_s) + BEYOND_DEADLINE_S,
        check_s=balancer.check_s,
        queue=chosen.queue,
        servers="\n".join(f"    server {host} {authority(host, port)}" for host in balancer.hosts),
    )


def _fleet(prefix: str) -> str:
    return FLEET.substitute(prefix=prefix, server=OURS, answer=_answer(WORDS[503], Retry_After=str(RETRY_AFTER_S)))


def _guards(balancer: Balancer) -> list[str]:
    """Who is refused: clients of other networks, and balancers, since requests would go round in circles."""
    guards = [f"http-request return status 508 {_answer(WORDS[508])} if {{ req.hdr({MARK}) -m found }}"]
    if balancer.allow:
        guards.insert(0, f"tcp-request connection reject unless {{ src {' '.join(map(str, balancer.allow))} }}")
    return guards


def _probe(path: str) -> str:
    """The answer to TDgpt's probe, which waits 100 ms: the service's own, with or without a host that is up."""
    answer = _answer(f"GET {path}: Method Not Allowed", Allow="POST")
    return f"http-request return status 405 {answer} if METH_GET {{ path {path} }}"


def _error(status: int) -> str:
    more = {"Retry_After": str(RETRY_AFTER_S)} if status == 503 else {}
    return f"http-error status {status} {_answer(WORDS[status], **more)}"


def _answer(sentence: str, **headers: str) -> str:
    """The part of a directive that describes an answer in the service's form."""
    body = json.dumps({"status": "error", "error": sentence}, separators=(",", ":")) + "\n"
    given = "".join(f" hdr {name.replace('_', '-')} {value}" for name, value in {"Server": OURS, **headers}.items())
    # Between double quotes, haproxy takes the same escapes as JSON.
    return f"content-type application/json{given} string {json.dumps(body)}"
