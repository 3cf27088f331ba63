"""What the pipeline is doing this second, made once for everyone who looks: dashboard and terminal."""
