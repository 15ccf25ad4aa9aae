"""Other code bases' names of parameters. A file with ``REGISTER = {"name": Layout(...)}`` adds one."""
