"""Makes `python -m src.stream_processor` work from the checkout; holds nothing else."""
