"""The Python client of Truthtune, typed over `api_schemas`: `Truthtune(base_url, api_key)`, and
`AsyncTruthtune` with the same resources for asyncio."""

from client.client import AsyncTruthtune, Truthtune

__all__ = ["AsyncTruthtune", "Truthtune"]
