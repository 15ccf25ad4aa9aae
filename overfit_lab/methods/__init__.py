"""How to train: attacks, label modes, objectives, regularizers, schedules."""
