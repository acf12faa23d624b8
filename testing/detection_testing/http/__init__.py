"""A small HTTP server, and proxies that tests put between a client and a server."""
