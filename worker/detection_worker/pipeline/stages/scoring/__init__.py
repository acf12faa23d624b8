"""Parts of the inference stage: files on the device's thread, its mailbox, passes under way."""
