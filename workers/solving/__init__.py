"""`truthtune solve`: the mechanism on a game in a file. No server, database, Ray or torch."""
