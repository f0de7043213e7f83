"""What makes a catalog: its pipeline, runs and products."""
