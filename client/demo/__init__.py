"""The whole business once: `python -m client.demo` runs a service and a round on a real model."""
