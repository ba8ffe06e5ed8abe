"""Protocols that other clients speak, each a thin translation to and from the fields of POST /v1/forecast."""
