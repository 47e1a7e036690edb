"""Everything between the stages and the networks: formats, faces, shards, training loop, tracking, the graph, the CLI."""
