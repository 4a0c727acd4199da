"""Groups, and the API keys that speak for them or for the operator."""
