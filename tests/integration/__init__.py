"""The client over real sockets, against servers and proxies that misbehave by script."""
