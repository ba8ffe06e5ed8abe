"""[fleet] of tsfm.ini: what this host is in it, and the sentence for what does not fit together."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tsfm.errors import ConfigError
from tsfm.fleet import cluster

LINES = "head = 10.0.0.10\nnetwork = 10.0.0.0/24 192.168.7.0/24\n"


@pytest.fixture
def ini(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "tsfm.ini"
        path.write_text(f"[fleet]\n{text}")
        return path

    return write


def test_without_a_head_there_is_no_fleet(ini, tmp_path):
    assert cluster.read(tmp_path / "none.ini") is None
    assert cluster.read(ini("network = 10.0.0.0/24\n")) is None


def test_a_node_gives_all_its_cpus_and_the_head_none(ini):
    node = cluster.read(ini(f"{LINES}address = 10.0.0.11\nfamilies = fracast\n"))
    assert not node.is_head
    assert node.cpus == len(os.sched_getaffinity(0))
    assert (node.port, node.replicas, node.replica_cpus) == (8000, 0, 1)
    assert list(node.families) == ["fracast"]
    head = cluster.read(ini(f"{LINES}address = 10.0.0.10\n"))
    assert head.is_head
    assert head.cpus == 0
    assert cluster.read(ini(f"{LINES}address = 10.0.0.10\ncpus = 3\n")).cpus == 3


def test_its_own_address_is_the_one_that_leads_to_the_head(ini):
    with pytest.raises(
        ConfigError, match=r"address: expected an IPv4 address that other hosts reach, got 127\.0\.0\.1$"
    ):
        cluster.read(ini("head = 127.0.0.9\nnetwork = 127.0.0.0/8\n"))


def test_the_longest_deadline_of_a_family_holds_for_all(ini):
    text = f"{LINES}address = 10.0.0.11\nfamilies = fracast naive\n[naive]\ndeadline_s = 90\n"
    assert cluster.read(ini(text)).deadline_s == 90


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("head = alpha", "[fleet] head: expected an IP address such as 127.0.0.1 or 0.0.0.0, got 'alpha'"),
        ("head = 10.0.0.10", "[fleet] network: expected the network of the fleet's hosts, such as 10.0.0.0/24"),
        (f"{LINES}address = 10.0.9.1", "[fleet] address: expected an address in network = 10.0.0.0/24 192.168.7.0/24"),
        (
            LINES.replace("10.0.0.10", "10.1.0.10") + "address = 10.0.0.11",
            "[fleet] head: expected an address in network",
        ),
        (f"{LINES}cpu = 2", "line 4: [fleet] cpu: unknown key; known are head, network"),
        ("head = fd00::1\nnetwork = fd00::/8\naddress = fd00::2", "[fleet] head: expected an IPv4 address"),
        (f"{LINES}cpu = 2", "did you mean cpus?"),
        (f"{LINES}cpus = many", "[fleet] cpus: expected a whole number from 0 to 1024, got 'many'"),
        (f"{LINES}port = 80", "[fleet] port: expected a whole number from 1024 to 65535, got '80'"),
        (f"{LINES}families = fracst", "[fleet] families: expected families among chronos, "),
        (f"{LINES}address = 10.0.0.11\nfamilies = chronos\n[chronos]\ndevice = cuda", "[chronos] device: expected cpu"),
        (f"{LINES}address = 10.0.0.11\nfamilies = chronos\n[chronos]\nengine = official", "engine: expected native"),
    ],
)
def test_a_mistake_is_one_sentence_with_section_and_key(ini, lines, said):
    with pytest.raises(ConfigError) as error:
        cluster.read(ini(f"{lines}\n"))
    assert said in str(error.value)
    assert "\n" not in str(error.value)
