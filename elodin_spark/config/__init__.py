"""Settings: the models, and how they are read from YAML."""
