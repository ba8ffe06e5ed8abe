"""Hosts on this machine, as network namespaces, behind a real balancer; and load on them with known answers."""
