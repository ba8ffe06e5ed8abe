"""Scaling, quantiles, prediction intervals and gaps; depends on numpy only."""
