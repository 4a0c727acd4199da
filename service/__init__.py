"""The control plane: HTTP API, SQL store, coordinator, ledger."""
