if [ "$what" = remove ]; then
    if booted; then
        # Stopping the target returns before its instances are down.
        systemctl stop tsfm-register.path 'tsfm@*.service' 'tsfm-pull@*.service' tsfm.target || :
        # What the stops have woken; taking our lines out of TDgpt's file wakes it no more.
        systemctl stop tsfm-register.service || :
    fi
    tell_tdgpt unregister
fi
