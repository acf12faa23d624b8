"""Messages in flight: polled, leased, settled, acknowledged."""
