"""Check settled site-days: compare the stored values of each with the ledger and across stores."""
