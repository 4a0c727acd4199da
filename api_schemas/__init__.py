"""Every request, response and error of Truthtune; imports nothing else of the project."""
