"""What lies between us and the hub: other clients on the host, proxies, redirects, tokens, odd servers."""

from __future__ import annotations

import hashlib
import json
import os
import select
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tsfm import card
from tsfm.weights import hub as hub_module
from weights.conftest import MODEL, SRC, Box, model
from weights.hub import REVISION, Hub

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
WEIGHTS = "model.safetensors"
MARK = (
    "import pathlib, os; pathlib.Path(os.environ['MARK']).touch(); raise ImportError('httpx is needed: this is 1.x')\n"
)


@pytest.fixture
def planted(box: Box, tmp_path: Path) -> Path:
    """A broken huggingface_hub, requests, and a tsfm of somebody else's; returns what an import of one would make."""
    home = tmp_path / "home"
    for folder in (tmp_path / "planted", home / ".local/lib/python3.11/site-packages"):
        for name in ("huggingface_hub", "requests", "httpx"):
            (folder / name).mkdir(parents=True)
            (folder / name / "__init__.py").write_text(f"__version__ = '1.2.3'\n{MARK}")
    box.env |= {"MARK": str(tmp_path / "mark"), "HOME": str(home)}
    return tmp_path / "mark"


def test_a_client_of_the_next_major_version_is_not_even_looked_at(box: Box, planted: Path) -> None:
    box.env["PYTHONPATH"] = f"{planted.parent / 'planted'}{os.pathsep}{SRC}"
    done = box.tsfm("pull", "chronos")
    assert done.returncode == 0, done.stderr
    assert not planted.exists()


def installed_command(tmp_path: Path) -> Path:
    command = tmp_path / "tsfm"
    text = (ROOT / "packaging/bin/tsfm").read_text().replace("/usr/lib/taos-tsfm/lib", SRC)
    command.write_text(text.replace("/usr/lib/taos-tsfm/python/bin/python3.11", sys.executable, 1))
    command.chmod(0o755)
    return command


