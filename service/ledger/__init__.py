"""The ledger: settlement in one transaction, invoices and what becomes of them, a signed chain of
double entries, receipts, and the verification of all that."""
