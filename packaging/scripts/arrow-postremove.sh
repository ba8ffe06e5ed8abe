# What runs has pyarrow in use, whose files are gone.
if [ "$what" = remove ] && booted; then systemctl --no-block try-restart 'tsfm@*.service' || :; fi
