"""Fuzz targets: each module holds one sentence that must be true of any bytes, and ``one_input``, which checks it."""
