"""
The local server's sockets: HTTP and WebSocket connections in, webhooks out.
"""
