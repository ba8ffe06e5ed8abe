"""The page at ``/``: static files, and the paths that only the page needs.

``files`` serves what is in the folder ``static`` and the samples, ``tables`` reads what a person pastes or drops, and
``neighbours`` asks the other models of this host.
"""
