"""Rows in, rows out: files of delimited text, JSON lines, Parquet and Arrow as blocks of numbers, and back.

Rows in:

- source: all files as one sequence of rows. source_blocks: their numbers as blocks for a fit.
- csv, json, columnar: a reader of one file for each kind of format, by the contract in reader. csv_text: delimited
  text as strings. numbers: recognition of numbers in text, surveyed over a whole column.
- columns: kinds of columns, the selection for a fit, a model's columns in new data. formats: names of formats,
  options of reading.
- inputs: from arguments to files that can be opened; the columns of a file alone, quickly.
- scratch: room for data, in memory and in temporary files.

Rows out:

- sink: tables into a file, whole or not at all. writers: one for each kind of format, and text of CSV and JSON lines.
- tensors: tensors as columns, and columns of labels as tensors.

compute has helpers for Arrow arrays: pyarrow's functions, kinds of types, cells as float64 and as text.

Only formats and columns import neither pyarrow nor torch, which cost more than a help page may take.
"""
