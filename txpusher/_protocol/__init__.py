"""
What clients and servers of the Channels protocol must agree on: names and signatures.

Every module here is pure: it does no I/O, reads no clock and imports only
:mod:`txpusher.errors` and :mod:`txpusher._text`.
"""
