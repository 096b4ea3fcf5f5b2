"""Where a run's studies are kept, and what is written to them and read."""
