"""Other people's weights: a published file read safely, recognised, converted, declared."""
