"""Systems that see one face at a time: their labelled batches, and their scores of every row of an axis."""

from collections.abc import Callable
from typing import cast

from models.system import System, Trainee
from pipeline.core.errors import MienError
from pipeline.core.pictures import decode_image
from pipeline.tables.scores import Tasks
from pipeline.train.data import Axis, TrackData
from pipeline.train.fit import Batches, Job, Recipe, Scored, Train
from pipeline.train.further import further_faces
from pipeline.train.infer import predict_axis
from pipeline.train.views import augmenter


def frame_recipe(system: System, train: Train, job: Job) -> tuple[Recipe, TrackData]:
    """The plain recipe of a frame-wise system, labelled faces alone, and the data behind it for a system to add to."""
    data = TrackData(job.track.name, system.pixels, train.balance, job.fold)
    tell_enlarged(data)
    data.further = further_faces(job.further, job.track, data.pixels, train.balance, job.needs)
    recipe = Recipe(
        module=system,
        data=data,
        train=train,
        batches=labelled_batches(data, train.optimise.batch),
        prepare=augmenter(train.augment, data.pixels),
        scores=_scores_of(data, job),
    )
    return recipe, data


def published_frames(system: System, job: Job) -> Scored:
    """A frame-wise system of which nothing is trained; `MienError` where its line names what could only train."""
    if job.further:
        raise MienError(f"params.yaml: {job.needs.where}: a published network takes no further faces", exit_code=2)
    data = TrackData(job.track.name, system.pixels, 0.0, job.fold)
    tell_enlarged(data)
    return Scored(module=system, data=data, scores=_scores_of(data, job))


def _scores_of(data: TrackData, job: Job) -> Callable[[Trainee, Axis], Tasks]:
    """Scores of the rows of an axis, a face at a time."""

    def scores(module: Trainee, axis: Axis) -> Tasks:
        shown = data.crops, axis.places, data.pixels
        return predict_axis(cast(System, module), *shown, job.evaluate_batch, job.mirror)

    return scores


def labelled_batches(data: TrackData, size: int) -> Batches:
    """Batches of labelled faces, as balanced as params ask."""
    return lambda generator, step: data.batch(generator, size)


def tell_enlarged(data: TrackData) -> None:
    """Say so where the crops are smaller than what the network sees: enlarging adds nothing."""
    if not len(data.crops):
        return
    side = max(decode_image(data.crops.jpeg(0)).shape[:2])
    if side < data.pixels:
        print(
            f"warning: the crops of {data.crops.dataset} have {side} pixels and the network sees {data.pixels}: "
            "they are enlarged; detect_align.source and crop_pixels decide what they are cut from, and how large"
        )
