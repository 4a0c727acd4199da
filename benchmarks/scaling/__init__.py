"""The cost model of a round, its fit to measurements, and its simulation. docs/scale.md."""
