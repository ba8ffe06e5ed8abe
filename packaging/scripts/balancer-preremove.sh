if [ "$what" = remove ] && booted; then systemctl stop tsfm-balancer.service || :; fi
