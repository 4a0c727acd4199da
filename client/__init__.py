"""The Python client of Truthtune: `Truthtune(base_url, api_key)`, typed over `api_schemas`."""

from client.client import Truthtune

__all__ = ["Truthtune"]
