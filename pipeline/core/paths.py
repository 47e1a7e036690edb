"""Where everything that the stages make lies, from the project's root."""

from pathlib import Path

ARTIFACTS = Path("artifacts")
CODE = ARTIFACTS / "code"  # <stage>.txt: what code a stage runs
RUNS = ARTIFACTS / "runs"  # <stage>/run.json
PARAMS_CHECKED = ARTIFACTS / "params.txt"
DECLARED = ARTIFACTS / "declared"  # <stage>.yaml: what weights.yaml says of the files that a stage's params name
MANIFEST = ARTIFACTS / "manifest"
MEDIA = MANIFEST / "media.parquet"
SPLITS = MANIFEST / "splits.parquet"  # which video is for what; no labels
LABELS = MANIFEST / "labels"
TEMPLATES = MANIFEST / "templates"
EXTERNAL = ARTIFACTS / "external"  # <name>/: faces and labels of somebody else's data set
FACES = ARTIFACTS / "faces"
FAILURES = ARTIFACTS / "failures.parquet"
ENCODER = ARTIFACTS / "mae"
FEATURES = ARTIFACTS / "features"  # <backbone>/<dataset>/
FEEDBACK = ARTIFACTS / "feedback"  # <track>/: the student of the feedback system
PSEUDO = ARTIFACTS / "pseudo"  # <au or expr>/<dataset>.parquet
SYSTEMS = ARTIFACTS / "systems"  # <track>/<member>/
ENSEMBLE = ARTIFACTS / "ensemble"
SUBMISSIONS = Path("submissions")
REPORT = Path("reports/index.html")
SCORES = Path("reports/scores.json")  # committed: what DVC compares commits by
EXTRA = "extra"  # the data set of unlabelled faces
ABLATIONS = Path("docs/benchmarks/ablations.json")  # written by `make ablate`
