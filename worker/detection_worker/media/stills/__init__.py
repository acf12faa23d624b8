"""Still images by container: what the file announces, what is there, what a decoder needs of it.

Each reader hands Pillow a file without metadata, which so never costs the picture.
Runs in the child.
"""
