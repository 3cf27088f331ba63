"""Shows the pipeline to people and to Prometheus: health, metrics, and what is hot right now."""
