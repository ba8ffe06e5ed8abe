# What runs restarts and finds pyarrow; what is stopped stays stopped.
if [ "$what" = configure ] && booted; then systemctl --no-block try-restart 'tsfm@*.service' || :; fi
