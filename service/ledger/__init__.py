"""The ledger: settlement in one transaction, invoices, double-entry postings, receipts."""
