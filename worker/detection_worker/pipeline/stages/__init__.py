"""The stages that work on jobs, and what they work with."""
