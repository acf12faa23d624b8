"""Many objects at once: messages sent for them, their results read, their dead letters kept."""
