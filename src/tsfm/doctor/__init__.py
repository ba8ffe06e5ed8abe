"""The checks of ``tsfm doctor``: TDgpt, each installed family, and the host. They change nothing."""
