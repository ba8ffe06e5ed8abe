# Before its interpreter goes. During an upgrade it goes on running.
if [ "$what" = remove ] && booted; then systemctl stop tsfm@$family.service || :; fi
