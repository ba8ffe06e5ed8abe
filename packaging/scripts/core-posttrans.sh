# After everything of one transaction has come and gone. The first of our packages registers for all of them, and
# the others find nothing to change: TDgpt restarts once.
tell_tdgpt register
