"""The running worker: stages, leases, drain and control server.

No decisions of its own: ``core`` makes them.
"""
