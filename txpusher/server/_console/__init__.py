"""
The page that shows what happens on a server: a resource for a browser, and the same as JSON.
"""
