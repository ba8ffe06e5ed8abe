"""A key that leads to another model's port is named, by `tsfm register` and by `tsfm doctor`, wherever it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tdgpt.host import SAMPLES, Host
from tsfm.tdgpt import conflicts, endpoints, reconcile

FLAT = (SAMPLES / "g3flat.config.py").read_text()


def configured(host: Host, generation: str, text: str | None = None) -> Path:
    config = host.tdgpt(generation)
    if text is not None:
        config.write_text(text)
    return config


@pytest.mark.parametrize("generation", ["G1", "G2", "G3", "G3flat", "G4"])
@pytest.mark.parametrize("families", [["timesfm", "moment"], ["timesfm"], ["fracast", "moment", "chronos"]])
def test_our_own_ports_are_free_of_tdgpts_in_every_generation(families: list[str], generation: str, host: Host) -> None:
    configured(host, generation)
    host.install(*families)
    assert reconcile.register().conflicts == []


OLD = "[timesfm]\nport = 6061\n[moment]\nport = 6062\n"
CASES = {
    "ini": (
        "G2",
        "[tsfm-service]\ntdtsfm_1 = http://localhost:6061/tdtsfm\ntimemoe-fc=http://127.0.0.1:6062/x\n",
        "timemoe-fc",
    ),
    "flat keys": ("G3", FLAT, "timemoe_fc"),
    "globals": ("G3", FLAT + "globals()['timemoe-fc'] = timemoe_fc = 'http://0.0.0.0:6062/ds_predict'\n", "timemoe-fc"),
    "models": ("G4", None, "timemoe_fc"),
    "models without a name": ("G4", "models = {'tdtsfm_1': {'port': 6061}, 'timemoe': {'port': 6062}}", "timemoe"),
    "a later line": ("G4", (SAMPLES / "g4.config.py").read_text() + "models.update(mine={'port': 6062})\n", "mine"),
    "a key of nobody": (
        "G2",
        "[tsfm-service]\ntdtsfm_1=http://127.0.0.1:6061/x\nmine = 127.0.0.1:6062/ds_predict\n",
        "mine",
    ),
}


@pytest.mark.parametrize(("generation", "text", "second"), CASES.values(), ids=CASES)
def test_a_key_at_a_port_of_ours_is_named_with_what_to_do(
    generation: str, text: str | None, second: str, host: Host
) -> None:
    configured(host, generation, text)
    host.install("timesfm", "moment")
    host.settings.write_text(OLD)
    done = host.tsfm("register", "--no-restart", "--no-update")
    assert done.returncode == 0
    for key, family, port in (("tdtsfm_1", "timesfm", 6061), (second, "moment", 6062)):
        (line,) = [row for row in done.stderr.splitlines() if f"{key} = " in row and "is kept" not in row]
        assert f":{port}" in line
        assert f"has the port of {family} of taos-tsfm, so SQL's algo={key} gets its forecasts or none" in line
        assert f"set another port in [{family}] of tsfm.ini, or correct {key}" in line
    said = host.tsfm("doctor")
    assert said.returncode == 1
    broken = [row for row in said.stdout.splitlines() if row.startswith("broken   registration")]
    assert any("tdtsfm_1 = " in row and "; set another port in [timesfm]" in row for row in broken)
    assert any(f"{second} = " in row and "; set another port in [moment]" in row for row in broken)


def test_with_tdgpts_models_of_ours_as_well_nothing_clashes_any_more(host: Host) -> None:
    configured(host, "G4")
    host.install("timesfm", "moment", "tdtsfm", "timemoe")
    host.settings.write_text(OLD)
    assert reconcile.register().conflicts == []


def test_two_families_of_ours_at_one_port_are_told(host: Host) -> None:
    configured(host, "G2")
    host.install("fracast", "chronos")
    host.settings.write_text("[DEFAULT]\nport = 7007\n")
    (told,) = reconcile.register().conflicts
    assert "has the port of chronos of taos-tsfm, so SQL's algo=fracast" in told


def test_two_keys_of_others_at_one_port_are_told(host: Host) -> None:
    config = configured(
        host, "G2", "[tsfm-service]\none = http://10.0.0.1:80/a\ntwo = http://10.0.0.1/b\nthree = http://10.0.0.2/b\n"
    )
    host.install("fracast")
    assert reconcile.register().conflicts == [
        f"{config}: one and two both use 10.0.0.1:80, so SQL gets the same model for both; "
        "correct one of them and run: systemctl restart taosanoded"
    ]


def test_an_adapters_own_address_counts_where_the_configuration_has_none(host: Host) -> None:
    config = configured(host, "G2")
    adapter = host.code / "algo/fc/theirs.py"
    adapter.write_text(
        "class _TheirService(TsfmBaseService):\n    name = 'theirs'\n    def __init__(self):\n"
        "        if not self.service_host:\n            self.service_host = 'http://127.0.0.1:6076/ds_predict'\n"
    )
    (host.code / "algo/fc/broken.py").write_text("class :\n")
    host.install("fracast")
    (told,) = reconcile.register().conflicts
    assert "theirs = http://127.0.0.1:6076/ds_predict has the port of fracast of taos-tsfm" in told
    config.write_text(config.read_text() + "[tsfm-service-2]\n")
    text = config.read_text().replace("[tsfm-service]\n", "[tsfm-service]\ntheirs = http://127.0.0.1:7000/x\n")
    config.write_text(text)
    assert reconcile.register().conflicts == []


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://127.0.0.1:6061/x", ("here", 6061)),
        ("http://LOCALHOST:6061", ("here", 6061)),
        ("http://[::1]:6061/x", ("here", 6061)),
        ("http://127.1.2.3:1/", ("here", 1)),
        ("https://far.example/x", ("far.example", 443)),
        ("127.0.0.1:6061/x", ("here", 6061)),
        ("http://127.0.0.1:99999/x", None),
        ("http://[::1/x", None),
        ("nonsense", ("nonsense", 80)),
        ("", None),
        ("ftp://a/b", None),
    ],
)
def test_addresses_are_compared_by_host_and_port(url: str, place: tuple[str, int] | None) -> None:
    assert conflicts._location(url) == place


def test_a_family_on_another_host_clashes_with_nothing_here(host: Host) -> None:
    configured(host, "G4")
    host.install("timesfm")
    host.settings.write_text("[timesfm]\nhost = 10.0.0.5\nport = 6061\n")
    assert reconcile.register().conflicts == []
    assert endpoints.of("timesfm").url == "http://10.0.0.5:6061/ds_predict"
