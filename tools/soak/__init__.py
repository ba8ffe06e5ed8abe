"""`make soak MINUTES=10`: valid and hostile traffic for minutes, with faults; every answer is checked."""
