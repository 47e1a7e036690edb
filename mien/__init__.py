"""Expressions, action units, valence and arousal of pictures and videos, by the ensembles that a project has trained.

from mien import predict
table = predict("holiday.mp4")  # a pyarrow.Table with the columns of `mien predict`
"""

from mien.api import MediaWarning, Predictor, predict
from pipeline.core.errors import MienError

__all__ = ["MediaWarning", "MienError", "Predictor", "predict"]
