"""``predict``: inputs to files, files through the pipeline, results to the terminal and a file."""
