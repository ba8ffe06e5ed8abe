"""Making TDgpt find the installed families, and taking that back byte for byte.

``endpoints`` says what is to be registered, ``ini`` and ``pyconf`` edit the two kinds of TDgpt's
configuration in memory, ``marks`` keeps our lines apart from everybody else's, ``files`` replaces a file
safely, ``adapters`` and ``scripts`` put files into TDgpt's tree, ``step`` does all of that once,
idempotently, and ``anode`` and ``database`` tell the running system.
"""
