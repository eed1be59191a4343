"""
The rules of the local server: state, and what each input makes of it.

Every module here is pure: it does no I/O, reads no clock and imports nothing of Twisted.
"""
