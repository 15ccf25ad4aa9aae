"""One self-contained HTML file about some runs: one section a file, its template and its script beside it."""
