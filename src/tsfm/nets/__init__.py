"""Torch modules of our own that read the official tensor names, and the parts they share."""
