"""Many runs from one file, on this machine, a Ray cluster or Slurm; extended, resumed, collected in one table."""
