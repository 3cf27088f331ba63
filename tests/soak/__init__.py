"""Long runs that CI does not have the time for; call one by its file's name."""
