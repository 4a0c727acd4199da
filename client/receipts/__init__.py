"""Checking a receipt offline: nothing of the service is asked, and none of its code is run."""
