"""What every stage stands on: params, atomic files, shards, the work store, tracking, errors told in one line."""
