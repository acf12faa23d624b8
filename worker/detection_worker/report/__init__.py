"""Results as pages that people read: one HTML file that needs nothing else, not even scripts."""
