"""What a file says of its own making: signed manifests and metadata. Runs in the child.

Metadata can be forged and stripped: it is told beside the verdict, and never changes a score.
"""
