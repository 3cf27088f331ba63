"""Measures what the pipeline promises: latency at a rate, throughput and CPU per event of each stage."""
