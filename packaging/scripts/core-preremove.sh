if [ "$what" = remove ]; then
    if booted; then
        # Stopping the target alone would return before its instances have stopped.
        systemctl stop tsfm-register.path 'tsfm@*.service' 'tsfm-pull@*.service' tsfm.target || :
        # The stops above may have started this service. Removing our lines from TDgpt's file cannot start it again.
        systemctl stop tsfm-register.service || :
    fi
    tell_tdgpt unregister
fi
