"""What everything stands on: errors, files, paths, params, Parquet, the work store, code. Imports nothing of ours."""
