"""What a stage tells about itself: its state, its metrics, its log."""
