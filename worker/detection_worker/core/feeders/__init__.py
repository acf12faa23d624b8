"""How many processes feed the device, and what they are together."""
