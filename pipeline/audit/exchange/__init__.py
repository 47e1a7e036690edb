"""What an audit hands to others: signed statements, research crates, bundles, the paper's paragraph."""
