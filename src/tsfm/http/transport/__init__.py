"""All that knows waitress: one thread that reads, runs and answers."""
