"""Reading and writing files: one reader for each format, one way to write, for the whole package.

What is read may be damaged, hostile, or of another program: every reader is bounded in size, follows no
device or pipe, and raises the error class that it is given with the file (and line or field) named. What is
written appears whole or not at all. Import from the file of the format: `vlcls.files.text`, `.json_text`, ...
"""
