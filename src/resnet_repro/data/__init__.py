"""Data sets: facts (`catalogue`), where the bytes come from (`sources`), arrays on disk (`arrays`), batches (`stream`)."""
