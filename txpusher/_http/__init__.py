"""
The road to the server: the only client code that touches sockets and Twisted's HTTP.
"""
