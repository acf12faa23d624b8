"""The running worker. No decisions of its own: ``core`` makes them.

Layers, each knowing only those below: ``service`` (process, control server, health, wiring),
``stages`` (download, decode, inference, callback), ``messages`` (poll, lease, settle),
``files`` (from a local file to a verdict; shared with ``predict``).
"""
