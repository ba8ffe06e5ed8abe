"""What Ray Serve is told: an application for each family that some node can serve."""

from __future__ import annotations

import pytest

from tsfm.fleet import applications, cluster
from tsfm.fleet.applications import Node


def node(number: int, families: tuple[str, ...], state: str = "ALIVE", cpus: float = 4) -> Node:
    return Node(f"id{number}", f"10.0.0.{number}", state, cpus, families, is_head=number == 10)


@pytest.fixture
def fleet(tmp_path):
    def read(lines: str = "", families: str = "") -> cluster.Fleet:
        file = tmp_path / "tsfm.ini"
        file.write_text(
            "[DEFAULT]\nhost = 10.0.0.10\nallow = 10.9.0.0/16\nqueue = 9\n[chronos]\ncheckpoint = 1\ndeadline_s = 20\n"
            f"{families}[fleet]\nhead = 10.0.0.10\naddress = 10.0.0.10\nnetwork = 10.0.0.0/24\n"
            f"families = chronos fracast toto\n{lines}"
        )
        return cluster.read(file)

    return read


NODES = [
    node(10, ("chronos", "fracast"), cpus=0),  # the head
    node(11, ("chronos", "fracast")),
    node(12, ("fracast",)),
    node(13, ("chronos", "toto"), "DEAD"),
]


def by_name(made: dict) -> dict[str, dict]:
    return {one["name"]: one for one in made["applications"]}


def test_a_family_has_a_replica_on_each_node_with_its_weights(fleet):
    made = by_name(applications.configuration(fleet(), NODES))
    counts = {name: one["deployments"][0]["num_replicas"] for name, one in made.items()}
    assert counts == {"chronos": 1, "fracast": 2}  # toto's only node is gone
    options = made["chronos"]["deployments"][0]["ray_actor_options"]
    assert options == {"num_cpus": 1, "resources": {"tsfm_chronos": 1}}  # so no other node, and one on each


def test_the_number_of_replicas_and_of_their_cpus_can_be_chosen(fleet):
    made = by_name(applications.configuration(fleet("replicas = 1\nreplica_cpus = 3\n", "threads = 2\n"), NODES))
    assert {name: one["deployments"][0]["num_replicas"] for name, one in made.items()} == {"chronos": 1, "fracast": 1}
    cpus = {name: one["deployments"][0]["ray_actor_options"]["num_cpus"] for name, one in made.items()}
    assert cpus == {"chronos": 2, "fracast": 3}
    assert {name: one["args"]["settings"]["threads"] for name, one in made.items()} == {"chronos": "2", "fracast": "3"}


def test_a_replica_gets_the_heads_settings_of_its_family_and_none_of_a_host(fleet):
    made = by_name(applications.configuration(fleet(), NODES, release="7"))
    assert made["chronos"]["args"] == {
        "family": "chronos",
        "release": "7",
        "settings": {
            "queue": "9",
            "checkpoint": "1",
            "deadline_s": "20",
            "threads": "1",
            "allow": "127.0.0.0/8 ::1/128 10.0.0.0/24",
        },
    }
    assert made["chronos"]["deployments"][0]["graceful_shutdown_timeout_s"] == 25
