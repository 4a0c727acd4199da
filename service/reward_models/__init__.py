"""Reward models made ahead of a round, and reranking with them: their owner's alone to see.

Not even the operator sees them: before the close, nobody may know a group's taste.
"""
