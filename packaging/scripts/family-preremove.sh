# Stop the instance before its interpreter is removed. During an upgrade the instance keeps running.
if [ "$what" = remove ] && booted; then systemctl stop tsfm@$family.service || :; fi
