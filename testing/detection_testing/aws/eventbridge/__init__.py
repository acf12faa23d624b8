"""Amazon EventBridge: buses, rules and the events that were put."""
