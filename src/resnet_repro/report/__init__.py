"""From records to a PDF: figures, tables, verdicts. Reads folders, never live objects."""
