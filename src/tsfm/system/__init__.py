"""systemd, sockets, ports and subprocesses of this host."""
