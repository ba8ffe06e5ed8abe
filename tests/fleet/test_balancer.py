"""[balancer] of tsfm.ini: what fits together, and the sentence for what does not."""

from __future__ import annotations

import pytest

from tsfm import card
from tsfm.errors import ConfigError
from tsfm.fleet import balancer


@pytest.fixture
def ini(tmp_path):
    def write(text):
        path = tmp_path / "tsfm.ini"
        path.write_text(text)
        return path

    return write


def test_without_hosts_there_is_no_balancer(ini, tmp_path):
    assert balancer.read(tmp_path / "none.ini") is None
    assert balancer.read(ini("[balancer]\nfamilies = fracast\n")) is None


def test_the_port_of_a_family_is_one_for_the_balancer_and_all_hosts(ini):
    found = balancer.read(
        ini("[DEFAULT]\nqueue = 7\n[chronos]\nport = 7038\n[balancer]\nhosts = 10.0.0.11,\n  10.0.0.12 fd00::3\n"
            "families = chronos, fracast\n")
    )  # fmt: skip
    assert found.hosts == ("10.0.0.11", "10.0.0.12", "fd00::3")
    assert {name: found.port(card.read(name)) for name in found.families} == {"chronos": 7038, "fracast": 6076}
    assert found.families["chronos"].queue == 7
    assert (found.listen, found.allow, found.check_s, found.buffer_kib) == ("127.0.0.1", (), 1, 128)


HOSTS = "hosts = 10.0.0.11"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("hosts = alpha", "[balancer] hosts: expected an IP address such as 127.0.0.1 or 0.0.0.0, got 'alpha'"),
        ("hosts = 10.0.0.1 10.0.0.1", "[balancer] hosts: expected each host once, got 10.0.0.1 twice"),
        ("hosts = 0.0.0.0", "[balancer] hosts: expected addresses of hosts, got 0.0.0.0"),
        (HOSTS, "[balancer] families: expected the families to balance, since none is installed on this host"),
        (f"{HOSTS}\nfamilies = fracst", "[balancer] families: expected families among chronos, "),
        (f"{HOSTS}\nfamilies = fracst", "got 'fracst'; did you mean fracast?"),
        (f"{HOSTS}\nfamilies = fracast\nlisten = 10.0.0.11", "[balancer] listen: expected an address at which no"),
        (f"{HOSTS}\nfamilies = fracast\ncheck_s = 0", "[balancer] check_s: expected a whole number from 1 to 60"),
        (f"{HOSTS}\nfamilies = fracast\nretries = 5", "line 4: [balancer] retries: unknown key; known are hosts"),
        (f"{HOSTS}\nfamilies = fracast chronos\n[chronos]\nport = 6076", "fracast and chronos have the same port 6076"),
        (f"{HOSTS}\nfamilies = fracast\n[fracast]\nport = 80", "fracast has port 80; expected one from 1024 up"),
        (f"{HOSTS}\nfamilies = fracast\n[fracast]\nport = x", "[fracast] port: expected a whole number"),
    ],
)
def test_a_mistake_is_one_sentence_with_section_and_key(ini, lines, said):
    with pytest.raises(ConfigError) as error:
        balancer.read(ini(f"[balancer]\n{lines}\n"))
    assert said in str(error.value)
    assert "\n" not in str(error.value)
