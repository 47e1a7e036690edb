"""Names of videos and of frames."""

import pytest

from pipeline.abaw.names import base_video, frame_number, is_video_name, side


@pytest.mark.parametrize("name", ["122", "122-60-1920x1080-3", "130-25-1280x720_left", "video45_1", "video10_1_right"])
def test_names_of_the_grammar(name):
    assert is_video_name(name)


@pytest.mark.parametrize("name", ["", "122-60", "video", "122_middle", "122\n", "122-60-1920x1080-", "١٢", "a122"])
def test_names_outside_the_grammar(name):
    assert not is_video_name(name)


def test_sides_and_frames():
    assert (base_video("45-24-1280x720_left"), side("45-24-1280x720_left")) == ("45-24-1280x720", "left")
    assert (base_video("122"), side("122")) == ("122", None)
    assert [frame_number(n) for n in ("00001.jpg", "123456.jpg", "00000.jpg", "1.jpg", "00001.png")] == [
        1,
        123456,
        None,
        None,
        None,
    ]
