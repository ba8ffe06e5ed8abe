if [ "$what" = purge ] || { [ "$what" = remove ] && [ "$format" = rpm ]; }; then
    rm -f /etc/systemd/system/*.wants/tsfm-balancer.service
    # `tsfm balancer apply` writes it again from tsfm.ini.
    rm -f /etc/taos/tsfm-balancer.cfg
fi
if [ "$what" = remove ] && booted; then
    systemctl daemon-reload || :
    systemctl reset-failed tsfm-balancer.service 2>/dev/null || :
fi
