"""One file per subcommand of ``tsfm``."""
