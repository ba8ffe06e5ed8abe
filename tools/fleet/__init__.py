"""Hosts on this machine behind a real balancer, and load on them with known answers: ``make fleet`` shows them."""
