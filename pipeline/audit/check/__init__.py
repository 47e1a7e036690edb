"""The checks of an audit, one file a kind of claim."""
