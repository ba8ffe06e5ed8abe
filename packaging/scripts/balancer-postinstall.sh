if [ "$what" = configure ] && booted; then
    systemctl daemon-reload || :
    # This version may write another configuration. A running balancer takes it up without losing a request.
    if [ -e /etc/taos/tsfm-balancer.cfg ]; then tsfm balancer apply || :; fi
fi
if { [ "$format" = deb ] && [ -z "${2:-}" ]; } || [ "$1" = 1 ]; then
    echo "To use it, name the hosts that serve in [balancer] of /etc/taos/tsfm.ini, then:"
    echo "  tsfm balancer apply && systemctl enable --now tsfm-balancer"
fi
