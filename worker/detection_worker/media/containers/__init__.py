"""What a file is by its bytes alone: content sniffing, outer compression, announced length."""
