# See core-posttrans.sh. This script is for a transaction that installs only a family.
tell_tdgpt register
