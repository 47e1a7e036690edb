"""From frames to aligned face crops: detectors, alignment, tracking, video reading."""
