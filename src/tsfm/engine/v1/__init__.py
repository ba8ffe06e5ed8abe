"""The operations under /v1: many series in one request, each answered or refused by itself. Knows no HTTP."""
