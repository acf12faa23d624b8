"""Feeders: processes that receive, download, decode and deliver for the one with the device."""
