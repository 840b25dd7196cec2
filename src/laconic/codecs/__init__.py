"""Models, coders and containers joined: images <-> .lac files. A codec is given its model."""
