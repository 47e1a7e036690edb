"""What a file is by its suffix: the one table of pictures, videos and what is known and cannot be read."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".avif")
VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mts", ".m2ts", ".wmv"),
    ".gif",  # a moving picture; one that does not move is a video of one frame
)
UNREAD = {
    (".heic", ".heif"): "no decoder of HEIC is at hand; save it as JPEG or PNG",
    (".jxl",): "no decoder of JPEG XL is at hand; save it as JPEG or PNG",
    (".dng", ".cr2", ".cr3", ".nef", ".arw"): "a camera's raw picture, not developed; save it as JPEG or PNG",
}


def is_image(name: str) -> bool:
    """Whether the suffix is one of a still image."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def is_video(name: str) -> bool:
    """Whether the suffix is one of a video container."""
    return name.lower().endswith(VIDEO_SUFFIXES)


def why_unread(name: str) -> str:
    """Why a picture of a kind that is known is not read, with the mend; "" for any other file."""
    return next((why for suffixes, why in UNREAD.items() if name.lower().endswith(suffixes)), "")
