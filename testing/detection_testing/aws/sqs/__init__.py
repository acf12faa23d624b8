"""SQS: queues without clock or network, and the HTTP API in front of them."""
