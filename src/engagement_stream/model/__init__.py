"""What flows: positions, captured changes, content versions and enriched engagements."""
