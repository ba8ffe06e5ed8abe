# A service with engine = official cannot go on; its message says what to install.
if [ "$what" = remove ] && booted; then systemctl --no-block try-restart "tsfm@$family.service" || :; fi
