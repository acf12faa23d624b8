"""Pure decisions: values in, values out. No clock, network, log, environment or thread here."""
