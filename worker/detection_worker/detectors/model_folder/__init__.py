"""What a model folder holds and how it is written: manifest, weights file, whole folders."""
