"""Scaling, quantiles, intervals and gaps: numpy only."""
