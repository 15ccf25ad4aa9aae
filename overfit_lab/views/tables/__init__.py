"""Tables as papers print them, one kind a file: run records in, a :class:`~overfit_lab.views.tables.table.Table` out."""
