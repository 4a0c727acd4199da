"""Reading the audit log; `service.audit` writes it."""
