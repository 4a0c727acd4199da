"""The commands of `truthtune` that talk to a service, a file for each noun."""
