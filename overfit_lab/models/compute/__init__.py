"""How arithmetic is done: fewer operations, compiled code, and how much work there is."""
