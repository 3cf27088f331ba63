"""Deliberate defects: each breaks one promise of the product, and a scenario against real servers has to notice."""
