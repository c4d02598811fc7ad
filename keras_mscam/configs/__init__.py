"""What a training run is told, and the named configurations."""
