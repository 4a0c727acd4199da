"""The mechanism: arrays in, arrays out. Numpy only; no training, no storage, no clock.

`worlds` holds the game on the pool, `closed_form` its exact optimum, `candidates` the choice among
finitely many models, `payments` what each group pays, `normalise` how scores become rewards.
Axes: `_N` groups, `_W` worlds, `_K` candidate models, `_X` prompts, `_J` responses. Rewards,
sizes × valuations, welfare, payments and utilities are in agent·reward units, divergences in nats.
"""
