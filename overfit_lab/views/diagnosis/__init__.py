"""What records say about robust overfitting, in words: one kind of finding a file, each sentence with its number."""
