"""What a team can run on its data: params.yaml written from a release. Start at init.py."""
