"""What every training shares: sources, locks, splits, resumable steps, fitting, packages."""
