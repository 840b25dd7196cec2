"""The lossless image codec: pictures and archives <-> .lac files, exactly."""
