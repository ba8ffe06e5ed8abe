# The family's service restarts, as it may run from this package; what is stopped stays stopped.
if [ "$what" = configure ] && booted; then systemctl --no-block try-restart "tsfm@$family.service" || :; fi
