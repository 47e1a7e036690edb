"""Everything between the stages and the networks: formats, faces, training loop, tracking, graph, CLI."""
