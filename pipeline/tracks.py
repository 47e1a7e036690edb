"""The tracks as this pipeline sees them: their tasks, the data set of their faces, their sizes."""

from pipeline.abaw.tracks import EXPRESSIONS, LSD_EXPRESSIONS

AFFWILD2_TRACKS = ("expr", "au", "va")
TRACK_NAMES = (*AFFWILD2_TRACKS, "mtl", "lsd")
DATASET_OF = {"expr": "aff-wild2", "au": "aff-wild2", "va": "aff-wild2", "mtl": "s-aff-wild2", "lsd": "lsd"}
TASKS_OF = {
    "expr": ("expression",),
    "au": ("aus",),
    "va": ("va",),
    "mtl": ("expression", "aus", "va"),
    "lsd": ("expression",),
}
# The name of a task in the official metrics.
METRIC_TASK = {"expression": "expr", "aus": "au", "va": "va"}
CLASSES = {"expr": EXPRESSIONS, "mtl": EXPRESSIONS, "lsd": LSD_EXPRESSIONS}
