"""Reports: a group's size and reward model, its own alone to see until the round closes."""
