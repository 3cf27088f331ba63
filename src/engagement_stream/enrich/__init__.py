"""Road to road: gives each captured event the content it belonged to, exactly once and the same on every replay."""
