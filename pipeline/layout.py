"""Where everything that the stages make lies, from the project's root."""

from pathlib import Path

ARTIFACTS = Path("artifacts")
RUNS = ARTIFACTS / "runs"  # <stage>/run.json
MANIFEST = ARTIFACTS / "manifest"
MEDIA = MANIFEST / "media.parquet"
SPLITS = MANIFEST / "splits.parquet"  # which video is for what; no labels
LABELS = MANIFEST / "labels"
TEMPLATES = MANIFEST / "templates"
FACES = ARTIFACTS / "faces"
FAILURES = ARTIFACTS / "failures.parquet"
ENCODER = ARTIFACTS / "mae"
FEATURES = ARTIFACTS / "features"  # <backbone>/<dataset>/
FEEDBACK = ARTIFACTS / "feedback"  # the student of the feedback system
PSEUDO = ARTIFACTS / "pseudo"  # <task>/<dataset>.parquet
SYSTEMS = ARTIFACTS / "systems"  # <track>/<system>/
ENSEMBLE = ARTIFACTS / "ensemble"
SUBMISSIONS = Path("submissions")
REPORT = Path("reports/index.html")
EXTRA = "extra"  # the data set of unlabelled faces
ABLATIONS = Path("docs/benchmarks/ablations.json")  # written by `make ablate`
