"""The loops that people write over a video, each with what its package's own page shows: detect, then name the emotion.

Run as a file by the Python that has the package, so nothing of this project is imported here.

usage: python bench/predict_peers.py PEER VIDEO [scrfd.onnx]
"""

import json
import os
import sys
import urllib.request  # hsemotion_onnx asks for it and does not import it
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np

warnings.simplefilter("ignore")
SCRFD_PIXELS = 640
Loop = Callable[[str, str], Iterator[bool]]  # whether each frame shows a face


def frames(video: str) -> Iterator[np.ndarray]:
    """BGR uint8 (H, W, 3)."""
    capture = cv2.VideoCapture(video)
    while (read := capture.read())[0]:
        yield read[1]


def fer_haar(video: str, _: str) -> Iterator[bool]:
    """FER: OpenCV's Haar cascade, mini-Xception at 64 pixels."""
    from fer.fer import FER

    detector = FER()
    for frame in frames(video):
        yield bool(detector.detect_emotions(frame))


def fer_mtcnn(video: str, _: str) -> Iterator[bool]:
    """FER: facenet-pytorch's MTCNN, mini-Xception."""
    import torchvision  # noqa: F401  # and torch, before TensorFlow: the other way round their LLVMs end the process
    from fer.fer import FER

    detector = FER(mtcnn=True)
    for frame in frames(video):
        yield bool(detector.detect_emotions(frame))


def scrfd_faces(video: str, model: str) -> Iterator[list[np.ndarray]]:
    """The aligned faces of each frame (112, 112, 3), by insightface's SCRFD."""
    from insightface.model_zoo import get_model
    from insightface.utils.face_align import norm_crop

    detector = get_model(model, providers=["CPUExecutionProvider"])
    detector.prepare(ctx_id=-1, input_size=(SCRFD_PIXELS, SCRFD_PIXELS), det_thresh=0.5)
    for frame in frames(video):
        _, landmarks = detector.detect(frame)
        yield [norm_crop(frame, points) for points in landmarks]


def insightface_efficientnet(video: str, model: str) -> Iterator[bool]:
    """insightface's SCRFD and alignment, then HSEmotion's network, EfficientNet-B0 at 224 pixels, on each face.

    Its weights are not trained: they change no time.
    """
    import timm
    import torch

    network = timm.create_model("tf_efficientnet_b0", num_classes=8).eval()
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    for faces in scrfd_faces(video, model):
        for face in faces:
            rgb = cv2.cvtColor(cv2.resize(face, (224, 224)), cv2.COLOR_BGR2RGB)
            with torch.inference_mode():
                network(((torch.from_numpy(rgb) / 255 - mean) / deviation).permute(2, 0, 1)[None]).softmax(1)
        yield bool(faces)


def hsemotion_onnx(video: str, model: str) -> Iterator[bool]:
    """The same faces, HSEmotion's ONNX network with its weights."""
    assert urllib.request
    from hsemotion_onnx.facial_emotions import HSEmotionRecognizer

    recognizer = HSEmotionRecognizer("enet_b0_8_best_vgaf")
    yield from recognised(recognizer, scrfd_faces(video, model))


def emotiefflib(video: str, model: str) -> Iterator[bool]:
    """The same faces, EmotiEffLib's ONNX network."""
    import torchvision  # noqa: F401  # before TensorFlow
    from emotiefflib.facial_analysis import EmotiEffLibRecognizer

    recognizer = EmotiEffLibRecognizer(engine="onnx", model_name="enet_b0_8_best_vgaf", device="cpu")
    yield from recognised(recognizer, scrfd_faces(video, model))


def recognised(recognizer: Any, shown: Iterator[list[np.ndarray]]) -> Iterator[bool]:
    """Each face by itself, RGB."""
    for faces in shown:
        for face in faces:
            recognizer.predict_emotions(cv2.cvtColor(face, cv2.COLOR_BGR2RGB), logits=False)
        yield bool(faces)


def deepface(video: str, _: str) -> Iterator[bool]:
    """DeepFace.analyze, OpenCV's detector."""
    from deepface import DeepFace

    for frame in frames(video):
        found = DeepFace.analyze(frame, actions=["emotion"], enforce_detection=False, silent=True)
        yield any(face["face_confidence"] for face in found)


def py_feat(video: str, _: str) -> Iterator[bool]:
    """py-feat's detector over a video."""
    from feat import Detectorv1

    yield from Detectorv1().detect_video(video).groupby("frame")["FaceScore"].max().notna()


LOOPS: dict[str, Loop] = {
    "fer, Haar": fer_haar,
    "fer, MTCNN": fer_mtcnn,
    "insightface, EfficientNet-B0": insightface_efficientnet,
    "hsemotion-onnx": hsemotion_onnx,
    "emotiefflib": emotiefflib,
    "deepface": deepface,
    "py-feat": py_feat,
}


def main() -> None:
    name, video, *model = sys.argv[1:]
    shown = list(LOOPS[name](video, model[0] if model else ""))
    print(json.dumps({"frames": len(shown), "with_a_face": sum(shown)}), flush=True)
    os._exit(0)  # TensorFlow beside torch may crash on its way out


if __name__ == "__main__":
    main()
