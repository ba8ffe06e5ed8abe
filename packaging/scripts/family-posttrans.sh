# See core-posttrans.sh: this is for a transaction that brings a family alone.
tell_tdgpt register
