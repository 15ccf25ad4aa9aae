"""How large a file of each kind may be, and what it may unfold to: checked before anything is unfolded.

Each is far above what an honest file has, and low enough that a hostile one is refused at once. Bytes, where nothing
else is said.
"""

from __future__ import annotations

YAML_BYTES = 2**20
"""Text of a configuration, a sweep's file or a value on the command line."""
YAML_DEPTH = 32
"""Lists and mappings of YAML within each other."""
YAML_VALUES = 100_000
"""Keys and values of YAML, those behind aliases counted as often as they are named."""
YAML_CHARACTERS = 2**22
"""Characters of all values of YAML, those behind aliases counted as often as they are named."""

JSON_BYTES = 2**23
"""Text of run.json and of every other file of JSON but the two below."""
JSON_DEPTH = 64
"""Lists and objects of JSON within each other."""
JSON_VALUES = 2_000_000
"""Values of JSON in one file."""
MANIFEST_BYTES = 2**26
"""Text of sweep.json."""
DIGITS = 400
"""Digits of a whole number, in YAML and JSON."""

RECORDS_BYTES = 2**31
"""Length of records.jsonl: some fifteen million numbers."""
RECORD_BYTES = 2**16
"""Length of one line of records.jsonl."""

ARRAYS_BYTES = 2**32
"""What the arrays of a .npz file may unfold to, together."""
ARRAYS_RATIO = 100
"""How many times its own size a .npz file may unfold to, where that is more than the next line."""
ARRAYS_FLOOR = 2**26
"""What a .npz file may unfold to, however small it is."""
ARCHIVE_DIRECTORY = 2**22
"""Directory of a zip archive, which .npz and most .pt files are: some fifty thousand entries."""
ARRAY_HEADER = 10_000
"""Header of one array, as numpy limits it."""

COLUMNS_BYTES = 2**34
"""A file of columns, which is mapped and not unfolded."""
COLUMNS_ROWS = 2**31
"""Rows of a file of columns."""
COLUMNS_WIDTH = 2**16
"""Numbers in a row of one column."""

TENSORS_HEADER = 2**24
"""Header of a safetensors file: names, types, shapes and places of the tensors, and notes."""
PICKLE_BYTES = 2**25
"""Description of the tensors within a .pt file, beside their numbers."""
WEIGHTS_RATIO = 20
"""How many times its own size a weights file of torch may unfold to, where that is more than the next line."""
WEIGHTS_FLOOR = 2**26
"""What a weights file of torch may unfold to, however small it is."""

IMAGE_BYTES = 2**28
"""One encoded image."""
IMAGE_PIXELS = 2**26
"""Pixels of one image before it is resized."""
LABEL_BYTES = 2**20
"""The label of one image in a shard."""
ENTRY_NAME = 512
"""Characters in the name of an image in a shard."""
LABEL = 2**31 - 1
"""A label; without names of classes those that occur are numbered."""
CLASSES_BYTES = 2**22
"""A file with the names of classes."""
PARQUET_FOOTER = 2**26
"""Description of a Parquet file, at its end."""
PARQUET_ROW_BYTES = 4
"""What a row of a Parquet file takes at least of the file, as each holds an image."""
PARQUET_RATIO = 20
"""How many times its file's size a group of rows may unfold to, where that is more than the next line."""
PARQUET_FLOOR = 2**26
"""What a group of rows may unfold to, however small its file is."""

SWEEP_CELLS = 10_000
"""Runs of one sweep: seeds times the values of all axes."""
EPOCHS = 1_000_000_000
"""Epochs of a run."""
THREADS = 1024
"""Threads that a run is trained on."""
LOG_EPOCHS = 10_000_000
"""Epochs of a log."""

LOG_BYTES = 2**27
"""A training log that is imported, unpacked."""
EVENTS_BYTES = 2**32
"""Event files of TensorBoard of one run, which may hold images beside the numbers that are read."""
LOG_COLUMNS = 10_000
"""Columns of a log."""
LOG_CELLS = 20_000_000
"""Rows times columns of a log."""


def in_bytes(size: float) -> str:
    """A size as people read it.

    Example:
        >>> in_bytes(2**20), in_bytes(512), in_bytes(1.5 * 2**30)
        ('1 MiB', '512 bytes', '1.5 GiB')
    """
    for unit, bytes_of in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= bytes_of:
            return f"{size / bytes_of:.3g} {unit}"
    return f"{size:.0f} bytes"
