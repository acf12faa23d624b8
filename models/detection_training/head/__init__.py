"""``train head``: a last layer on the user's own files."""
