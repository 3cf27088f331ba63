"""What has to be so around the pipeline, looked at one by one; each finding says what mends it."""
