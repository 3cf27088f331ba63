"""The ledger: compares every place row by row, values included, and names what is missing, doubled or wrong."""
