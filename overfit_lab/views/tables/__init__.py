"""Tables as papers print them, one kind a file: run records in, a :class:`~.table.Table` out."""
