"""Check settled site-days: compare each site-day's stored values with the ledger and across stores."""
