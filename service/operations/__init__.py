"""What an operator watches: figures of rounds, jobs and messages, counted in the database."""
