"""What can be wrong with the ledger: one generator of faults, in words, for each kind of row."""
