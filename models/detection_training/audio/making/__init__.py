"""Speech, real and made: engines, vocoders, copies and channels."""
