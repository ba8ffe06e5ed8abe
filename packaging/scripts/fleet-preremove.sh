if [ "$what" = remove ] && booted; then systemctl stop tsfm-fleet-head.service tsfm-fleet-node.service || :; fi
