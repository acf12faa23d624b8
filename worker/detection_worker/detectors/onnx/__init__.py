"""Networks in ONNX's format: which files are accepted, and how ONNX Runtime runs them."""
