"""Where results go besides the callback: a store in S3, and notifications."""
