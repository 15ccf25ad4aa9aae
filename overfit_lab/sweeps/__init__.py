"""Many runs from one file: on this machine, a Ray cluster or Slurm; extended, gone on with, and put into one table."""
