"""Records in, something to look at out: figures, tables, a diagnosis, a report, a live view."""
