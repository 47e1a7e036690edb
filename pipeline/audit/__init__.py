"""What made a submission: found by its bytes, walked back to the raw data, every claim checked."""
