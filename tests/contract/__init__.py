"""The claims every sink has to keep, and each sink held to them on its real server."""
