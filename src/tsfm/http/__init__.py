"""The HTTP face: requests parsed and checked once, one form of error."""
