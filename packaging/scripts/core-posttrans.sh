# Runs after all packages of one transaction are installed or removed. The first of our packages registers all
# families, and the others find nothing to change: TDgpt restarts once.
tell_tdgpt register
