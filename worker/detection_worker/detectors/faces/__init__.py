"""From frames to faces: find them, cut them out, score each with an image network."""
