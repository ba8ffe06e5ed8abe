"""How results are shown: in the terminal, and as files of each kind."""
