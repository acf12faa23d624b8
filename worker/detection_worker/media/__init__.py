"""From untrusted bytes to checked arrays, in child processes that hold no secrets.

No torch, no AWS and no network here: this code parses untrusted files.
"""
