"""Webhooks: who wants to be told of what, the outbox of messages, and their delivery."""