def test_the_installed_command_downloads_without_any_client_and_heeds_no_pythonpath(
    box: Box, planted: Path, tmp_path: Path, hub: Hub
) -> None:
    (planted.parent / "planted" / "tsfm").mkdir()
    (planted.parent / "planted" / "tsfm" / "__init__.py").write_text(MARK)
    (planted.parent / "planted" / "sitecustomize.py").write_text(MARK)
    box.env["PYTHONPATH"] = str(planted.parent / "planted")
    command = [str(installed_command(tmp_path)), "pull", "chronos", "--revision", REVISION]
    done = subprocess.run(command, env=box.env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (box.weights / WEIGHTS).read_bytes() == hub.models[MODEL][WEIGHTS]
    assert not planted.exists()
    assert not list((tmp_path / "box").rglob("__pycache__"))


def test_pull_needs_no_package_at_all(box: Box, hub: Hub) -> None:
    program = f"import sys; sys.path.insert(0, {SRC!r}); from tsfm.cli.main import main; sys.exit(main())"
    command = ["/usr/bin/python3.11", "-I", "-S", "-c", program, "pull", "chronos", "--revision", REVISION]
    done = subprocess.run(command, env=box.env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (box.weights / WEIGHTS).read_bytes() == hub.models[MODEL][WEIGHTS]


THEIRS = """
import json, sys
from huggingface_hub import get_hf_file_metadata, hf_hub_download
address, model, folder, *names = sys.argv[1:]
found = [get_hf_file_metadata(f"{address}/{model}/resolve/main/{name}", endpoint=address) for name in names]
for name in names:
    hf_hub_download(model, name, endpoint=address, local_dir=folder)
print(json.dumps([[each.commit_hash, each.etag, each.size] for each in found]))
"""


def test_the_official_client_reads_the_same_of_the_hub(
    box: Box, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    offered = hub_module.offer(hub.url, card.read("chronos").checkpoints[0], "main")
    command = [sys.executable, "-c", THEIRS, hub.url, MODEL, str(tmp_path), "config.json", WEIGHTS]
    done = subprocess.run(command, env=box.env, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[offered.revision, each.digest, each.size] for each in offered.files]
    for each in offered.files:
        assert (tmp_path / each.name).read_bytes() == hub.models[MODEL][each.name]


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """A server of one's own: ``answer`` handles every request."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    for method in ("do_GET", "do_HEAD", "do_CONNECT"):
        setattr(Handler, method, answer)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def refuse(status: int) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


@pytest.mark.parametrize(
    ("status", "said"), [(403, "the proxy refuses the connection (403)"), (407, "a password (407)")]
)
def test_a_proxy_that_refuses_is_told_from_the_hub(box: Box, status: int, said: str) -> None:
    del box.env["HF_ENDPOINT"]
    with serving(refuse(status)) as proxy:
        box.env["HTTPS_PROXY"] = proxy.replace("http://", "http://me:secret@")
        done = box.tsfm("pull", "chronos")
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1
    assert f"https://huggingface.co cannot be reached through the proxy {proxy}: " in last
    assert said in last
    assert "secret" not in done.stderr


@pytest.mark.parametrize("variable", ["ALL_PROXY", "HTTPS_PROXY", "all_proxy"])
def test_a_socks_proxy_is_named_with_the_way_out(box: Box, variable: str) -> None:
    del box.env["HF_ENDPOINT"]
    box.env[variable] = "socks5h://127.0.0.1:1080"
    done = box.tsfm("pull", "chronos")
    assert done.returncode == 78
    assert (
        "the environment names a proxy socks5h://... that tsfm cannot use: set HTTPS_PROXY to an HTTP proxy"
        in done.stderr
    )


def test_a_proxy_carries_the_requests(box: Box, hub: Hub) -> None:
    seen: list[str] = []

    def carry(handler: BaseHTTPRequestHandler) -> None:
        seen.append(handler.path)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(handler.path, method=handler.command)
        with opener.open(request) as response:
            body = response.read()
            handler.send_response(response.status)
            for key, value in response.headers.items():
                handler.send_header(key, value)
            handler.end_headers()
            handler.wfile.write(body)

    with serving(carry) as proxy:
        hub._big = ()  # one host only
        box.env |= {"HTTP_PROXY": proxy, "NO_PROXY": "192.0.2.0/24,example.org"}
        done = box.tsfm("pull", "chronos")
    assert done.returncode == 0, done.stderr
    assert [path.rpartition("/")[2] for path in seen] == ["config.json", WEIGHTS] * 2


@pytest.mark.parametrize("listed", ["127.0.0.1,127.0.0.2", "127.0.0.0/8", "*"])
def test_addresses_and_networks_of_no_proxy_go_without_one(box: Box, listed: str) -> None:
    box.env |= {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": listed}
    done = box.tsfm("pull", "chronos")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("address", ["huggingface.co", "ftp://example.org", "http://", "http://example.org:port"])
def test_an_address_that_is_none_is_refused_in_words(box: Box, address: str) -> None:
    box.env["HF_ENDPOINT"] = address
    done = box.tsfm("pull", "chronos")
    assert done.returncode == 78
    assert repr(address)[1:-1] in done.stderr
    assert "expected an address" in done.stderr


def test_a_password_in_an_address_is_refused_and_not_repeated(box: Box) -> None:
    box.env["HF_ENDPOINT"] = "https://me:secret@example.org"
    done = box.tsfm("pull", "chronos")
    assert done.returncode == 78
    assert "https://example.org: expected an address without a user name and a password" in done.stderr
    assert "secret" not in done.stderr


def test_a_server_that_speaks_no_http_is_told_so(box: Box) -> None:
    def babble(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"220 smtp.example.org ready\r\n")

    with serving(babble) as address:
        box.env["HF_ENDPOINT"] = address
        done = box.tsfm("pull", "chronos")
    assert done.returncode == 1
    assert f"{address} answers, but not in HTTP" in done.stderr


def test_a_circle_of_redirects_ends(box: Box) -> None:
    def around(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", handler.path)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with serving(around) as address:
        box.env["HF_ENDPOINT"] = address
        done = box.tsfm("pull", "chronos")
    assert done.returncode == 1
    assert "redirected more than 5 times" in done.stderr


def test_a_model_that_has_moved_is_followed_with_the_token(box: Box, hub: Hub) -> None:
    asked: list[str] = []

    def move(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.headers.get("Authorization", ""))
        handler.send_response(307)
        handler.send_header("Location", f"{hub.url}{handler.path}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    box.env["HF_TOKEN"] = "hf_secret"
    with serving(move) as address:
        box.env["HF_ENDPOINT"] = address
        done = box.tsfm("pull", "chronos")
    assert done.returncode == 0, done.stderr
    assert set(asked) == {"Bearer hf_secret"}
    assert {request.token for request in hub.requests} == {""}  # another host


def test_the_token_is_found_where_the_official_client_keeps_it(box: Box, hub: Hub, tmp_path: Path) -> None:
    Path(box.env["HF_HOME"]).mkdir()
    (Path(box.env["HF_HOME"]) / "token").write_text("hf_kept\n")
    assert box.tsfm("pull", "chronos").returncode == 0
    assert "Bearer hf_kept" in {request.token for request in hub.requests}
    assert {request.token for request in hub.requests if request.at_cdn} == {""}


def test_a_server_that_cannot_go_on_begins_again(box: Box, hub: Hub) -> None:
    content = hub.models[MODEL]
    spans: list[str] = []

    def whole(handler: BaseHTTPRequestHandler) -> None:
        name = handler.path.rpartition("/")[2]
        if handler.command == "GET":
            spans.append(handler.headers.get("Range", ""))
        body = content[name]
        handler.send_response(200)
        for key, value in {"X-Repo-Commit": REVISION, "ETag": f'W/"{git_blob(body)}"'}.items():
            handler.send_header(key, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(body[: 1_000_000 if len(spans) == 2 else None])

    with serving(whole) as address:
        box.env["HF_ENDPOINT"] = address
        done = box.tsfm("pull", "chronos")
    assert done.returncode == 0, done.stderr
    assert spans[:2] == ["", ""]
    assert spans[2].startswith("bytes=")
    assert (box.weights / WEIGHTS).read_bytes() == content[WEIGHTS]


def git_blob(body: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


def test_a_beginning_of_another_commits_file_is_not_gone_on_with(box: Box, hub: Hub) -> None:
    part = box.root / ".partial-chronos-bolt-tiny"
    part.mkdir(parents=True)
    (part / f"{WEIGHTS}.{'ab' * 8}.part").write_bytes(bytes(2_000_000))
    (part / ".cache").mkdir()
    (part / ".cache" / "x.incomplete").write_bytes(bytes(1000))
    hub.models[MODEL] = model(seed=7)
    assert box.tsfm("pull", "chronos").returncode == 0
    assert (box.weights / WEIGHTS).read_bytes() == hub.models[MODEL][WEIGHTS]
    assert sorted(path.name for path in box.weights.iterdir()) == ["config.json", WEIGHTS, "tsfm-manifest.json"]


@pytest.mark.parametrize("value", ["0", "soon", "-1"])
def test_a_timeout_that_is_none_is_refused(box: Box, value: str) -> None:
    box.env["HF_HUB_DOWNLOAD_TIMEOUT"] = value
    done = box.tsfm("pull", "chronos")
    assert done.returncode == 78
    assert f"HF_HUB_DOWNLOAD_TIMEOUT: expected seconds above 0, got {value!r}" in done.stderr


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for localhost that nobody has signed, with its key in the same file."""
    path = tmp_path / "localhost.pem"
    words = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", *words, *names, "-keyout", str(path), "-out", str(tmp_path / "only.pem")]
    subprocess.run(command, check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + (tmp_path / "only.pem").read_bytes())
    return path


@contextmanager
def tls(hub: Hub, certificate: Path) -> Iterator[str]:
    """The hub behind TLS, and the file hosts with it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    for server in hub._servers:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    hub._big = ()  # the other address has another name than the certificate's
    yield f"https://localhost:{hub._servers[0].server_port}"


def test_a_certificate_that_nobody_signed_is_refused_and_one_of_ones_own_can_be_named(
    box: Box, hub: Hub, certificate: Path
) -> None:
    with tls(hub, certificate) as address:
        box.env["HF_ENDPOINT"] = address
        refused = box.tsfm("pull", "chronos")
        box.env["REQUESTS_CA_BUNDLE"] = str(certificate.parent / "only.pem")
        done = box.tsfm("pull", "chronos")
        box.env["REQUESTS_CA_BUNDLE"] = str(certificate.parent / "nowhere.pem")
        lost = box.tsfm("pull", "chronos", "1")
    assert refused.returncode == 1
    assert f"{address}: its certificate is not accepted (self-signed certificate)" in refused.stderr
    assert done.returncode == 0, done.stderr
    assert (box.weights / WEIGHTS).read_bytes() == hub.models[MODEL][WEIGHTS]
    assert lost.returncode == 78
    assert "REQUESTS_CA_BUNDLE" in lost.stderr


def test_a_proxy_is_asked_for_a_tunnel_and_sees_no_token(box: Box, hub: Hub, certificate: Path) -> None:
    asked: list[str] = []
    heard: list[bytes] = []

    def tunnel(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.requestline)
        heard.append(bytes(handler.headers))
        with socket.create_connection(("127.0.0.1", hub._servers[0].server_port)) as there:
            handler.send_response(200)
            handler.end_headers()
            ends = {there: handler.connection, handler.connection: there}
            while ends:
                for one in select.select(list(ends), [], [], 30)[0]:
                    block = one.recv(65536)
                    heard.append(block)
                    if not block:
                        return
                    ends[one].sendall(block)

    with tls(hub, certificate) as address, serving(tunnel) as proxy:
        environment = {"HTTPS_PROXY": proxy, "HF_TOKEN": "hf_secret", "NO_PROXY": "example.org"}
        box.env |= environment | {"HF_ENDPOINT": address, "REQUESTS_CA_BUNDLE": str(certificate.parent / "only.pem")}
        done = box.tsfm("pull", "chronos")
    assert done.returncode == 0, done.stderr
    assert len(asked) == 4
    assert {line.split()[:2] == ["CONNECT", address.removeprefix("https://")] for line in asked} == {True}
    assert b"hf_secret" not in b"".join(heard)
    assert {request.token for request in hub.requests} == {"Bearer hf_secret"}
