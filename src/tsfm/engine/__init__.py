"""Admission, scheduling and the model's work: between HTTP and the families. Knows no HTTP."""
