"""Forward passes that run while the next ones are prepared; what a GPU is found to do best."""
