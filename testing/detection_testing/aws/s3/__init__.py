"""S3: objects in memory or files, and the HTTP API in front of them."""
