"""The engine: tasks, admission, scheduling and the calls of the model. It knows no HTTP and no family."""
