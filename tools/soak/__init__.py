"""`make soak MINUTES=10`: valid and hostile traffic for some minutes, with injected faults; checks every answer."""
