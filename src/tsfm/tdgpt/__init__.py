"""Registers the installed families with TDgpt, and removes the registration byte for byte.

``endpoints`` decides what is registered. ``ini`` and ``config_py`` edit the two kinds of TDgpt configuration in
memory, ``marks`` separates our lines from everybody else's, and ``files`` replaces a file safely. ``adapters``
writes files into TDgpt's tree. ``reconcile`` does all of that in one idempotent step; ``anode`` and ``database``
inform the running system.
"""
