"""Everything that knows waitress: one thread that reads requests, runs the app and sends the answers.

Use ``listener.listen``; the other modules bend waitress 3.0.2 and rely on its private parts, which
``tests/http/transport/test_contract.py`` lists.
"""
