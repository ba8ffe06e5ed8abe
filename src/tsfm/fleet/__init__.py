"""More than one host: the balancer before hosts that serve, and batch jobs."""
