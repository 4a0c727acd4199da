"""The compute plane: models, reward models, the mechanism, Ray. No SQL and no HTTP."""
