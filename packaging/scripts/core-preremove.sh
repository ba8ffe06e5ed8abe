if [ "$what" = remove ]; then
    # First what watches: taking our lines out of TDgpt's file would wake it.
    if booted; then systemctl stop tsfm-register.path tsfm-register.service || :; fi
    tell_tdgpt unregister
    if booted; then
        # Stopping the target returns before its instances are down.
        systemctl stop 'tsfm@*.service' 'tsfm-pull@*.service' tsfm.target || :
    fi
fi
