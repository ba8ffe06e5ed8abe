if [ "$what" = configure ]; then
    systemd-tmpfiles --create taos-tsfm-fleet.conf || :
    if booted; then
        systemctl daemon-reload || :
        # Replicas take up new code of ours with the next `tsfm fleet apply`, some at a time. Another Ray does not go with
        # the processes that run.
        for unit in tsfm-fleet-head.service tsfm-fleet-node.service; do
            runs=$(cat /run/tsfm-fleet/ray-version 2>/dev/null || :)
            if [ -n "$runs" ] && [ ! -d "/usr/lib/taos-tsfm/fleet/lib/python3.11/site-packages/ray-$runs.dist-info" ]; then
                systemctl --no-block try-restart "$unit" || :
            fi
        done
    fi
    if { [ "$format" = deb ] && [ -z "${2:-}" ]; } || [ "$1" = 1 ]; then
        echo "To begin a fleet, on its head:  tsfm fleet init ADDRESS --network NETWORK"
        echo "Then on each node:              tsfm fleet join ADDRESS-OF-THE-HEAD --network NETWORK"
    else
        echo "When all hosts of the fleet have this version, on its head: tsfm fleet apply"
    fi
fi
