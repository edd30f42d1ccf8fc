"""Files that hold keys, or that nobody else can have written."""
