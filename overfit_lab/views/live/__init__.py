"""Looking at runs while they are written: what is read, and what it amounts to. No terminal in here."""
