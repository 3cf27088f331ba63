"""Ourselves and our peers on the same servers and the same rows; not part of the package, run from the checkout."""
