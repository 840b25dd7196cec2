"""Image codecs on folders of pictures: rates, qualities, curves."""
