if [ "$what" = purge ] || { [ "$what" = remove ] && [ "$format" = rpm ]; }; then
    for unit in tsfm-fleet-head.service tsfm-fleet-node.service; do
        rm -f /etc/systemd/system/*.wants/$unit /etc/systemd/system/$unit.d/network.conf
        rmdir /etc/systemd/system/$unit.d 2>/dev/null || :
    done
    # The head's memory of the fleet, and the key to it. [fleet] in tsfm.ini stays.
    rm -rf /var/lib/tsfm-fleet
    rm -f /etc/taos/tsfm-fleet.token
fi
if [ "$what" = remove ] && booted; then
    systemctl daemon-reload || :
    systemctl reset-failed tsfm-fleet-head.service tsfm-fleet-node.service 2>/dev/null || :
fi
