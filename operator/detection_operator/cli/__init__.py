"""The offline commands: ``simulate``, ``replay``, ``explain``, ``crd``."""
